// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/lab/bubbletest"
)

// TestFlowsThroughFaults: whatever came, died and was cut off, once it is over each leader
// counts the connections of all who are there, once, and everybody else its own.
func TestFlowsThroughFaults(t *testing.T) {
	for seed := range uint64(3) {
		bubbletest.Run(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 7))
			c := &crew{t: t, net: newNet()}
			open := map[string]uint64{}
			add := func(roles core.Roles) {
				name := fmt.Sprintf("lb%d", len(open)+1)
				open[name] = 1 << len(open) // so that the sum says who is in it
				c.join(nodeSpec{name: name, roles: roles}, open[name])
			}
			cut := func(name string) {
				c.net.sever(name)
				time.Sleep(time.Duration(rnd.IntN(6000)) * time.Millisecond)
				c.net.join()
			}
			for range 3 {
				add(core.AllRoles)
			}
			for range 12 {
				switch rnd.IntN(4) {
				case 0:
					add(core.AllRoles)
				case 1:
					add(core.Roles{Apply: true})
				case 2:
					// The first stays, so that somebody may lead.
					if i := rnd.IntN(len(c.nodes)); i > 0 {
						c.nodes[i].kill(c.net)
						c.nodes = slices.Delete(c.nodes, i, i+1)
					}
				case 3:
					cut(c.nodes[rnd.IntN(len(c.nodes))].name)
				}
				time.Sleep(time.Duration(rnd.IntN(2500)) * time.Millisecond)
			}
			time.Sleep(2*reportAgain + settleTime)
			c.wantSums(open)
		})
	}
}

// wantSums checks that each service has one leader, and what each node counts of it.
func (c *crew) wantSums(open map[string]uint64) {
	c.t.Helper()
	var sum uint64
	for _, n := range c.nodes {
		sum += open[n.name]
	}
	for _, svc := range testServices {
		leaders := 0
		for _, n := range c.nodes {
			want := open[n.name]
			if n.Leads(svc) {
				leaders++
				want = sum
			}
			if got := n.open(svc); got != want {
				c.t.Errorf("%s counts %b connections of %s, want %b; leads %v", n.name, got, svc, want, n.Leads(svc))
			}
		}
		if leaders != 1 {
			c.t.Errorf("%d nodes lead %s", leaders, svc)
		}
	}
}
