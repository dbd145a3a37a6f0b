// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/lab/bubbletest"
)

// Each case is two lines of equal length: samples in (. good, x bad, i INTERNAL)
// and the interval after each (n normal, f fast, d down). Read them as a picture.
func TestFollow(t *testing.T) {
	tests := []struct {
		name     string
		in, want string // rise 2, fall 3
	}{
		{"a start is settled by rise good ones",
			"...",
			"fnn"},
		{"or by fall bad ones",
			"xxxx",
			"ffdd"},
		{"in a row",
			"x.x.xx.xxx",
			"fffffffffd"},
		{"one loss is looked into",
			"..x.",
			"fnfn"},
		{"until it is a death",
			"..xxxx",
			"fnffdd"},
		{"and so is one answer of the dead",
			"xxx.x..",
			"ffdfdfn"},
		{"a run that could not be made says nothing",
			"..iixiixx",
			"fnnnffffd"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := subscriber{spec: &core.ProbeSpec{Interval: 10, FastInterval: 2, DownInterval: 30, Rise: 2, Fall: 3}}
			var got []byte
			for _, c := range tt.in {
				if c != 'i' {
					s.follow(c == '.')
				}
				got = append(got, map[time.Duration]byte{10: 'n', 2: 'f', 30: 'd'}[s.interval()])
			}
			if string(got) != tt.want {
				t.Errorf("samples %s: got %s, want %s", tt.in, got, tt.want)
			}
		})
	}
}

// Whatever a backend was held for before its first sample: once we say that nothing is
// in transition, the engine says so, too, and of the same state.
func TestFollowAgreesWithHealth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rise, fall := rapid.IntRange(0, 4).Draw(t, "rise"), rapid.IntRange(0, 4).Draw(t, "fall")
		s := subscriber{spec: &core.ProbeSpec{Rise: rise, Fall: fall}}
		var engine []core.Health
		for _, start := range []core.HealthState{core.Unknown, core.Up, core.Down} {
			engine = append(engine, core.Health{Rise: max(1, rise), Fall: max(1, fall), State: start})
		}
		for _, ok := range rapid.SliceOfN(rapid.Bool(), 1, 40).Draw(t, "samples") {
			s.follow(ok)
			for i := range engine {
				engine[i].Add(ok)
				if s.streak == 0 && (engine[i].State != s.state || engine[i].Streak != 0) {
					t.Fatalf("we hold it for %s, settled; one that began otherwise for %+v", s.state, engine[i])
				}
			}
		}
	})
}

func TestIntervalOfSpec(t *testing.T) {
	turning := subscriber{spec: &core.ProbeSpec{Interval: 10}, streak: 1}
	if got := turning.interval(); got != 10 {
		t.Errorf("without a fast interval: %d, want 10", got)
	}
	metric := subscriber{spec: &core.ProbeSpec{Interval: 10, FastInterval: 2, DownInterval: 30, Role: core.MetricRole}, state: core.Down}
	if got := metric.interval(); got != 10 {
		t.Errorf("a metric probe: %d, want 10: it marks nothing down", got)
	}
}

// TestRunnerGoesFast kills a backend for ten seconds and looks at the times of the runs.
func TestRunnerGoesFast(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		b := newBench(nil)
		start := time.Now()
		b.verdict = func(int) bool {
			at := time.Since(start)
			return at < 30*time.Second || at > 90*time.Second
		}
		tgt := target("web1", 4*time.Second)
		tgt.Spec.FastInterval, tgt.Spec.DownInterval = time.Second, 10*time.Second
		tgt.Spec.Rise, tgt.Spec.Fall, tgt.Spec.Timeout = 2, 3, 500*time.Millisecond
		b.SetTargets([]Target{tgt})
		b.start()
		time.Sleep(150 * time.Second)
		b.stop()
		got := b.of("web1")
		var gaps string // a letter for each gap, when good and when bad
		for i := 2; i < len(got)-1; i++ {
			gap := got[i+1].TakenAt.Sub(got[i].TakenAt)
			letter := map[time.Duration]string{4 * time.Second: "n", time.Second: "f", 10 * time.Second: "d"}[gap]
			if letter == "" {
				t.Errorf("a gap of %s", gap)
			}
			if len(gaps) == 0 || gaps[len(gaps)-1:] != letter || letter == "f" {
				gaps += letter
			}
		}
		if gaps != "nffdfn" {
			t.Errorf("gaps %s, want nffdfn: normal, fast for two more bad ones, down, fast for one more good one, normal", gaps)
		}
	})
}
