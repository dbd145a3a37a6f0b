// SPDX-License-Identifier: Apache-2.0

package builtin_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/steelyard-lb/steelyard/core"
)

// A bench runs a policy second by second, with backends that are up unless told
// otherwise.
type bench struct {
	n *native
	s core.Snapshot
}

func newBench(t testing.TB, policy string, params map[string]float64, weights ...uint32) *bench {
	b := &bench{n: find(t, policy), s: core.Snapshot{Service: "bench", ID: 1, Now: time.Unix(0, 0)}}
	b.n.params = params
	for i, w := range weights {
		b.s.Backends = append(b.s.Backends, core.BackendInput{ID: uint64(i + 1), Name: string(rune('a' + i)), Weight: w, Health: core.Up})
	}
	return b
}

// health sets the state of a backend, in which it is from now on.
func (b *bench) health(i int, h core.HealthState) {
	if b.s.Backends[i].Health != h {
		b.s.Backends[i].Health, b.s.Backends[i].Since = h, 0
	}
}

// after lets time pass and asks the policy at its end.
func (b *bench) after(t rapid.TB, d time.Duration) []float64 {
	t.Helper()
	b.s.Seq++
	b.s.Now, b.s.Since = b.s.Now.Add(d), d
	for i := range b.s.Backends {
		b.s.Backends[i].Since += d
	}
	return shares(b.n.schedule(t, &b.s))
}

// look is shares in words: percent, as whole numbers.
func look(shares []float64) string {
	var out []string
	for _, s := range shares {
		out = append(out, fmt.Sprintf("%.0f", 100*s))
	}
	return strings.Join(out, " ")
}

// TestMaglevHoldsWeights: of many changes one passes at once, and the rest as one
// when hold has passed; who is added or set to 0 does not wait.
func TestMaglevHoldsWeights(t *testing.T) {
	b := newBench(t, "maglev", nil, 100, 100)
	step := func(d time.Duration, want string) {
		t.Helper()
		if got := look(b.after(t, d)); got != want {
			t.Errorf("at %s: shares %s, want %s", b.s.Now.Sub(time.Unix(0, 0)), got, want)
		}
	}
	step(0, "50 50")
	b.s.Backends[0].Weight = 300
	step(time.Second, "75 25") // the first change
	b.s.Backends[0].Weight = 900
	step(time.Second, "75 25")
	b.s.Backends[1].Weight = 900
	step(57*time.Second, "75 25")
	step(2*time.Second, "50 50") // 60 s after the first
	b.s.Backends[0].Weight = 2700
	step(time.Second, "50 50")
	b.s.Backends = append(b.s.Backends, core.BackendInput{ID: 3, Name: "c", Weight: 3600, Health: core.Up})
	step(time.Second, "25 25 50") // half of all is configured for it, and it has that at once
	b.s.Backends[2].Weight = 0
	step(time.Second, "50 50 0")
	b.health(1, core.Down)
	step(time.Second, "100 0 0")
	b.health(1, core.Up)
	step(time.Second, "50 50 0") // where it was before
	step(56*time.Second, "75 25 0")
}

// TestMaglevPaces: whatever the weights do, two changes that pass are hold apart,
// and what is configured is in force once it has stood still for hold.
func TestMaglevPaces(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		hold := rapid.IntRange(0, 20).Draw(rt, "hold")
		b := newBench(t, "maglev", map[string]float64{"hold": float64(hold)}, 1, 2, 3)
		before, passed, quiet := b.after(rt, 0), -hold, 0
		for at := range rapid.IntRange(1, 60).Draw(rt, "seconds") {
			quiet++
			if rapid.IntRange(0, 2).Draw(rt, "change") == 0 {
				b.s.Backends[rapid.IntRange(0, 2).Draw(rt, "whose")].Weight = uint32(rapid.IntRange(1, 5).Draw(rt, "weight"))
				quiet = 0
			}
			now := b.after(rt, time.Second)
			if !slices.Equal(now, before) {
				if at-passed < hold {
					rt.Fatalf("second %d: a change passed %d s after another, hold is %d", at, at-passed, hold)
				}
				passed = at
			}
			var configured []float64
			for _, x := range b.s.Backends {
				configured = append(configured, float64(x.Weight))
			}
			if quiet >= hold && look(now) != look(shares(configured)) {
				rt.Fatalf("second %d: %s is in force, and for %d s %v is configured", at, look(now), quiet, configured)
			}
			before = now
		}
	})
}

