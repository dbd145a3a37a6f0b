// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"context"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/steelyard-lb/steelyard/core"
)

// pickTime is an arbitrary beginning: a picker only compares times.
var pickTime = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// series makes readings of the series a, b, c and so on. NaN is one that is not there.
func series(values ...float64) (rs []reading) {
	for i, v := range values {
		if !math.IsNaN(v) {
			rs = append(rs, reading{key: seriesKey(string(rune('a' + i))), value: v})
		}
	}
	return rs
}

func TestPick(t *testing.T) {
	gone := math.NaN()
	gauge := func(a core.Aggregate) core.MetricSpec { return core.MetricSpec{Name: "m", From: "x", Aggregate: a} }
	rate := func(a core.Aggregate) core.MetricSpec {
		return core.MetricSpec{Name: "m", From: "x", Kind: core.CounterKind, Aggregate: a}
	}
	idle := core.MetricSpec{Name: "cpu", From: "x", Kind: core.CounterKind, Aggregate: core.AvgOf, Complement: true}
	const wait, none = -1, -2
	tests := []struct {
		name    string
		spec    core.MetricSpec
		wrap    float64
		answers [][]float64 // 10 s apart
		want    []float64
		why     string // in the last text
	}{
		{"a gauge", gauge(""), 0, [][]float64{{3}, {2}}, []float64{3, 2}, ""},
		{"nothing", gauge(""), 0, [][]float64{{}}, []float64{none}, `no number for "x"`},
		{"NaN is nothing", gauge(core.SumOf), 0, [][]float64{{math.Inf(1)}, {math.Inf(-1), 4}}, []float64{none, 4}, ""},
		{"two gauges", gauge(""), 0, [][]float64{{1, 2}}, []float64{none}, "2 numbers"},
		{"sum", gauge(core.SumOf), 0, [][]float64{{1, 2, 6}}, []float64{9}, ""},
		{"avg", gauge(core.AvgOf), 0, [][]float64{{1, 2, 6}}, []float64{3}, ""},
		{"min", gauge(core.MinOf), 0, [][]float64{{2, 1, 6}}, []float64{1}, ""},
		{"max", gauge(core.MaxOf), 0, [][]float64{{2, 6, 1}}, []float64{6}, ""},
		{"count", gauge(core.CountOf), 0, [][]float64{{2, 6, 1}}, []float64{3}, ""},
		{"a counter", rate(""), 0, [][]float64{{100}, {150}, {150}, {250}}, []float64{wait, 5, 0, 10}, ""},
		{"counting counters needs no rate", rate(core.CountOf), 0, [][]float64{{100, 7}}, []float64{2}, ""},
		{"restart", rate(""), 0, [][]float64{{1000}, {10}, {60}}, []float64{wait, wait, 5}, ""},
		{"restart is told", rate(""), 0, [][]float64{{1000}, {10}}, []float64{wait, wait}, "began anew"},
		{"wrap", rate(""), wrap32, [][]float64{{wrap32 - 10}, {40}}, []float64{wait, 5}, ""},
		{"restart of one that wraps", rate(""), wrap32, [][]float64{{1000}, {0}}, []float64{wait, wait}, "began anew"},
		{"sum of rates", rate(core.SumOf), 0, [][]float64{{100, 200}, {150, 220}}, []float64{wait, 7}, ""},
		{"one series is restarted", rate(core.SumOf), 0, [][]float64{{100, 200}, {150, 0}, {200, 20}}, []float64{wait, 5, 7}, ""},
		{"one series goes", rate(core.SumOf), 0, [][]float64{{100, 200}, {gone, 220}, {gone, 240}}, []float64{wait, 2, 2}, ""},
		{"one series comes", rate(core.SumOf), 0, [][]float64{{100}, {150, 9000}, {200, 9010}}, []float64{wait, 5, 6}, ""},
		{"all others", rate(core.SumOf), 0, [][]float64{{100, gone}, {gone, 5}}, []float64{wait, wait}, "began anew"},
		{"it is gone for a while", rate(""), 0, [][]float64{{100}, {gone}, {300}, {400}}, []float64{wait, none, wait, 10}, ""},
		{"idle of two cores", idle, 0, [][]float64{{100, 200}, {102, 206}}, []float64{wait, 0.6}, ""},
		{"idle a little above 1", idle, 0, [][]float64{{100}, {110.2}}, []float64{wait, 0}, ""},
		{"no share", idle, 0, [][]float64{{100}, {130}}, []float64{wait, none}, "only a share"},
		{"too large", core.MetricSpec{Name: "m", From: "x", Scale: 10}, 0, [][]float64{{math.MaxFloat64}}, []float64{none}, "too large"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := picker{spec: &tt.spec}
			var why string
			for i, answer := range tt.answers {
				var m core.Metric
				var how picked
				m, how, why = p.pick(series(answer...), tt.wrap, pickTime.Add(time.Duration(i)*10*time.Second))
				got := map[picked]float64{pickFound: m.Value, pickWait: wait, pickNone: none}[how]
				if math.Abs(got-tt.want[i]) > 1e-9 {
					t.Errorf("answer %d: got %v (%s), want %v", i, got, why, tt.want[i])
				}
				if isRate := tt.spec.Kind == core.CounterKind && tt.spec.Aggregate != core.CountOf; how == pickFound && isRate && m.Window != 10*time.Second {
					t.Errorf("answer %d: window %s, want 10s", i, m.Window)
				}
			}
			if !strings.Contains(why, tt.why) {
				t.Errorf("%q: want %q in it", why, tt.why)
			}
		})
	}
}

