// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/nft"
)

// long says that `make soak` runs, and not `go test`.
var long = os.Getenv("STEELYARD_SOAK") != ""

// choose is how much of something a test does.
func choose(short, full int) int {
	if long {
		return full
	}
	return short
}

// A trial is a service under test: how it deals, over how many backends, and how
// many connections and re-weights it goes through.
type trial struct {
	name           string
	edit           func(*core.Traffic)
	backends       int
	flows, commits int // of the long run; the short one has 200,000 flows in all
}

var trials = []trial{
	{"random", func(*core.Traffic) {}, 24, 10_000_000, 10_000},
	{"roundrobin", func(t *core.Traffic) { t.Distribution = core.RoundRobin }, 8, 1_000_000, 1_000},
	{"hash", func(t *core.Traffic) { t.Distribution, t.Seed = core.Hash, 7 }, 8, 1_000_000, 1_000},
	{"sticky", func(t *core.Traffic) {
		t.Persistence = core.Persistence{Timeout: 90 * time.Second, Prefix4: 32, Prefix6: 128, Size: 2 * clients}
	}, 24, 1_000_000, 1_000},
	// Past the first 1,000 services several share a map of weights.
	{"shared", func(*core.Traffic) {}, 16, 1_000_000, 1_000},
}

// TestSoakFlows sends connections through a service, one per frame and none
// like another, while its weights change in every way there is. Each must find a
// backend.
func TestSoakFlows(t *testing.T) {
	var tested []core.ServicePlan
	for i := range trials {
		tested = append(tested, trials[i].service(i))
	}
	st := newStand(t, 1000, tested)
	for i, tr := range trials {
		t.Run(tr.name, func(t *testing.T) {
			st.t = t
			if _, err := st.lab.Balancer.Command(t.Context(), "nft", "list", "map", "inet", nft.DefaultTable, "w-"+tested[i].Name); tested[i].Distribution == core.Random && (err == nil) == (tr.name == "shared") {
				t.Fatalf("has it a map of its own? %v", err)
			}
			tr.flows, tr.commits = choose(tr.flows/65, tr.flows), choose(tr.commits/25, tr.commits)
			st.run(&tested[i], tr)
		})
	}
}

func (tr *trial) service(i int) core.ServicePlan {
	traffic := core.Simple(netip.MustParseAddrPort(fmt.Sprintf("203.0.113.10:%d", firstVIP+i)), core.UDP)
	tr.edit(&traffic)
	s := core.ServicePlan{Name: "by-" + tr.name, Traffic: &traffic}
	if tr.name == "shared" {
		s.Name = "last" // by name, after the idle ones
	}
	for b := range tr.backends {
		addr := netip.AddrFrom4([4]byte{198, 51, 100, byte(10 + b%nodes)})
		s.Backends = append(s.Backends, core.BackendPlan{
			Name: fmt.Sprintf("b%02d", b), Addr: netip.AddrPortFrom(addr, dst(i, b)), Forwarding: core.DNAT,
		})
	}
	weigh(&s, 0)
	return s
}

// weigh gives a service the weights of its k-th change. They go in a cycle.
func weigh(s *core.ServicePlan, k int) {
	n := len(s.Backends)
	shares := make([]float64, n)
	drained := -1
	for i := range shares {
		shares[i] = 100
	}
	one := k / 8 % n // another one in each cycle
	switch k % 8 {
	case 0: // all alike
	case 1: // two change a little: with many backends a delta
		shares[one], shares[(one+1)%n] = 101, 99
	case 2: // all boundaries move
		for i := range shares {
			shares[i] = float64(i + 1 + one)
		}
	case 3: // the other way round
		for i := range shares {
			shares[i] = float64(n - i + one)
		}
	case 4: // one dies
		shares[one] = 0
	case 5: // it is back, another is drained
		drained = (one + 1) % n
		shares[drained] = 0
	case 6: // one is left
		clear(shares)
		shares[one] = 1
	case 7: // every second one dies
		for i := range shares {
			shares[i] = float64((i + one) % 2)
		}
	}
	for i, slots := range core.Quantize(shares) {
		s.Backends[i].Slots, s.Backends[i].Alive = slots, slots > 0 || i == drained
	}
}

