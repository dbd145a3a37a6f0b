// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/lab/bubbletest"
)

// A stub is a prober that takes a while and notes what happened to it.
type stub struct {
	takes  func(run int) time.Duration // nil means no time
	good   func(run int) bool          // nil means always
	runs   atomic.Int64
	active *atomic.Int64 // shared by the stubs that are to be counted together
	peak   *atomic.Int64
}

func (s *stub) probe(ctx context.Context) result {
	run := int(s.runs.Add(1))
	if s.active != nil {
		now := s.active.Add(1)
		for old := s.peak.Load(); now > old && !s.peak.CompareAndSwap(old, now); old = s.peak.Load() {
		}
		defer s.active.Add(-1)
	}
	if s.takes != nil {
		select {
		case <-ctx.Done():
			return bad(core.L4Timeout, "no answer")
		case <-time.After(s.takes(run)):
		}
	}
	if s.good != nil && !s.good(run) {
		return bad(core.L4Refused, "no")
	}
	return result{ok: true, code: core.L4OK, detail: "fine"}
}

// A bench is a runner with stubs, for use inside a synctest bubble.
type bench struct {
	Runner
	mu      sync.Mutex
	samples []core.Sample // guarded by mu
	stubs   []*stub       // in the order they were made; guarded by mu
	takes   func(run int) time.Duration
	verdict func(run int) bool
	// prepareFor, unless nil, replaces takes by target.
	prepareFor func(Target) func(run int) time.Duration
	active     atomic.Int64
	peak       atomic.Int64
	cancel     context.CancelFunc
	ended      chan struct{}
}

func newBench(takes func(run int) time.Duration) *bench {
	b := &bench{takes: takes, ended: make(chan struct{})}
	b.Node = "n1"
	b.Out = func(s core.Sample) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.samples = append(b.samples, s)
	}
	b.prepare = func(t Target) prober {
		b.mu.Lock()
		defer b.mu.Unlock()
		s := &stub{takes: b.takes, good: b.verdict, active: &b.active, peak: &b.peak}
		if b.prepareFor != nil {
			s.takes = b.prepareFor(t)
		}
		b.stubs = append(b.stubs, s)
		return s
	}
	return b
}

func (b *bench) start() {
	ctx, cancel := context.WithCancel(context.Background())
	b.cancel = cancel
	go func() { defer close(b.ended); _ = b.Run(ctx) }()
}

func (b *bench) stop() { b.cancel(); <-b.ended }

// of lists the samples of a backend so far.
func (b *bench) of(backend string) []core.Sample {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []core.Sample
	for _, s := range b.samples {
		if s.Backend.Backend == backend {
			out = append(out, s)
		}
	}
	return out
}

// target is one whose address goes by its name, so that each is asked for itself.
func target(backend string, interval time.Duration) Target {
	var ip [4]byte
	binary.BigEndian.PutUint32(ip[:], 10<<24|crc32.ChecksumIEEE([]byte(backend))>>8)
	return Target{
		ID:   core.BackendID{Service: "web", Backend: backend},
		Addr: netip.AddrPortFrom(netip.AddrFrom4(ip), 80),
		Spec: &core.ProbeSpec{
			Name: "alive", Type: core.ProbeTCP, Interval: interval, Timeout: interval / 2,
			HTTP: core.HTTPSpec{Status: []core.StatusRange{{From: 200, To: 299}}},
		},
	}
}

func fleetOf(n int, interval time.Duration) []Target {
	var ts []Target
	for i := range n {
		ts = append(ts, target(fmt.Sprint("b", i), interval))
	}
	return ts
}

func TestRunnerKeepsTime(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		b := newBench(func(run int) time.Duration { return time.Duration(run%3) * 100 * time.Millisecond })
		b.SetTargets([]Target{target("web1", time.Second)})
		b.start()
		time.Sleep(20 * time.Second)
		b.stop()
		got := b.of("web1")
		if len(got) < 20 || len(got) > 21 {
			t.Fatalf("%d samples in 20 s, want 20 or 21", len(got))
		}
		for i, s := range got {
			if s.Seq != uint64(i+1) {
				t.Errorf("sample %d has seq %d", i, s.Seq)
			}
			if i > 1 && s.TakenAt.Sub(got[i-1].TakenAt) != time.Second {
				t.Errorf("sample %d began %s after the one before, want 1s however long that took", i, s.TakenAt.Sub(got[i-1].TakenAt))
			}
		}
	})
}

