// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/google/nftables"
	"github.com/nats-io/nats.go"
	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/nft"
)

// newMountNamespace has a process mount for itself alone.
func newMountNamespace() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
}

// A faultWatch looks all the time at the kernels of the balancers, at whom they follow,
// and at the vectors on the bus.
type faultWatch struct {
	s     *faultStand
	looks []*kernelLook // one for each balancer, in their order
	stop  chan struct{}
	wg    sync.WaitGroup

	mu   sync.Mutex
	sent map[[2]string]core.Mark // the highest by node and service, as heard on the bus; guarded by mu

	vectors, regressions int // guarded by mu
}

// lookEvery is how often each kernel is read, and viewEvery each daemon.
var (
	lookEvery = chooseFaults(50*time.Millisecond, 20*time.Millisecond)
	viewEvery = chooseFaults(200*time.Millisecond, 100*time.Millisecond)
)

// A kernelLook is what is seen of one balancer.
type kernelLook struct {
	w    *faultWatch
	node *faultNode
	conn *nftables.Conn // of watch's goroutine and of read, one at a time: use

	use sync.Mutex

	mu       sync.Mutex
	seen     map[string]slotsOf   // by service; guarded by mu
	at       map[string]time.Time // when these were first seen; guarded by mu
	decided  map[string]time.Time // the latest decision seen in the kernel; guarded by mu
	follows  map[string]core.Mark // guarded by mu
	counts   bool                 // the node is at work: it should decide; guarded by mu
	gap      time.Duration        // the longest that a service had the same slots; guarded by mu
	inst     time.Time            // start of the daemon whose counters these are; guarded by mu
	refused  uint64               // vectors, as of the daemon; guarded by mu
	refusals uint64               // of all its lives; guarded by mu
}

// slotsOf are the slots of each backend that has some.
type slotsOf map[string]uint32

func (s slotsOf) same(o slotsOf) bool { return maps.Equal(s, o) }

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

func (k *kernelLook) every(pause time.Duration, f func()) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		select {
		case <-k.w.stop:
			return
		case <-tick.C:
			f()
		}
	}
}

var errChanged = errors.New("the ruleset changed meanwhile")

// read is what the kernel has of a service, as of one moment.
func (k *kernelLook) read(service string) (slotsOf, error) {
	k.use.Lock()
	defer k.use.Unlock()
	err := errChanged
	var out slotsOf
	for range 100 {
		if out, err = k.readOnce(service); !errors.Is(err, errChanged) {
			break
		}
	}
	return out, err
}

func (k *kernelLook) readOnce(service string) (slotsOf, error) {
	before, err := k.conn.GetGen()
	if err != nil {
		return nil, err
	}
	table := &nftables.Table{Name: nft.DefaultTable, Family: nftables.TableFamilyINet}
	list, err := k.conn.GetSetElements(&nftables.Set{Table: table, Name: "w-" + service, IsMap: true, Interval: true})
	if err != nil {
		return nil, fmt.Errorf("read the weights of %s on %s: %w", service, k.node.name, err)
	}
	after, err := k.conn.GetGen()
	switch {
	case err != nil:
		return nil, err
	case after.ID != before.ID:
		return nil, errChanged
	}
	return slotsFrom(list), nil
}

// slotsFrom adds the intervals up.
func slotsFrom(list []nftables.SetElement) slotsOf {
	// Where one interval ends and the next begins there are two elements, in any order.
	slices.SortFunc(list, func(a, b nftables.SetElement) int {
		return 2*(int(slotOf(a.Key))-int(slotOf(b.Key))) + intervalBegin(a) - intervalBegin(b)
	})
	out := slotsOf{}
	for i, e := range list {
		if e.IntervalEnd {
			continue
		}
		end := uint32(core.Slots)
		if i+1 < len(list) {
			end = slotOf(list[i+1].Key)
		}
		out[e.Comment] += end - slotOf(e.Key)
	}
	return out
}

func intervalBegin(e nftables.SetElement) int {
	if e.IntervalEnd {
		return 0
	}
	return 1
}

func slotOf(key []byte) uint32 { return binary.BigEndian.Uint32(key) }

