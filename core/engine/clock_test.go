// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// A clock that is set back must not keep the next decision waiting: its time
// is kept by the monotonic clock, which String shows.
func TestNextDueSurvivesAClockSetBack(t *testing.T) {
	s := &service{spec: core.Service{Name: "web", Every: time.Second}}
	if next := nextDue(s, time.Now()); !strings.Contains(next.String(), "m=+") {
		t.Errorf("next decision at %v: by the wall clock only", next)
	}
}

// After the clock was set back, samples are older than what was read before.
func TestSamplesAfterAClockSetBack(t *testing.T) {
	now := time.Now()
	b := &backend{cpu: reading{value: 0.9, at: now.Add(time.Hour)}}
	counted := func() { b.matchCPU(now.Add(time.Minute)) }
	(&Engine{}).takeMetrics(b, core.Sample{TakenAt: now.Add(-time.Second), Metrics: []core.Metric{{Name: core.MetricCPU, Value: 0.1}}})
	counted()
	if b.cpu.value != 0.1 {
		t.Errorf("cpu is %v, the value from before the step; want 0.1", b.cpu.value)
	}
	// Nor can a monitor whose clock is fast shut out the samples of others.
	(&Engine{}).takeMetrics(b, core.Sample{TakenAt: now.Add(time.Hour), Metrics: []core.Metric{{Name: core.MetricCPU, Value: 0.5}}})
	(&Engine{}).takeMetrics(b, core.Sample{TakenAt: now.Add(time.Second), Metrics: []core.Metric{{Name: core.MetricCPU, Value: 0.2}}})
	counted()
	if d := b.cpu.at.Sub(now); d > time.Minute {
		t.Errorf("cpu is of a time %v ahead of now", d)
	}
	b = &backend{}
	for i := range 10 {
		b.takeMeter(counted50(now.Add(time.Duration(i)*meterEvery), uint64(100*i)), true)
	}
	back := now.Add(-time.Hour)
	for i := range 3 {
		b.takeMeter(counted50(back.Add(time.Duration(i)*meterEvery), uint64(1000+5*i)), true)
	}
	for what, got := range map[string]float64{"new": b.fresh.value, "closed": b.done.value} {
		if got < 9.9 || got > 10.1 {
			t.Errorf("%v %s connections per second after the step, want 10", got, what)
		}
	}
}

// counted50 is a live look at n connections of the zero backend that were opened
// and closed, and 50 that are open.
func counted50(at time.Time, n uint64) meterReading {
	return meterReading{
		at: at, live: true,
		flows:    map[core.BackendID]core.FlowCount{{}: {Open: 50, Opened: n + 50, Closed: n}},
		counters: map[core.CounterKey]core.Counters{{}: {Connections: n}},
	}
}

// Counts that are not live say of when they are, and no rate of closing comes
// from them; the rate of opening is the kernel's own. A window of closing never
// reaches back to before they were live.
func TestCountsThatAreNotLive(t *testing.T) {
	now := time.Now()
	b := &backend{}
	for i := range 12 {
		m := counted50(now.Add(time.Duration(i)*meterEvery), uint64(20*i))
		m.live, m.countedAt = i >= 8, now
		if !m.live {
			m.flows[core.BackendID{}] = core.FlowCount{Open: 7}
		}
		b.takeMeter(m, true)
		if !m.live && (b.open != reading{value: 7, at: now} || b.done != reading{}) {
			t.Fatalf("look %d: open %+v, closed per second %+v; want 7 as of the start, and none", i, b.open, b.done)
		}
	}
	if b.fresh.value != 40 || b.done.value != 40 || b.open.at != now.Add(11*meterEvery) {
		t.Errorf("live: %+v new and %+v closed per second, open %+v; want 40, 40, and of now", b.fresh, b.done, b.open)
	}
	b = &backend{}
	b.takeMeter(counted50(now, 0), false)
	b.takeMeter(counted50(now.Add(meterEvery), 10), false)
	if b.fresh != (reading{}) {
		t.Errorf("%+v new per second of a backend that is not tracked", b.fresh)
	}
}

// The counts of a backend begin anew when its service gets another VIP.
func TestCountsThatBeginAnew(t *testing.T) {
	now := time.Now()
	b := &backend{}
	for i, n := range []uint64{5000, 5010, 0, 5, 10} {
		b.takeMeter(counted50(now.Add(time.Duration(i)*meterEvery), n), true)
	}
	if b.fresh.value != 10 || b.done.value != 10 {
		t.Errorf("%v new and %v closed connections per second, want 10", b.fresh.value, b.done.value)
	}
}