// Nobody knows a backend before its first run, so that comes soon; the second one
// spreads the targets over their interval.
func TestRunnerSpreadsTargets(t *testing.T) {
	for _, interval := range []time.Duration{100 * time.Millisecond, time.Second, time.Minute} {
		bubbletest.Run(t, func(t *testing.T) {
			b := newBench(nil)
			b.SetTargets(fleetOf(1000, interval))
			soon := min(interval, maxFirstDelay)
			start := time.Now()
			b.start()
			time.Sleep(soon + interval)
			b.stop()
			var first, second [4]int
			begun := map[string]time.Time{}
			for _, s := range b.samples {
				switch name := s.Backend.Backend; s.Seq {
				case 1:
					begun[name] = s.TakenAt
					first[min(3, int(4*s.TakenAt.Sub(start)/soon))]++
				case 2:
					second[min(3, int(4*s.TakenAt.Sub(begun[name])/interval))]++
				}
			}
			for q := range 4 {
				if n := first[q]; n < 180 || n > 320 { // 250 ± 5 sigma
					t.Errorf("interval %s: %d of 1000 first runs in quarter %d of %s", interval, n, q, soon)
				}
				if n := second[q]; n < 180 || n > 320 {
					t.Errorf("interval %s: %d of 1000 second runs in quarter %d of the interval", interval, n, q)
				}
			}
		})
	}
}

func TestRunnerJitters(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		b := newBench(nil)
		tgt := target("web1", 10*time.Second)
		tgt.Spec.Jitter = 0.1
		b.SetTargets([]Target{tgt})
		b.start()
		time.Sleep(2000 * time.Second)
		b.stop()
		got := b.of("web1")
		shortest, longest := time.Hour, time.Duration(0)
		for i := 2; i < len(got); i++ {
			gap := got[i].TakenAt.Sub(got[i-1].TakenAt)
			shortest, longest = min(shortest, gap), max(longest, gap)
		}
		if shortest < 9*time.Second || longest > 11*time.Second || shortest > 9300*time.Millisecond || longest < 10700*time.Millisecond {
			t.Errorf("gaps from %s to %s over %d runs, want them to fill 9s to 11s", shortest, longest, len(got))
		}
		if n := len(got); n < 190 || n > 210 {
			t.Errorf("%d runs in 2000 s, want about 200", n)
		}
	})
}

// TestRunnerDoesNotBurst lets Out block for a minute, which is what a pause of
// the process looks like to a target.
func TestRunnerDoesNotBurst(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		b := newBench(nil)
		record, blocked := b.Out, false
		b.Out = func(s core.Sample) {
			record(s)
			if s.Seq == 3 && !blocked {
				blocked = true
				time.Sleep(time.Minute)
			}
		}
		b.SetTargets([]Target{target("web1", time.Second)})
		b.start()
		time.Sleep(70 * time.Second)
		b.stop()
		got := b.of("web1")
		gap := func(i int) time.Duration { return got[i].TakenAt.Sub(got[i-1].TakenAt) }
		// The one after the pause is timed as the first run of all is, and the next as
		// the second.
		if late := gap(3) - time.Minute; gap(2) != time.Second || late < 0 || late > maxFirstDelay {
			t.Errorf("gaps of %s and %s, want 1s, and a minute with up to %s", gap(2), gap(3), maxFirstDelay)
		}
		if gap(4) > time.Second || gap(5) != time.Second || gap(6) != time.Second {
			t.Errorf("gaps after the pause: %s, %s, %s; want up to 1s, 1s, 1s", gap(4), gap(5), gap(6))
		}
		if n := b.Stats()[0].Skipped; n != 59 {
			t.Errorf("%d runs were left out in a minute of a run a second, want 59", n)
		}
	})
}

