// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// TestLinkKeepsFlows re-weights while flows are open, again and again and before
// what moved has settled; lets it settle; has the process die and the next one go
// on; and adds backends until the table changes its size. Not one flow may break:
// nftlb breaks 26 of 30 at one change of weights, and without a hash 13 of 30 at
// none.
func TestLinkKeepsFlows(t *testing.T) {
	for _, f := range []core.Forwarding{core.DSR, core.Stateless} {
		t.Run(string(f), func(t *testing.T) {
			t.Parallel()
			w := newLinkWorld(t)
			p := w.plan(f, time.Minute)
			w.sync(p)
			list := w.talks(p, 30)
			counts := map[string]int{}
			for _, c := range list {
				counts[c.backend]++
			}
			if len(counts) != 3 {
				t.Fatalf("flows went to %v: want all three backends", counts)
			}
			for range 20 {
				p = w.reweight(p, rand.Uint32N(5), rand.Uint32N(5), 1+rand.Uint32N(5))
				hold(t, list)
				list = append(list, w.talks(p, 1)...)
			}
			w.settleWith(list)
			p = w.reweight(p, 0, 0, 1) // all flows of b1 and b2 have to be remembered again
			w.restart()
			w.sync(p)
			hold(t, list)
			p = w.reweight(p, 1, 1, 0)
			hold(t, list)
			w.sync(w.grown(p, 9))
			for range 3 {
				hold(t, list)
			}
			w.settleWith(list)
			t.Logf("%d flows, none broken", len(list))
		})
	}
}

// settleWith lets the time pass after which whoever was silent is forgotten, once
// all flows have talked. Those that stay where they are keep their positions
// moving. Only the Applier's clock is put forward: the kernel's goes on, so that no
// flow is silent for too long however slow the machine is.
func (w *linkWorld) settleWith(list []*longTalk) {
	w.t.Helper()
	for range quietReads + 2 {
		hold(w.t, list)
		base := w.a.clock
		w.a.clock = func() time.Duration { return base() + time.Minute + settleSlack }
		if _, err := w.a.Settle(context.Background()); err != nil {
			w.t.Fatal(err)
		}
		hold(w.t, list)
	}
	for _, h := range w.a.known {
		for _, d := range h.deals {
			if d != nil && slices.ContainsFunc(d.old, func(i uint16) bool { return i != nobody }) {
				w.t.Errorf("service %s: flows are still given to old owners", h.plan.Name)
			}
		}
	}
}

// restart is a process that is killed, and the next.
func (w *linkWorld) restart() {
	w.t.Helper()
	if err := w.a.Close(); err != nil {
		w.t.Fatal(err)
	}
	w.in(w.balancer, func() {
		var err error
		w.a, err = Open(Config{})
		w.must(err)
	})
	if _, ok, err := w.a.Adopt(context.Background()); !ok || err != nil {
		w.t.Fatal(ok, err)
	}
}

// grown has so many backends in each service; those that are new take nothing.
func (w *linkWorld) grown(p core.Plan, n int) core.Plan {
	var out core.Plan
	for _, s := range p.Services {
		s.Backends = append([]core.BackendPlan(nil), s.Backends...)
		for addr := s.Backends[2].Addr.Addr(); len(s.Backends) < n; {
			addr = addr.Next()
			s.Backends = append(s.Backends, core.BackendPlan{
				Name: fmt.Sprintf("b%d", len(s.Backends)+1), Addr: netip.AddrPortFrom(addr, s.Backends[0].Addr.Port()), Forwarding: s.Forwarding,
			})
		}
		out.Services = append(out.Services, s)
	}
	return out
}
