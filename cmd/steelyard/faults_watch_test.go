// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/google/nftables"
	"github.com/nats-io/nats.go"

	"github.com/steelyard-lb/steelyard/core"
)

// A faultWatch looks all the time at the kernels of the balancers, at whom they follow,
// and at the vectors on the bus.
type faultWatch struct {
	s     *faultStand
	looks []*kernelLook // one for each balancer, in their order
	stop  chan struct{}
	wg    sync.WaitGroup

	mu   sync.Mutex
	sent map[[2]string]core.Mark // the highest by node and service, as heard on the bus; guarded by mu

	tally sighting // guarded by mu; without gap and refused
}

// lookEvery is how often each kernel is read, and viewEvery each daemon.
var (
	lookEvery = chooseFaults(50*time.Millisecond, 20*time.Millisecond)
	viewEvery = chooseFaults(200*time.Millisecond, 100*time.Millisecond)
)

// newFaultWatch begins to watch.
func newFaultWatch(s *faultStand) *faultWatch {
	s.t.Helper()
	w := &faultWatch{s: s, stop: make(chan struct{}), sent: map[[2]string]core.Mark{}}
	for _, b := range s.balancers {
		k := &kernelLook{w: w, node: b, seen: map[string]slotsOf{}, at: map[string]time.Time{}, decided: map[string]time.Time{}, follows: map[string]core.Mark{}}
		err := b.node.Do(func() (err error) {
			k.conn, err = nftables.New(nftables.AsLasting())
			return err
		})
		if err != nil {
			s.t.Fatal(err)
		}
		s.t.Cleanup(func() { _ = k.conn.CloseLasting() })
		w.looks = append(w.looks, k)
	}
	return w
}

// begin starts to look; before it, nothing was in force yet.
func (w *faultWatch) begin() {
	for _, k := range w.looks {
		w.wg.Go(func() { k.every(lookEvery, k.look) })
		w.wg.Go(func() { k.every(viewEvery, k.view) })
	}
	end := sync.OnceFunc(func() {
		close(w.stop)
		w.wg.Wait()
	})
	w.s.t.Cleanup(end)
	for _, server := range w.s.servers {
		w.listen(server)
	}
}

func (w *faultWatch) of(n *faultNode) *kernelLook {
	return w.looks[slices.IndexFunc(w.looks, func(k *kernelLook) bool { return k.node == n })]
}

// regress files that something went back to older weights.
func (w *faultWatch) regress(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tally.regressions++
	w.s.t.Errorf(format, args...)
}

// heard returns the highest vectors of a node that were heard on the bus, by service.
func (w *faultWatch) heard(node string) map[string]core.Mark {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := map[string]core.Mark{}
	for k, m := range w.sent {
		if k[0] == node {
			out[k[1]] = m
		}
	}
	return out
}

// listen hears the vectors that pass one nats-server.
func (w *faultWatch) listen(server *natsServer) {
	t := w.s.t
	t.Helper()
	nc, err := nats.Connect(server.url(), nats.SetCustomDialer(inNode{w.s.lab.Balancer}), nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1),
		nats.ReconnectWait(100*time.Millisecond), nats.IgnoreDiscoveredServers(), nats.PingInterval(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	_, err = nc.Subscribe("steelyard.v1.weights."+faultGroup+".*.*", func(m *nats.Msg) {
		var v struct {
			Node, Service string
			Epoch, Seq    uint64
		}
		if err := json.Unmarshal(m.Data, &v); err != nil {
			t.Errorf("%s: %v", m.Subject, err)
			return
		}
		w.hear([2]string{v.Node, v.Service}, core.Mark{Epoch: v.Epoch, Node: v.Node, Seq: v.Seq})
	})
	if err != nil {
		t.Fatal(err)
	}
}

// hear notes a vector. One that is older than what its node sent before has waited
// somewhere: a server that was stopped still hands it on. Nodes must refuse it.
func (w *faultWatch) hear(of [2]string, m core.Mark) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tally.vectors++
	if m.Compare(w.sent[of]) < 0 {
		w.tally.late++
		return
	}
	w.sent[of] = m
}

// measure begins to measure the balancers that are at work, or ends it with none.
func (w *faultWatch) measure(working []*faultNode) {
	now := time.Now()
	for _, k := range w.looks {
		k.mu.Lock()
		k.counts = slices.Contains(working, k.node)
		for service := range k.at {
			k.at[service] = now
		}
		k.mu.Unlock()
	}
}

// A sighting is what was seen of a fault.
type sighting struct {
	gap                        time.Duration // the longest that a service had the same slots in a kernel
	refused                    uint64        // vectors, by balancers
	regressions, vectors, late int           // vectors as they passed each of the servers
}

// result is what was seen since the last call.
func (w *faultWatch) result() sighting {
	w.mu.Lock()
	out := w.tally
	w.tally = sighting{}
	w.mu.Unlock()
	for _, k := range w.looks {
		k.mu.Lock()
		out.gap, out.refused = max(out.gap, k.gap), out.refused+k.refusals
		k.gap, k.refusals = 0, 0
		k.mu.Unlock()
	}
	return out
}
