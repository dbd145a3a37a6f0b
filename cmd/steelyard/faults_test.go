// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// A fault is something that goes wrong for a while.
type fault struct {
	name  string
	lasts time.Duration
	begin func() blow
}

// A blow is what a fault has done.
type blow struct {
	down []*faultNode // the nodes that do not work meanwhile
	asks *faultNode   // whose targets are affected; nil: those of the nodes that are down
	end  func()       // makes all well again
}

// A faultRow is what was measured of one.
type faultRow struct {
	name           string
	gap            time.Duration // the longest that a working balancer's kernel had the same slots of a service
	exit           time.Duration // until a dead backend had left the kernels of those
	opened         int           // connections
	refused        int
	failed         map[string]int // by balancer and cause, the refused ones among them
	regressions    int
	refusedVectors uint64
	took           time.Duration
}

// longestExit is much more than a dead backend needs to leave the kernels when whoever
// probed it has gone: 3 s until that is seen, and two probes.
const longestExit = 8 * time.Second

const faultHeader = `| fault | longest decision gap | dead backend out of every working kernel | connections | refused | failed otherwise | older weights | vectors refused |
|---|---|---|---|---|---|---|---|
`

func (r faultRow) String() string {
	lost := 0
	for _, n := range r.failed {
		lost += n
	}
	return fmt.Sprintf("| %s | %.1f s | %.1f s | %d | %d | %d | %d | %d |\n", r.name, r.gap.Seconds(), r.exit.Seconds(),
		r.opened, r.refused, lost-r.refused, r.regressions, r.refusedVectors)
}

// TestClusterFaults has a group of five nodes and three nats-servers live through
// faults, with clients at work. At no time may a balancer go back to older weights, have
// an empty map, or refuse a connection; after each fault all agree. `make cluster-lab`
// has all faults at their full length.
func TestClusterFaults(t *testing.T) {
	s := newFaultStand(t)
	s.watch = newFaultWatch(s)
	s.untilAgreed("five nodes agree", s.nodes)
	s.watch.begin()
	s.traffic = newFaultTraffic(s)
	for _, f := range s.chosen() {
		s.strike(f)
		if t.Failed() {
			break
		}
	}
	var table strings.Builder
	for _, r := range s.rows {
		table.WriteString(r.String())
	}
	t.Logf("weights decided every %s; kernels read every %v\n%s%s", chooseFaults("300ms", "100ms"), lookEvery, faultHeader, table.String())
}

// chosen are the faults of this run: those of CI, all, or those with a text in their
// names.
func (s *faultStand) chosen() []fault {
	if !faultsLong {
		return s.shortFaults()
	}
	part := os.Getenv(faultsEnv)
	return slices.DeleteFunc(s.longFaults(), func(f fault) bool { return part != "1" && !strings.Contains(f.name, part) })
}

// strike has one fault come and go, and a backend die in it.
func (s *faultStand) strike(f fault) {
	s.t.Helper()
	s.untilAgreed("all is well before: "+f.name, s.nodes)
	s.watch.result()
	s.traffic.result()
	s.watch.measure(s.balancers)
	began := time.Now()
	b := f.begin()
	for _, n := range b.down {
		if slices.Contains(s.balancers, n) {
			s.watch.of(n).stops()
		}
	}
	exit := s.kill(s.victim(append(slices.Clone(b.down), b.asks)), b.down)
	wait(time.Until(began.Add(f.lasts)))
	b.end()
	s.recover(f)
	row := faultRow{name: f.name, exit: exit, took: time.Since(began)}
	s.watch.measure(nil)
	seen := s.watch.result()
	row.gap, row.refusedVectors, row.regressions = seen.gap, seen.refused, seen.regressions
	row.opened, row.refused, row.failed = s.traffic.result()
	s.rows = append(s.rows, row)
	s.t.Logf("%s%d vectors heard, %d of them late; %.1f s in all", row, seen.vectors, seen.late, row.took.Seconds())
	if len(row.failed) > 0 {
		s.t.Errorf("%s: of %d connections failed: %v", f.name, row.opened, row.failed)
	}
	if faultsLong && exit > longestExit {
		s.t.Errorf("%s: a dead backend was in a kernel for %v", f.name, exit)
	}
	if row.opened < 50 || seen.vectors == 0 {
		s.t.Errorf("%s: %d connections and %d vectors are too few to show anything", f.name, row.opened, seen.vectors)
	}
}

// victim chooses a backend that one of some nodes has probed, if there is one; else they
// take turns.
func (s *faultStand) victim(of []*faultNode) *faultBackend {
	var probers []string
	for _, n := range s.nodes {
		if n != s.scheduler {
			probers = append(probers, n.name)
		}
	}
	order := core.NewRendezvous(probers)
	s.struck++
	// Never the first: its slots are those by which the policy is another all the time.
	may := s.backends[1:]
	for i := range may {
		b := may[(s.struck+i)%len(may)]
		first := order.Rank(core.TargetKey(b.target(), "alive"), 1)[0]
		if slices.ContainsFunc(of, func(n *faultNode) bool { return n != nil && n.name == first }) {
			return b
		}
	}
	return may[s.struck%len(may)]
}

// kill has a backend die for the probes, and returns when it is out of the kernels of
// all that work, and how long that took.
func (s *faultStand) kill(b *faultBackend, down []*faultNode) time.Duration {
	s.t.Helper()
	began := time.Now()
	b.die()
	s.untilOut(b, down)
	return time.Since(began)
}

func (s *faultStand) untilOut(b *faultBackend, down []*faultNode) {
	s.t.Helper()
	s.untilWithin(startPatience, b.name+" is out of the kernels", func() error {
		for _, n := range s.balancers {
			if !slices.Contains(down, n) && !s.watch.of(n).lacks(b.name) {
				return fmt.Errorf("it still has slots on %s", n.name)
			}
		}
		return nil
	})
}

// recover waits until all are there again, those that were away have learnt of the dead
// backend, and it is back everywhere.
func (s *faultStand) recover(f fault) {
	s.t.Helper()
	for _, b := range s.backends {
		if !b.health.listening() {
			s.untilOut(b, nil)
			b.live(s.t)
		}
	}
	s.untilAgreed("all is well after: "+f.name, s.nodes)
}

// listening reports whether the world is up.
func (w *world) listening() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.open) > 0
}

// mostLeads is the node of some that leads the most services.
func (s *faultStand) mostLeads(of []*faultNode) *faultNode {
	s.t.Helper()
	leads := map[*faultNode]int{}
	for _, n := range of {
		v, err := n.rig.client.Node(s.t.Context())
		if err != nil {
			s.t.Fatal(err)
		}
		leads[n] = v.Cluster.Leads
	}
	most := slices.MaxFunc(of, func(a, b *faultNode) int { return leads[a] - leads[b] })
	s.t.Logf("%s leads %d services", most.name, leads[most])
	return most
}