// run sends the connections of one trial and draws up the account.
func (st *stand) run(s *core.ServicePlan, tr trial) {
	before := st.losses()
	snd := st.sender(s)
	defer snd.close()
	ctx, cancel := context.WithTimeoutCause(st.t.Context(), 15*time.Minute, errors.New("it takes too long"))
	defer cancel()
	began := time.Now()
	took, err := both(ctx, snd, tr, func(k int) error {
		next := core.ServicePlan{Name: s.Name, Traffic: s.Traffic, Backends: slices.Clone(s.Backends)}
		weigh(&next, k)
		_, err := st.a.Reweight(ctx, []core.ServicePlan{next})
		return err
	})
	st.must(err)
	elapsed := time.Since(began)
	st.account(s, uint64(snd.next), len(took), st.losses().since(before))
	slices.Sort(took)
	st.t.Logf("%d connections and %d re-weights in %s: %.0f connections/s; a re-weight took %s in the middle, %s at p99", snd.next, len(took),
		elapsed.Round(time.Millisecond), float64(snd.next)/elapsed.Seconds(), took[len(took)/2].Round(time.Microsecond), took[len(took)*99/100].Round(time.Microsecond))
}

// sender is a sender to a service.
func (st *stand) sender(s *core.ServicePlan) (snd *sender) {
	st.t.Helper()
	st.must(st.lab.Client.Do(func() (err error) {
		snd, err = newSender(st.routerMAC(), netip.AddrPortFrom(s.First().Addr(), s.First().Ports.First))
		return err
	}))
	return snd
}

// both sends connections and changes weights at the same time, evenly over one
// another, until there were enough of both. It returns how long each change took.
func both(ctx context.Context, snd *sender, tr trial, change func(k int) error) (took []time.Duration, err error) {
	var sent atomic.Int64
	var ended error
	enough := make(chan struct{}) // closed: all changes are made
	done := make(chan struct{})   // closed: the sender has ended
	moved := make(chan struct{}, 1)
	go func() {
		defer close(done)
		for ended == nil {
			select {
			case <-enough:
				if snd.next >= tr.flows {
					return
				}
			default:
			}
			if ended = context.Cause(ctx); ended == nil {
				ended = snd.send()
			}
			sent.Store(int64(snd.next))
			select {
			case moved <- struct{}{}:
			default: // it has not looked yet
			}
		}
	}()
	for k := 1; k <= tr.commits && err == nil; {
		if sent.Load()*int64(tr.commits) < int64(k)*int64(tr.flows) {
			select {
			case <-moved:
				continue
			case <-done:
				return took, ended
			}
		}
		began := time.Now()
		err = change(k)
		took = append(took, time.Since(began))
		k++
	}
	close(enough)
	<-done
	return took, errors.Join(err, ended)
}

// account compares what was counted on the way. Frames that the kernel dropped
// before or behind our table, and counted, are no misses; they are told.
func (st *stand) account(s *core.ServicePlan, sent uint64, commits int, lost loss) {
	st.t.Helper()
	entered, arrived := st.arrivals(s)
	sum, each := st.connections(s)
	var dealt uint64
	for i, n := range each {
		dealt += n
		if n == 0 {
			st.t.Errorf("backend %s got nothing: this shows nothing", s.Backends[i].Name)
		}
	}
	st.t.Logf("sent %d, entered the ruleset %d, refused %d, dealt %d, arrived %d; the kernel dropped %+v", sent, entered, sum.Refused, dealt, arrived, lost)
	if sum.Refused != 0 {
		st.t.Errorf("%d of %d connections found no backend during %d re-weights", sum.Refused, entered, commits)
	}
	if sum.Connections != dealt {
		st.t.Errorf("the service counted %d connections, its backends %d", sum.Connections, dealt)
	}
	check := func(what string, from, to, dropped uint64) {
		if from != to+dropped {
			st.t.Errorf("%s: %d, then %d, and %d were dropped", what, from, to, dropped)
		}
	}
	check("from the client to the ruleset", sent, entered, lost.toBalancer)
	check("from the ruleset to a backend's counter", entered, dealt, lost.full)
	check("from a backend's counter to the backend", dealt, arrived, lost.notInserted+lost.toBackends)
}