// TestFailoverDelays tells the life of a pair and a third in reserve.
func TestFailoverDelays(t *testing.T) {
	b := newBench(t, "failover", nil, 100, 50, 50)
	step := func(d time.Duration, want string) {
		t.Helper()
		if got := look(b.after(t, d)); got != want {
			t.Errorf("at %s: shares %s, want %s", b.s.Now.Sub(time.Unix(0, 0)), got, want)
		}
	}
	b.health(0, core.Unknown)
	step(0, "0 50 50") // the best is not known yet
	b.health(0, core.Up)
	step(time.Second, "100 0 0") // it was never down: no delay
	b.health(0, core.Down)
	step(time.Second, "0 50 50")
	b.health(0, core.Up)
	step(59*time.Second, "0 50 50")
	step(time.Second, "100 0 0")
	b.health(0, core.Down)
	step(time.Second, "0 50 50")
	b.health(0, core.Up)
	step(time.Second, "0 50 50")
	b.health(1, core.Down)
	step(time.Second, "0 0 100") // one that serves is enough
	b.health(2, core.Down)
	step(time.Second, "100 0 0") // nobody else is left: no delay
	b.health(1, core.Up)
	b.health(2, core.Up)
	b.s.Backends[1].Weight = 100
	step(time.Second, "50 50 0") // equals share, and do not wait for one another
	b.s.Backends[0].Weight = 0
	step(time.Second, "0 100 0")
}

// TestFailoverServesTheBest: at any time all goes to the up backends of one
// weight, in equal parts. Nobody better that has been up for the delay stands by,
// and who takes over from a backend that is still up was not down within the
// delay.
func TestFailoverServesTheBest(t *testing.T) {
	const delay = 5 * time.Second
	rapid.Check(t, func(rt *rapid.T) {
		b := newBench(t, "failover", map[string]float64{"preempt_delay": delay.Seconds()}, 10, 10, 20, 30, 30, 0)
		downs := make([]time.Duration, len(b.s.Backends)) // since each was down last
		for i := range downs {
			downs[i] = time.Hour
		}
		before := b.after(rt, 0)
		for range rapid.IntRange(1, 60).Draw(rt, "seconds") {
			if rapid.Bool().Draw(rt, "flip") {
				i := rapid.IntRange(0, len(downs)-1).Draw(rt, "whose")
				b.health(i, rapid.SampledFrom([]core.HealthState{core.Up, core.Down, core.Unknown}).Draw(rt, "health"))
			}
			now := b.after(rt, time.Second)
			var chosen, standing uint32
			for i, x := range b.s.Backends {
				if downs[i] += time.Second; x.Health == core.Down {
					downs[i] = 0
				}
				if now[i] > 0 {
					chosen = x.Weight
				}
				if before[i] > 0 && x.Health == core.Up {
					standing = max(standing, x.Weight)
				}
			}
			check := func(i int, x core.BackendInput) string {
				up := x.Health == core.Up && x.Weight > 0
				switch {
				case (now[i] > 0) != (up && x.Weight == chosen):
					return "serves, or not, unlike others of the weight that serves"
				case up && x.Weight > chosen && x.Since >= delay:
					return "is better, ready and left out"
				case standing > 0 && chosen < standing:
					return "left a better one that was up"
				}
				return ""
			}
			for i, x := range b.s.Backends {
				if wrong := check(i, x); wrong != "" {
					rt.Fatalf("%s, weight %d, %s for %s: %s; shares %s", x.Name, x.Weight, x.Health, x.Since, wrong, look(now))
				}
			}
			if standing > 0 && chosen > standing && !slices.ContainsFunc(indices(len(now)), func(i int) bool {
				return now[i] > 0 && downs[i] >= delay
			}) {
				rt.Fatalf("weight %d took over from %d before its delay", chosen, standing)
			}
			before = now
		}
	})
}

// shaped is what the host makes of the policy's weights: the shares in force.
func (b *bench) shaped(t testing.TB, rules core.Shaping, ask bool, opinions, before []float64) (weights, shares []float64) {
	t.Helper()
	if ask {
		b.s.Seq++
		opinions = b.n.schedule(t, &b.s)
	}
	var in []core.ShapeBackend
	for i, x := range b.s.Backends {
		in = append(in, core.ShapeBackend{Weight: x.Weight, Health: x.Health, Opinion: opinions[i], Prev: before[i], UpFor: -1})
	}
	for _, s := range core.Shape(rules, 1, in, core.Steady) {
		shares = append(shares, s.Share)
	}
	return opinions, shares
}

// TestFailoverThroughShaping: with the rules that the documentation asks for, the
// standbys have nothing, and all of it when they must, at once: even in the
// decision that follows a death before the policy is asked.
func TestFailoverThroughShaping(t *testing.T) {
	b := newBench(t, "failover", nil, 100, 50)
	step := func(rules core.Shaping, ask bool, opinions, before []float64, want string) ([]float64, []float64) {
		t.Helper()
		w, s := b.shaped(t, rules, ask, opinions, before)
		if got := look(s); got != want {
			t.Errorf("shares %s, want %s", got, want)
		}
		return w, s
	}
	rules := core.Shaping{DeadBand: 0.005}
	w, s := step(rules, true, nil, []float64{0, 0}, "100 0")
	b.health(0, core.Down)
	w, s = step(rules, false, w, s, "0 100")
	w, s = step(rules, true, w, s, "0 100")
	b.health(0, core.Up)
	w, s = step(rules, true, w, s, "0 100")
	b.s.Backends[0].Since = time.Hour
	_, s = step(rules, true, w, s, "100 0")
	// This is why: the default floor is a share of its own.
	rules.Floor = 0.05
	step(rules, true, nil, s, "98 2")
}