// TestPickTwins: series that cannot be told apart are told apart by their numbers.
func TestPickTwins(t *testing.T) {
	p := picker{spec: &core.MetricSpec{Kind: core.CounterKind, Aggregate: core.SumOf}}
	p.pick([]reading{{value: 200}, {value: 100}}, 0, pickTime)
	if m, how, why := p.pick([]reading{{value: 150}, {value: 220}}, 0, pickTime.Add(10*time.Second)); how != pickFound || m.Value != 7 {
		t.Errorf("got %v, %d, %q; want 7", m.Value, how, why)
	}
}

func TestPickUnit(t *testing.T) {
	tests := []struct {
		name, own string
		spec      core.MetricSpec
		want      string
	}{
		{"none", "", core.MetricSpec{}, ""},
		{"of the answer", "bytes", core.MetricSpec{}, "bytes"},
		{"of the spec", "bytes", core.MetricSpec{Unit: "count"}, "count"},
		{"rate", "", core.MetricSpec{Kind: core.CounterKind}, "per_second"},
		{"rate of bytes", "bytes", core.MetricSpec{Kind: core.CounterKind}, "bytes_per_second"},
		{"seconds per second", "seconds", core.MetricSpec{Kind: core.CounterKind}, "ratio"},
		{"rate with a unit", "", core.MetricSpec{Kind: core.CounterKind, Unit: "celsius"}, "celsius"},
		{"count", "bytes", core.MetricSpec{Kind: core.CounterKind, Aggregate: core.CountOf}, "count"},
		{"complement", "", core.MetricSpec{Kind: core.CounterKind, Complement: true}, "ratio"},
	}
	for _, tt := range tests {
		p := picker{spec: &tt.spec}
		if got := p.unit(tt.own); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

// TestPickClock: two answers at one time, or a time that went back, make no rate,
// and do not harm the next one.
func TestPickClock(t *testing.T) {
	p := picker{spec: &core.MetricSpec{Kind: core.CounterKind}}
	p.pick(series(100), 0, pickTime)
	for _, at := range []time.Duration{0, -time.Hour} {
		if _, how, why := p.pick(series(110), 0, pickTime.Add(at)); how != pickWait || !strings.Contains(why, "no time") {
			t.Errorf("after %s: got %d, %q", at, how, why)
		}
	}
	if m, how, why := p.pick(series(120), 0, pickTime.Add(4*time.Second)); how != pickFound || m.Value != 5 {
		t.Errorf("got %v, %d, %q; want 5", m.Value, how, why)
	}
	p.restart()
	if _, how, _ := p.pick(series(130), 0, pickTime.Add(8*time.Second)); how != pickWait {
		t.Errorf("after a restart that the caller knows of: got %d, want to wait", how)
	}
}

// TestPickRates draws histories of counters that grow, are restarted, come and go.
func TestPickRates(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		how := rapid.SampledFrom([]core.Aggregate{core.SumOf, core.AvgOf, core.MinOf, core.MaxOf}).Draw(t, "aggregate")
		wrap := rapid.SampledFrom([]float64{0, wrap32}).Draw(t, "wrap")
		scale := rapid.Float64Range(0.001, 1000).Draw(t, "scale")
		const perSecond = 1e6 // the fastest of the counters
		one := picker{spec: &core.MetricSpec{Kind: core.CounterKind, Aggregate: how}}
		scaled := picker{spec: &core.MetricSpec{Kind: core.CounterKind, Aggregate: how, Scale: scale}}
		shuffled := picker{spec: one.spec}
		values := make([]float64, rapid.IntRange(1, 5).Draw(t, "series"))
		at := pickTime
		for range rapid.IntRange(1, 8).Draw(t, "answers") {
			step := rapid.Int64Range(1, 600).Draw(t, "step")
			at = at.Add(time.Duration(step) * time.Second)
			var rs []reading
			for i := range values {
				values[i] += rapid.Float64Range(0, perSecond*float64(step)).Draw(t, "growth")
				if rapid.IntRange(0, 9).Draw(t, "restart") == 0 {
					values[i] = 0
				}
				if wrap > 0 && values[i] >= wrap {
					values[i] -= wrap
				}
				if rapid.IntRange(0, 4).Draw(t, "absent") > 0 {
					rs = append(rs, reading{key: uint64(i), value: values[i]})
				}
			}
			m, got, _ := one.pick(slices.Clone(rs), wrap, at)
			s, gotScaled, _ := scaled.pick(slices.Clone(rs), wrap, at)
			mixed := rapid.Permutation(rs).Draw(t, "order")
			o, gotMixed, _ := shuffled.pick(slices.Clone(mixed), wrap, at)
			if got != gotScaled || got != gotMixed {
				t.Fatalf("got %d, scaled %d, in another order %d", got, gotScaled, gotMixed)
			}
			if got != pickFound {
				continue
			}
			if m.Value < 0 || m.Window != time.Duration(step)*time.Second {
				t.Fatalf("rate %v over %s, the step is %d s", m.Value, m.Window, step)
			}
			if limit := perSecond * float64(len(values)) * 1.000001; wrap == 0 && m.Value > limit {
				t.Fatalf("rate %v: no counter grows by more than %v", m.Value, limit)
			}
			if near := 1e-9 * max(1, s.Value); math.Abs(s.Value-m.Value*scale) > near || math.Abs(o.Value-m.Value) > near {
				t.Fatalf("rate %v, times %v %v, in another order %v", m.Value, scale, s.Value, o.Value)
			}
		}
	})
}

