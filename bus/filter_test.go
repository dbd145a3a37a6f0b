// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"fmt"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// A step is one sample: its number, when it was sent by its own clock, when it
// arrived by ours, both since noon.
type step struct {
	seq           uint64
	sent, arrived time.Duration
	want          verdict
}

func TestFilter(t *testing.T) {
	const s, ms = time.Second, time.Millisecond
	tests := []struct {
		name  string
		steps []step
	}{
		{"numbers go up", []step{{1, 0, 0, fresh}, {2, s, s, fresh}, {9, 2 * s, 2 * s, fresh}}},
		{"the same twice", []step{{1, 0, 0, fresh}, {1, 0, ms, repeated}}},
		{"older after newer", []step{{2, s, s, fresh}, {1, 0, s, repeated}}},
		{"a prober that began again", []step{{50, 0, 0, fresh}, {1, s, s, fresh}, {1, s, s + ms, repeated}, {2, 2 * s, 2 * s, fresh}}},
		{"our clock went back, numbers go on", []step{{1, 5 * s, 5 * s, fresh}, {2, 4 * s, 6 * s, fresh}}},
		{"not numbered", []step{{0, 0, 0, fresh}, {0, 0, 0, fresh}}},
		{"late", []step{{1, 0, 0, fresh}, {2, s, s + 2*s + ms, late}, {3, 4 * s, 4 * s, fresh}}},
		{"late but within its time", []step{{1, 0, 0, fresh}, {2, s, 3 * s, fresh}}},
		{"a constant difference of clocks is no delay", []step{{1, 0, time.Hour, fresh}, {2, s, time.Hour + s, fresh}}},
		{"a queue that drains", []step{{1, 0, 0, fresh},
			{2, 1 * s, 40 * s, late}, {3, 2 * s, 40 * s, late}, {4, 20 * s, 40 * s, late}, {5, 39 * s, 40 * s, fresh}}},
		{"their clock was set back by a minute", []step{{1, 60 * s, 60 * s, fresh},
			{2, 1 * s, 61 * s, late}, {3, 2 * s, 62 * s, late}, {4, 3 * s, 63 * s, late}, {5, 4 * s, 64 * s, fresh}, {6, 5 * s, 65 * s, fresh}}},
		{"a late one among good ones is no shift", []step{{1, 0, 0, fresh},
			{2, s, 5 * s, late}, {3, 6 * s, 6 * s, fresh}, {4, 7 * s, 11 * s, late}, {5, 8 * s, 12 * s, late}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := &filter{}
			for i, st := range tt.steps {
				e := envelope{source: source{"lb1", "i"}, seq: st.seq, sent: noon.Add(st.sent), ttl: 2 * s}
				if got, _ := f.judge("x", e, noon.Add(st.arrived)); got != st.want {
					t.Fatalf("sample %d (seq %d): verdict %d, want %d", i, st.seq, got, st.want)
				}
			}
		})
	}
}

// The least delay is forgotten after a while, so that a path that became longer
// for good is not late for ever.
func TestFilterForgets(t *testing.T) {
	f := &filter{}
	at := func(seq uint64, arrived, delay time.Duration) verdict {
		e := envelope{source: source{"lb1", "i"}, seq: seq, sent: noon.Add(arrived - delay), ttl: time.Second}
		v, _ := f.judge("x", e, noon.Add(arrived))
		return v
	}
	if got := at(1, 0, 0); got != fresh {
		t.Fatalf("first: %d", got)
	}
	if got := at(2, time.Minute, 3*time.Second); got != late {
		t.Fatalf("after a minute: %d, want late", got)
	}
	if got := at(3, 10*time.Minute, 3*time.Second); got != fresh {
		t.Fatalf("after ten minutes of silence: %d, want fresh", got)
	}
}

func TestFilterIsBounded(t *testing.T) {
	f := &filter{}
	judge := func(i int, at time.Time) verdict {
		v, _ := f.judge("x", envelope{source: source{fmt.Sprint("s", i), ""}, seq: 1, sent: at, ttl: time.Second}, at)
		return v
	}
	for i := range maxSources {
		if got := judge(i, noon); got != fresh {
			t.Fatalf("source %d: %d", i, got)
		}
	}
	if got := judge(maxSources, noon); got != crowded {
		t.Errorf("one source too many: %d, want crowded", got)
	}
	if got := judge(maxSources, noon.Add(sourceIdle+time.Second)); got != fresh {
		t.Errorf("after the others were silent: %d, want fresh", got)
	}
	if len(f.sources) != 1 || f.sequences != 1 {
		t.Errorf("%d sources, %d sequences, want 1 and 1", len(f.sources), f.sequences)
	}
}

// TestSkewIsTranslated: a sample of a node whose clock is off by minutes gets the time at
// which it was taken by ours, less the fastest way between.
func TestSkewIsTranslated(t *testing.T) {
	const ms = time.Millisecond
	for _, skew := range []time.Duration{-2 * time.Minute, 2 * time.Minute, 0} {
		f := &filter{}
		for i, under := range []time.Duration{3 * ms, ms, 40 * ms, 2 * ms} {
			taken := noon.Add(time.Duration(i) * time.Second) // by our clock
			s := core.Sample{TakenAt: taken.Add(skew), Took: 10 * ms, Metrics: []core.Metric{
				{Name: "cpu", At: taken.Add(skew - time.Second)}, {Name: "cores"}}}
			arrived := taken.Add(10*ms + under)
			v, base := f.judge("x", envelope{source: source{"lb2", "i"}, seq: uint64(i + 1), sent: s.TakenAt.Add(s.Took), ttl: 5 * time.Second}, arrived)
			if v != fresh {
				t.Fatalf("skew %s, sample %d: verdict %d", skew, i, v)
			}
			translate(&s, base)
			off := s.TakenAt.Sub(taken)
			if off < 0 || off > 3*ms || s.TakenAt.Add(s.Took).After(arrived) {
				t.Errorf("skew %s, sample %d: taken %s off, arrived %s after", skew, i, off, arrived.Sub(s.TakenAt))
			}
			if got := s.Metrics[0].At.Sub(s.TakenAt); got != -time.Second || !s.Metrics[1].At.IsZero() {
				t.Errorf("skew %s, sample %d: metrics at %v", skew, i, s.Metrics)
			}
		}
	}
}

// TestUndatedIsNeverLate: what says no time is as old as its arrival, whatever the clock of
// its source did where it said one.
func TestUndatedIsNeverLate(t *testing.T) {
	f := &filter{}
	e := envelope{source: source{"zabbix", ""}, sent: noon.Add(time.Hour), ttl: time.Second} // its clock is ahead
	if v, _ := f.judge("x", e, noon); v != fresh {
		t.Fatalf("dated: %d", v)
	}
	e.sent, e.undated = noon.Add(time.Second), true
	if v, _ := f.judge("x", e, noon.Add(time.Second)); v != fresh {
		t.Errorf("undated: %d, want fresh", v)
	}
	e.sent, e.undated, e.ttl = noon, false, 0
	if v, _ := f.judge("x", e, noon.Add(time.Minute)); v != fresh {
		t.Errorf("without a time to live: %d, want fresh", v)
	}
}