// look reads the kernel, and complains if a service is empty or its weights are older
// than what was there before.
func (k *kernelLook) look() {
	for i := range faultServices {
		service := faultService(i)
		slots, err := k.read(service)
		if err != nil {
			if !errors.Is(err, errChanged) {
				k.w.s.t.Error(err)
			}
			continue
		}
		k.take(service, slots, time.Now())
	}
}

// overlap is for how long two leaders may both decide: the weights of the one may be so
// much older than those of the other.
const overlap = 5 * time.Second

func (k *kernelLook) take(service string, slots slotsOf, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(slots) == 0 {
		k.w.s.t.Errorf("%s: the map of %s is empty, and backends live", k.node.name, service)
	}
	if k.seen[service] != nil && k.seen[service].same(slots) {
		if k.counts {
			k.gap = max(k.gap, now.Sub(k.at[service]))
		}
		return
	}
	k.seen[service], k.at[service] = slots, now
	at, ok := decidedAt(slots, k.w.s.backends[0].name, now)
	if !ok {
		return
	}
	if was := k.decided[service]; at.Before(was.Add(-overlap)) {
		k.w.regress("%s: the weights of %s in the kernel went back from %v to %v", k.node.name, service, was, at)
	}
	k.decided[service] = at
}

// regress files that something went back to older weights.
func (w *faultWatch) regress(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.regressions++
	w.s.t.Errorf(format, args...)
}

// view looks at whom the daemon follows. One that is dead or stopped says nothing.
func (k *kernelLook) view() {
	own := k.w.heard(k.node.name)
	v, err := k.node.rig.client.Node(k.w.s.t.Context())
	if err != nil || v.Cluster == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if v.StartedAt != k.inst {
		k.inst, k.refused = v.StartedAt, 0
	}
	k.refusals += v.Cluster.Refused - k.refused
	k.refused = v.Cluster.Refused
	for _, s := range v.Services {
		if s.Leader == nil {
			continue
		}
		mark, was := core.Mark{Epoch: s.Leader.Epoch, Node: s.Leader.Node, Seq: s.Leader.Seq}, k.follows[s.Name]
		if mine := own[s.Name]; mine.Compare(was) > 0 {
			was = mine
		}
		if mark.Compare(was) < 0 {
			k.w.regress("%s follows %+v in %s after %+v", k.node.name, mark, s.Name, was)
		}
		k.follows[s.Name] = mark
	}
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
	latest := map[[2]string]core.Mark{} // of this connection: nobody's order is changed on it
	_, err = nc.Subscribe("steelyard.v1.weights."+faultGroup+".*.*", func(m *nats.Msg) {
		var v struct {
			Node, Service string
			Epoch, Seq    uint64
		}
		if err := json.Unmarshal(m.Data, &v); err != nil {
			t.Errorf("%s: %v", m.Subject, err)
			return
		}
		w.hear([2]string{v.Node, v.Service}, core.Mark{Epoch: v.Epoch, Node: v.Node, Seq: v.Seq}, latest)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// hear notes a vector, and complains of a node that sends an older one than before.
func (w *faultWatch) hear(of [2]string, m core.Mark, latest map[[2]string]core.Mark) {
	if was := latest[of]; m.Compare(was) < 0 {
		w.regress("%s sends %+v of %s after %+v", of[0], m, of[1], was)
	}
	latest[of] = m
	w.mu.Lock()
	defer w.mu.Unlock()
	w.vectors++
	if m.Compare(w.sent[of]) > 0 {
		w.sent[of] = m
	}
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

// stops has a balancer that does not work count no more.
func (k *kernelLook) stops() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.counts = false
}

// lacks reports whether the kernel has no slots of a backend, in any service.
func (k *kernelLook) lacks(backend string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, slots := range k.seen {
		if slots[backend] > 0 {
			return false
		}
	}
	return len(k.seen) == faultServices
}

// result is what was seen since the last call.
func (w *faultWatch) result() (gap time.Duration, refused uint64, regressions, vectors int) {
	for _, k := range w.looks {
		k.mu.Lock()
		gap, refused = max(gap, k.gap), refused+k.refusals
		k.gap, k.refusals = 0, 0
		k.mu.Unlock()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	regressions, vectors = w.regressions, w.vectors
	w.regressions, w.vectors = 0, 0
	return gap, refused, regressions, vectors
}