// TestPickComplement: it is a share of 0 to 1, or nothing.
func TestPickComplement(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.Float64().Draw(t, "share")
		p := picker{spec: &core.MetricSpec{Complement: true}}
		m, how, _ := p.pick(series(v), 0, pickTime)
		if how == pickFound && (m.Value < 0 || m.Value > 1) || how != pickFound && v >= 0 && v <= 1 {
			t.Fatalf("%v: got %d, %v", v, how, m.Value)
		}
	})
}

func TestSelection(t *testing.T) {
	var notes []string
	ctx := traced(context.Background(), func(step, text string) { notes = append(notes, step+": "+text) })
	ps := newPickers([]core.MetricSpec{
		{Name: "load", From: "node_load1"},
		{Name: "requests", From: "requests_total", Kind: core.CounterKind},
		{Name: "heat", From: "temp"},
		{Name: "cores", From: "cpus", Aggregate: core.CountOf},
	})
	var s selection
	for i, rs := range [][]reading{{{value: 0.5}}, {{value: 17}}, nil, make([]reading, 6)} {
		s.add(ctx, &ps[i], rs, 0, pickTime)
	}
	if got, want := s.detail(), `load 0.5; cores 6; requests after the next answer; heat: no number for "temp" in the answer`; got != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
	want := []string{
		"metric: node_load1 = 0.5; load 0.5",
		"metric: requests_total = 17; requests waits: a rate needs a second answer",
		`metric: heat: no number for "temp" in the answer`,
		"metric: cpus = 0, 0, 0, 0 and 2 more (count); cores 6",
	}
	if !slices.Equal(notes, want) {
		t.Errorf("got %q\nwant %q", notes, want)
	}
	if got := s.again(time.Minute); got != 2*time.Second {
		t.Errorf("again after %s, want 2s", got)
	}
}

// A counter is told with all its digits, as the tools of its agent print it.
func TestPickDescribesCountersWhole(t *testing.T) {
	p := picker{spec: &core.MetricSpec{From: "1.3.6.1.4.1.2021.11.50.0"}}
	if got, want := p.describe([]reading{{value: 3504246}, {value: 0.25}}), "1.3.6.1.4.1.2021.11.50.0 = 3504246, 0.25; "; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
