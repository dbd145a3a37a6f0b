// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// Whatever vectors come, whoever leads and whichever backends die: no map is empty while
// somebody could serve, and nobody goes back to an older vector.
func TestRandomLivesOfANode(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { randomLife(t, rand.New(rand.NewPCG(seed, 6))) })
	}
}

func randomLife(t *testing.T, r *rand.Rand) {
	const backends = 5
	k, g := &kernel{took: time.Millisecond}, newGroup(r.IntN(2) == 0)
	whim := func(_ context.Context, s core.Snapshot) (answer core.Result) {
		own := rand.New(rand.NewPCG(s.Seq, 6))
		for range s.Backends {
			answer.Weights = append(answer.Weights, []float64{core.Hold, 0, 1, 5}[own.IntN(4)])
		}
		return answer
	}
	p := policies{"whim": whim}
	setups := []Setup{setupOf(web("web", "whim", 1, 1, 1, 1, 1)), setupOf(web("web", "whim", 1, 2, 1))}
	engineTestWith(t, k, p, setups[0], Config{Cluster: g}, func(t *testing.T, e *Engine, l *log) {
		var top core.Vector
		e.sayAll(true, "b1", "b2", "b3", "b4", "b5")
		for range 150 {
			name := fmt.Sprintf("b%d", 1+r.IntN(backends))
			switch r.IntN(8) {
			case 0:
				g.lead(r.IntN(2) == 0)
			case 1, 2:
				e.sayAll(r.IntN(2) == 0, name)
			case 3:
				e.toggle(t, name, r.IntN(3) == 0)
			case 4:
				if _, err := e.Reload(t.Context(), setups[r.IntN(2)]); err != nil {
					t.Fatal(err)
				}
			case 5:
				time.Sleep(time.Duration(r.IntN(3000)) * time.Millisecond)
			default:
				e.OfferVector(randomVector(r))
			}
			if r.IntN(3) == 0 {
				continue // several things at once
			}
			settle()
			checkServes(t, e, k)
			if v := e.leader(t); v != nil {
				now := core.Vector{Epoch: v.Epoch, Node: v.Node, Seq: v.Seq}
				if now.Before(&top) {
					t.Fatalf("follows %+v after %+v", now, top)
				}
				top = now
			}
		}
	})
}

// randomVector is one of backends that are partly ours.
func randomVector(r *rand.Rand) core.Vector {
	parts := make([]float64, r.IntN(7))
	for i := range parts {
		parts[i] = float64(r.IntN(4))
	}
	v := vector(uint64(r.IntN(20)), uint64(r.IntN(50)), core.Quantize(parts)...)
	v.Node = []string{"lb2", "lb3"}[r.IntN(2)]
	for i := range v.Backends {
		v.Backends[i].Health, v.Backends[i].Opinion = core.HealthState(r.IntN(3)), float64(r.IntN(4)-1)
	}
	return v
}

// toggle drains a backend, or makes it ready; it may not be configured at the moment.
func (e *Engine) toggle(t *testing.T, name string, drained bool) {
	kind := core.OverrideReady
	if drained {
		kind = core.OverrideDrain
	}
	// An unknown backend is all that can be wrong here.
	_, _ = e.Override(t.Context(), core.BackendID{Service: "web", Backend: name}, core.OverrideRequest{Kind: kind, Author: "alice"})
}

// leader is whose vector web follows; nil if it follows none.
func (e *Engine) leader(t *testing.T) *core.LeaderView {
	t.Helper()
	v, err := e.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return v.Services[0].Leader
}

// checkServes fails if a client of web finds nobody although a backend is up.
func checkServes(t *testing.T, e *Engine, k *kernel) {
	t.Helper()
	v, err := e.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	somebody := false
	for _, b := range v.Services[0].Backends {
		somebody = somebody || b.Health == core.Up && b.State != core.StateDrain
	}
	var sum uint32
	slots := k.get("web")
	for i, n := range slots {
		sum += n
		if b := v.Services[0].Backends[i]; n > 0 && (b.Health == core.Down || b.State == core.StateDrain) {
			t.Fatalf("%s is %s and has %d slots", b.Name, b.State, n)
		}
	}
	if somebody && sum != core.Slots || sum != 0 && sum != core.Slots {
		t.Fatalf("slots %v while backends are %+v", slots, v.Services[0].Backends)
	}
}
