// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/steelyard-lb/steelyard/probes/probestest"
)

const ms = time.Millisecond

func TestQuotaBooks(t *testing.T) {
	start := time.Unix(1000, 0)
	q := newQuota(0.5, start, cpuTime{user: 7 * ms})
	steps := []struct {
		name         string
		passed       time.Duration // since the start
		user, system time.Duration // since the start
		wait         time.Duration
		want         probestest.CPU // in ticks of 10 ms
	}{
		{"idle saves up no more than the burst", 1000 * ms, 0, 0, 0, probestest.CPU{Idle: 100}},
		{"the burst is used", 1000 * ms, 5 * ms, 0, 0, probestest.CPU{User: 1, Idle: 100}},
		{"then work waits", 1000 * ms, 5 * ms, 10 * ms, 20 * ms, probestest.CPU{User: 1, System: 2, Idle: 100}},
		{"until time has paid for it", 1020 * ms, 5 * ms, 10 * ms, 0, probestest.CPU{User: 1, System: 2, Idle: 100}},
		{"half of half a core", 2020 * ms, 205 * ms, 60 * ms, 0, probestest.CPU{User: 41, System: 12, Idle: 149}},
	}
	for _, s := range steps {
		books, wait := q.look(start.Add(s.passed), cpuTime{7*ms + s.user, s.system})
		if wait != s.wait {
			t.Errorf("%s: wait %v, want %v", s.name, wait, s.wait)
		}
		s.want.Cores = 1
		if diff := cmp.Diff(s.want, books.snmp()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", s.name, diff)
		}
	}
}

func TestQuotaChanges(t *testing.T) {
	start := time.Unix(1000, 0)
	q := newQuota(0.4, start, cpuTime{})
	q.setShare(0.2, start.Add(time.Second), cpuTime{user: 200 * ms})
	books, _ := q.look(start.Add(2*time.Second), cpuTime{user: 300 * ms})
	// Half of 0.4 for one second, half of 0.2 for the next.
	if got, want := books.user, time.Second; got != want {
		t.Errorf("busy for %v of 2 s, want %v", got, want)
	}
}

// TestQuotaCountersGrow: a counter that goes back is a reboot to a monitor.
func TestQuotaCountersGrow(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		now, used := time.Unix(0, 0), cpuTime{}
		q := newQuota(rapid.Float64Range(0.01, 1).Draw(rt, "share"), now, used)
		var last cpuBooks
		for range rapid.IntRange(1, 30).Draw(rt, "looks") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(50*ms)).Draw(rt, "passed")))
			used.user += time.Duration(rapid.Int64Range(0, int64(50*ms)).Draw(rt, "user"))
			used.system += time.Duration(rapid.Int64Range(0, int64(9*ms)).Draw(rt, "system"))
			b, wait := q.look(now, used)
			if b.user < last.user || b.system < last.system || b.idle < last.idle || wait < 0 {
				rt.Fatalf("from %+v to %+v, wait %v", last, b, wait)
			}
			last = b
		}
	})
}

// TestQuotaHolds uses real CPU: 60 ms of it at a fifth of a core. What else this
// process burns counts too, and could keep the work waiting for ever.
func TestQuotaHolds(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	start, before := time.Now(), processCPU()
	q := newQuota(0.2, start, before)
	for n := range 30 {
		if err := q.run(ctx, func() { burn(2 * ms) }); err != nil {
			t.Fatalf("request %d of 30, with %v of CPU used by this process: %v", n+1, processCPU().total()-before.total(), err)
		}
	}
	took, used := time.Since(start), processCPU().total()-before.total()
	if used < 58*ms {
		t.Errorf("the work used %v of CPU, want 60 ms or more", used)
	}
	// The last request was let in when all before it had been paid for.
	if least := scale(58*ms-quotaBurst, 1/0.2); took < least {
		t.Errorf("took %v, want %v or more", took, least)
	}
}

func TestQuotaGivesUp(t *testing.T) {
	q := newQuota(0.001, time.Now(), processCPU())
	burn(10 * ms)
	ctx, cancel := context.WithTimeout(t.Context(), 5*ms)
	defer cancel()
	err := q.run(ctx, func() { t.Error("the work was done without quota") })
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("run: %v, want the context's error", err)
	}
	if len(q.turn) != 0 {
		t.Error("the turn was not given back")
	}
}
