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
		b.takeMeter(meterReading{at: now.Add(time.Duration(i) * meterEvery), flows: map[core.BackendID]core.FlowCount{{}: {Opened: uint64(100 * i)}}})
	}
	back := now.Add(-time.Hour)
	for i := range 3 {
		b.takeMeter(meterReading{at: back.Add(time.Duration(i) * meterEvery), flows: map[core.BackendID]core.FlowCount{{}: {Opened: uint64(1000 + 5*i)}}})
	}
	if got := b.fresh.value; got < 9.9 || got > 10.1 {
		t.Errorf("%v new connections per second after the step, want 10", got)
	}
}

// The counts of a backend begin anew when its service gets another VIP.
func TestCountsThatBeginAnew(t *testing.T) {
	now := time.Now()
	b := &backend{}
	for i, n := range []uint64{5000, 5010, 0, 5, 10} {
		b.takeMeter(meterReading{at: now.Add(time.Duration(i) * meterEvery), flows: map[core.BackendID]core.FlowCount{{}: {Opened: n, Closed: n}}})
	}
	if b.fresh.value != 10 || b.done.value != 10 {
		t.Errorf("%v new and %v closed connections per second, want 10", b.fresh.value, b.done.value)
	}
}
