// SPDX-License-Identifier: Apache-2.0

package core

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var probing = Probing{SuspectRatio: 0.8, SuspectMin: 10, SuspectFor: 10 * time.Minute}

func TestSuspicion(t *testing.T) {
	now := time.Unix(1000, 0)
	tests := []struct {
		name          string
		good, failing int
		want          Turn
	}{
		{"ten of a hundred", 100, 10, NoTurn},
		{"not more than the ratio", 100, 80, NoTurn},
		{"more", 100, 81, SuspicionBegan},
		{"of those that were good", 15, 13, SuspicionBegan},
		{"too few to tell", 9, 9, NoTurn},
		{"none", 0, 0, NoTurn},
	}
	for _, tt := range tests {
		s := Suspicion{Good: tt.good, Failing: tt.failing}
		if got := s.Judge(probing, now); got != tt.want || s.Frozen() != (tt.want == SuspicionBegan) {
			t.Errorf("%s: turn %d, frozen %t", tt.name, got, s.Frozen())
		}
		if s := (Suspicion{Good: tt.good, Failing: tt.failing}); s.Judge(Probing{}, now) != NoTurn {
			t.Errorf("%s: suspected without a rule", tt.name)
		}
	}
}

func TestSuspicionEnds(t *testing.T) {
	now := time.Unix(1000, 0)
	s := Suspicion{Good: 100, Failing: 100}
	s.Judge(probing, now)
	for _, step := range []struct {
		failing int
		after   time.Duration
		want    Turn
	}{
		{60, time.Second, NoTurn}, {40, time.Second, NoTurn}, {39, time.Second, SuspicionEnded}, {80, time.Second, NoTurn},
		{81, 0, SuspicionBegan}, {81, 9 * time.Minute, NoTurn}, {81, time.Minute, SuspicionSpent},
		{81, time.Hour, NoTurn}, {40, 0, NoTurn}, {100, 0, NoTurn}, {39, 0, NoTurn}, {81, 0, SuspicionBegan},
	} {
		now = now.Add(step.after)
		s.Failing = step.failing
		if got := s.Judge(probing, now); got != step.want {
			t.Errorf("%d failing at %s: turn %d, want %d", step.failing, now, got, step.want)
		}
	}
	if got := s.Due(probing).Sub(now); got != probing.SuspectFor {
		t.Errorf("it may last %s", got)
	}
}

// Whatever comes: it begins only above the ratio and with enough probes, lasts at most
// SuspectFor, and is over once few fail.
func TestSuspicionIsBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s Suspicion
		now := time.Unix(1000, 0)
		for range 100 {
			now = now.Add(time.Duration(rapid.IntRange(0, 120).Draw(t, "after")) * time.Second)
			s.Good = rapid.IntRange(0, 50).Draw(t, "good")
			s.Failing = rapid.IntRange(0, s.Good).Draw(t, "failing")
			was := s.Frozen()
			turn := s.Judge(probing, now)
			part := float64(s.Failing) / float64(max(s.Good, 1))
			switch {
			case (turn == SuspicionBegan) != (!was && s.Frozen()):
				t.Fatalf("turn %d, frozen %t, then %t", turn, was, s.Frozen())
			case turn == SuspicionBegan && (s.Good < 10 || part <= 0.8):
				t.Fatalf("%d of %d fail, and we suspect ourselves", s.Failing, s.Good)
			case s.Frozen() && s.Good > 0 && part < 0.4:
				t.Fatalf("%d of %d fail, and we suspect ourselves still", s.Failing, s.Good)
			case s.Frozen() && now.Sub(s.Since()) >= probing.SuspectFor:
				t.Fatalf("for %s", now.Sub(s.Since()))
			}
		}
	})
}

func TestHorizon(t *testing.T) {
	probes := map[string]ProbeSpec{
		"alive": {Role: HealthRole, Interval: 2 * time.Second, Timeout: time.Second, Jitter: 0.1},
		"slow":  {Role: HealthRole, Interval: time.Second, DownInterval: 10 * time.Second, Timeout: 3 * time.Second},
		"cpu":   {Role: MetricRole, Interval: time.Hour, Timeout: time.Minute},
	}
	for _, tt := range []struct {
		alive, slow int
		want        time.Duration
	}{
		{0, 0, 0},
		{1, 0, 3200 * time.Millisecond},
		{50, 50, 13 * time.Second},
		{80, 20, 13 * time.Second}, // 80 of 100 are not more than that ratio
		{81, 19, 3200 * time.Millisecond},
	} {
		if got := Horizon(probes, map[string]int{"alive": tt.alive, "slow": tt.slow, "cpu": 500}, 0.8); got != tt.want {
			t.Errorf("%d alive, %d slow: %s, want %s", tt.alive, tt.slow, got, tt.want)
		}
	}
}

func TestSuspectText(t *testing.T) {
	for code, want := range map[Code]string{
		L4Timeout: "nf_conntrack: table full", Internal: "too many open files", L4Refused: "firewall",
	} {
		got := SuspectText(82, 100, code, "why")
		if !strings.HasPrefix(got, "82 of 100 health probes") || !strings.Contains(got, "most say "+string(code)+" (why)") || !strings.Contains(got, want) {
			t.Errorf("%s: %q", code, got)
		}
	}
}