// TestRunnerSpreadsAgainAfterPause lets a thousand targets stand still together. They
// must not be asked together when it goes on, nor from then on.
func TestRunnerSpreadsAgainAfterPause(t *testing.T) {
	const targets = 1000
	bubbletest.Run(t, func(t *testing.T) {
		b := newBench(nil)
		var paused atomic.Bool
		goOn := make(chan struct{})
		record := b.Out
		b.Out = func(s core.Sample) {
			record(s)
			if paused.Load() {
				<-goOn
			}
		}
		b.SetTargets(fleetOf(targets, time.Second))
		b.start()
		time.Sleep(10 * time.Second)
		paused.Store(true)
		time.Sleep(30 * time.Second) // each is held up within a second
		paused.Store(false)
		resumed := time.Now()
		close(goOn)
		time.Sleep(5 * time.Second)
		b.stop()

		most, runs := map[time.Time]int{}, [5]int{}
		for _, s := range b.samples {
			if after := s.TakenAt.Sub(resumed); after >= 0 {
				most[s.TakenAt.Truncate(10*time.Millisecond)]++
				runs[min(4, int(after/time.Second))]++
			}
		}
		for at, n := range most {
			if n > targets/10 { // 20 are expected in the first half second, 10 later
				t.Errorf("%d of %d targets are asked within 10 ms, %s after the pause", n, targets, at.Sub(resumed))
			}
		}
		for i, n := range runs {
			if n > 2*targets || n < targets*8/10 {
				t.Errorf("%d runs in second %d after the pause", n, i)
			}
		}
	})
}

func TestSetTargetsKeepsUnchanged(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		b := newBench(nil)
		b.SetTargets([]Target{target("kept", time.Second), target("gone", time.Second), target("changed", time.Second)})
		b.start()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		kept, gone, changed := len(b.of("kept")), len(b.of("gone")), len(b.of("changed"))
		slower := target("changed", 2*time.Second)
		b.SetTargets([]Target{target("kept", time.Second), slower, target("new", time.Second)})
		synctest.Wait()
		time.Sleep(10 * time.Second)
		b.stop()

		samples := b.of("kept")
		for i := 2; i < len(samples); i++ {
			if gap := samples[i].TakenAt.Sub(samples[i-1].TakenAt); gap != time.Second {
				t.Errorf("kept: sample %d came after %s", i, gap)
			}
		}
		if n := len(samples); n < kept+9 {
			t.Errorf("kept: %d samples after %d", n, kept)
		}
		if n := len(b.of("gone")); n != gone {
			t.Errorf("gone: %d samples, had %d", n, gone)
		}
		if n := len(b.of("new")); n < 9 {
			t.Errorf("new: %d samples", n)
		}
		again := b.of("changed")
		if n := len(again) - changed; n < 5 || n > 6 {
			t.Errorf("changed: %d samples in 10 s at an interval of 2 s", n)
		}
		for i, s := range again {
			if s.Seq != uint64(i+1) {
				t.Errorf("changed: sample %d has seq %d: it must go on", i, s.Seq)
			}
		}
		if len(b.stubs) != 5 {
			t.Errorf("%d probers were made, want 5: kept, gone, changed twice, new", len(b.stubs))
		}
	})
}

// TestRemovedTargetIsSilent removes a target in the middle of a run.
func TestRemovedTargetIsSilent(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		b := newBench(func(int) time.Duration { return time.Hour })
		tgt := target("web1", time.Second)
		tgt.Spec.Timeout = 2 * time.Hour
		b.SetTargets([]Target{tgt})
		b.start()
		time.Sleep(2 * time.Second)
		b.SetTargets(nil)
		synctest.Wait()
		if b.active.Load() != 0 {
			t.Error("the run goes on")
		}
		b.stop()
		if n := len(b.samples); n != 0 {
			t.Errorf("%d samples of a run that was broken off", n)
		}
	})
}

