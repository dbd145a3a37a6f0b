// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/google/nftables"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/nft"
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
