// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/lab/bubbletest"
)

// A moody prober crashes in every second run, and loses its count when it does.
type moody struct{ runs int }

func (p *moody) probe(context.Context) result {
	if p.runs++; p.runs == 2 {
		var none []int
		p.runs = none[p.runs]
	}
	return result{ok: true, code: core.L4OK, detail: "fine"}
}

// TestRunnerOutlivesPanic: the daemon goes on, the sample says so and blames nobody, the
// prober is made anew, and the log has one stack, not one a second.
func TestRunnerOutlivesPanic(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		var log bytes.Buffer
		var made atomic.Int64
		b := newBench(nil)
		b.Log = slog.New(slog.NewTextHandler(&log, nil))
		b.prepare = func(Target) prober { made.Add(1); return &moody{} }
		b.SetTargets([]Target{target("web1", time.Second)})
		b.start()
		time.Sleep(10*time.Second + 600*time.Millisecond)
		b.stop()
		got := b.of("web1")
		if len(got) < 10 {
			t.Fatalf("%d samples in 10 s", len(got))
		}
		for i, s := range got {
			if i%2 == 0 {
				wantCode(t, s, true, core.L4OK, "fine")
			} else {
				wantCode(t, s, false, core.Internal, "index out of range [2] with length 0")
			}
		}
		if n := int(made.Load()); n != 1+len(got)/2 {
			t.Errorf("%d probers were made for %d samples", n, len(got))
		}
		if n := strings.Count(log.String(), "stack="); n != 1 || !strings.Contains(log.String(), "watch_test.go") {
			t.Errorf("%d stacks in the log, want 1, with the line:\n%s", n, log.String())
		}
	})
}

// A prober that cannot even be made says so in each run.
func TestRunnerOutlivesPanicAtStart(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		b := newBench(nil)
		b.prepare = func(Target) prober { panic("no such thing") }
		b.SetTargets([]Target{target("web1", time.Second)})
		b.start()
		time.Sleep(5 * time.Second)
		b.stop()
		got := b.of("web1")
		if len(got) < 4 {
			t.Fatalf("%d samples in 5 s", len(got))
		}
		wantCode(t, got[3], false, core.Internal, "no such thing")
	})
}

// TestStats: a line for each type, with what became of its runs.
func TestStats(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		b := newBench(nil)
		b.verdict = func(run int) bool { return run%2 == 1 }
		if s := b.Stats(); len(s) != 0 {
			t.Errorf("before the start: %+v", s)
		}
		ping := target("web1", time.Second)
		ping.Spec.Type = core.ProbePing
		b.SetTargets([]Target{target("web2", time.Second), ping})
		b.start()
		time.Sleep(10*time.Second + 600*time.Millisecond)
		synctest.Wait()
		got := b.Stats()
		if len(got) != 2 || got[0].Type != core.ProbePing || got[1].Type != core.ProbeTCP {
			t.Fatalf("got %+v, want ping and tcp", got)
		}
		for _, s := range got {
			if s.Targets != 1 || s.Shared != 0 || s.Runs < 10 || s.Runs > 12 || s.Failed != s.Runs/2 ||
				s.Skipped != 0 || s.Running != 0 || s.Waiting != 0 || s.Limit == 0 {
				t.Errorf("got %+v", s)
			}
		}
		b.SetTargets(nil)
		synctest.Wait()
		if s := b.Stats()[0]; s.Targets != 0 || s.Runs < 10 {
			t.Errorf("without targets: %+v, want the counts to stay", s)
		}
		b.stop()
	})
}

// TestSkippedWhileWaiting: with one place for two targets that take 1.5 intervals each,
// a run begins every 1.5 s where two a second would, and each is two or three intervals
// late.
func TestSkippedWhileWaiting(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		b := newBench(func(int) time.Duration { return 1500 * time.Millisecond })
		b.Concurrency = map[string]int{core.ProbeTCP: 1}
		fleet := fleetOf(2, time.Second)
		for _, tgt := range fleet {
			tgt.Spec.Timeout = 2 * time.Second
		}
		b.SetTargets(fleet)
		b.start()
		time.Sleep(100 * time.Second)
		synctest.Wait()
		s := b.Stats()[0]
		b.stop()
		// Of each target a run begins every 3 s, 2 s after it was due: two are left out.
		if s.Runs < 64 || s.Runs > 67 || s.Skipped < 2*s.Runs-10 || s.Skipped > 2*s.Runs {
			t.Errorf("%d runs, %d left out; want 66 and 132", s.Runs, s.Skipped)
		}
		if s.Running != 1 || s.Waiting != 1 {
			t.Errorf("%d running, %d waiting, want 1 and 1", s.Running, s.Waiting)
		}
	})
}