func TestRunnerBoundsConcurrency(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		b := newBench(func(int) time.Duration { return 400 * time.Millisecond })
		b.Concurrency = map[string]int{core.ProbeTCP: 10}
		fleet := fleetOf(100, time.Second)
		for _, t := range fleet {
			t.Spec.Timeout = 900 * time.Millisecond // so that nobody counts as slow
		}
		b.SetTargets(fleet)
		b.start()
		time.Sleep(20 * time.Second)
		b.stop()
		if got := b.peak.Load(); got != 10 {
			t.Errorf("%d runs at once, want 10", got)
		}
		// 10 slots × 20 s / 0.4 s, less the start.
		if n := len(b.samples); n < 460 || n > 500 {
			t.Errorf("%d samples, want what 10 slots can do: about 490", n)
		}
		for _, s := range b.samples {
			if s.Took != 400*time.Millisecond || !s.OK {
				t.Fatalf("a run took %s, ok=%t: the wait for a slot is not the backend's", s.Took, s.OK)
			}
		}
	})
}

func TestRunnerEndsAtTimeout(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		b := newBench(func(int) time.Duration { return time.Hour })
		b.SetTargets([]Target{target("web1", time.Second)})
		b.start()
		time.Sleep(10 * time.Second)
		b.stop()
		got := b.of("web1")
		if len(got) < 9 || got[0].OK || got[0].Took != 500*time.Millisecond {
			t.Errorf("%d samples, the first ok=%t after %s; want 9 failures after 500ms", len(got), got[0].OK, got[0].Took)
		}
	})
}

// overtime is a prober whose runs from..to go on far beyond their time, as all do that
// are under way while the process stands still.
type overtime struct{ run, from, to int }

func (o *overtime) probe(context.Context) result {
	if o.run++; o.run < o.from || o.run > o.to {
		return result{ok: true, code: core.L4OK, detail: "fine"}
	}
	time.Sleep(30 * time.Second)
	return bad(core.L4Timeout, "no answer")
}

// TestRunnerStoodStill: a run during which the process was stopped says nothing about
// the backend. One that is so late again and again does.
func TestRunnerStoodStill(t *testing.T) {
	for name, tt := range map[string]struct{ to, bad int }{
		"a pause":       {3, 0},
		"a slow prober": {5, 2},
	} {
		t.Run(name, func(t *testing.T) {
			bubbletest.Run(t, func(t *testing.T) {
				b := newBench(nil)
				b.prepare = func(Target) prober { return &overtime{from: 3, to: tt.to} }
				b.SetTargets([]Target{target("web1", time.Second)})
				b.start()
				time.Sleep(2 * time.Minute)
				b.stop()
				failed := 0
				for i, s := range b.of("web1") {
					if !s.OK {
						failed++
					}
					if s.Seq != uint64(i+1) {
						t.Errorf("sample %d has number %d", i+1, s.Seq)
					}
				}
				if failed != tt.bad {
					t.Errorf("%d bad samples, want %d", failed, tt.bad)
				}
				if v := b.Stats()[0]; v.Skipped == 0 {
					t.Errorf("nothing was counted as left out: %+v", v)
				}
			})
		})
	}
}

// TestRunnerHammer changes the targets all the time; it is for the race
// detector, and for a goroutine that Run would leave behind.
func TestRunnerHammer(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		b := newBench(func(run int) time.Duration { return time.Duration(run%2) * time.Millisecond })
		b.start()
		var wg sync.WaitGroup
		for g := range 4 {
			wg.Go(func() {
				for i := range 200 {
					b.SetTargets(fleetOf((g*31+i)%20, time.Duration(2+i/100)*time.Millisecond))
					time.Sleep(time.Millisecond)
				}
			})
		}
		wg.Wait()
		b.stop()
		n := len(b.samples)
		synctest.Wait()
		if n == 0 || len(b.samples) != n {
			t.Errorf("%d samples at the end of Run, %d later", n, len(b.samples))
		}
		seen := map[string]bool{}
		for _, s := range b.samples {
			k := fmt.Sprint(s.Backend, s.Seq)
			if seen[k] {
				t.Errorf("seq %d of %s twice", s.Seq, s.Backend)
			}
			seen[k] = true
		}
	})
}
