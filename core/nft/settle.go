// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"golang.org/x/sys/unix"
)

const (
	// settleMost is the longest time between two looks at what moves.
	settleMost  = 30 * time.Second
	settleLeast = time.Second
	// settleSlack is added to a flow's timeout: packets are not seen at the
	// moment at which they arrive.
	settleSlack = 2 * time.Second
	// flowTries is how often flows are swept: one that ends by itself in between
	// makes the kernel refuse.
	flowTries = 5
)

// Settle ends what has moved for long enough, of services without connection
// tracking, so that their packets cost one lookup again: see the document on the
// data plane. It returns when it wants to be called again; 0 says that nothing
// moves, until a Sync or a Reweight. It belongs to the goroutine that calls those,
// and is part of Tend.
// If it is never called, packets of what was re-weighted go on to be looked up
// twice, and to the same backends.
func (a *Applier) Settle(ctx context.Context) (again time.Duration, err error) {
	if a.shared == nil || a.shared.link == nil {
		return 0, nil
	}
	var list []*change
	for _, name := range slices.Sorted(maps.Keys(a.known)) {
		h := a.known[name]
		if h.plan.Traffic == nil || h.read != nil || !linked(h.plan) || h.unknown {
			continue
		}
		c, wait, err := a.settling(ctx, h)
		if err != nil {
			return settleLeast, fmt.Errorf("settle service %s: %w", name, err)
		}
		if wait > 0 && (again == 0 || wait < again) {
			again = wait
		}
		if c != nil {
			list = append(list, c)
		}
	}
	if len(list) == 0 {
		return again, nil
	}
	var r result
	if err := a.apply(ctx, job{list: list}, &r); err != nil {
		return settleLeast, fmt.Errorf("settle table %s: %w", a.table, err)
	}
	if len(r.refused) > 0 {
		return settleLeast, &RefusedError{r.refused}
	}
	return again, nil
}

// settleDue is Settle, but not before it asked to be called again.
func (a *Applier) settleDue(ctx context.Context) (again time.Duration, err error) {
	if wait := a.settleAt - a.now(); wait > 0 {
		return wait, nil
	}
	again, err = a.Settle(ctx)
	if ctx.Err() != nil {
		return settleLeast, nil
	}
	a.settleAt = a.now() + again
	return again, err
}

// settling is the change that one service has come to, if any, and when to look
// again.
func (a *Applier) settling(ctx context.Context, h *held) (*change, time.Duration, error) {
	s, deals := h.plan, h.deals
	changed, moving := false, false
	for i, d := range h.deals {
		if d == nil || !d.moving() {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, 0, err
		}
		foreign, full, err := a.foreign(s, i == 1, d)
		if err != nil {
			return nil, 0, err
		}
		n := d.settle(foreign, full, s.FlowTimeout+settleSlack, a.now())
		deals[i] = n
		moving = moving || n.moving()
		changed = changed || !n.alike(d)
	}
	var wait time.Duration
	if moving {
		wait = min(settleMost, max(settleLeast, s.FlowTimeout/4))
	}
	if !changed {
		h.deals = deals
		return nil, wait, nil
	}
	return &change{name: s.Name, from: compileLink(s, h.deals, h.devices), to: compileLink(s, deals, h.devices), plan: s}, wait, nil
}

// foreign reads the remembered flows: which positions have one of another backend
// than the one that they move to, and whether some may have found no room.
func (a *Applier) foreign(s *core.ServicePlan, v6 bool, d *deal) (foreign []bool, full bool, err error) {
	foreign = make([]bool, d.by.size)
	n := 0
	index := map[string]uint16{}
	for i := len(d.owners) - 1; i > nobody; i-- {
		index[d.owners[i].value] = uint16(i)
	}
	for _, o := range d.former {
		index[o.value] = uint16(slices.IndexFunc(d.owners, func(x owner) bool { return x.name == o.name }))
	}
	err = a.readFlows(s, v6, func() { n = 0 }, func(e element) {
		n++
		p := positionOf(e.key, d.by.size)
		if i := index[string(e.data)]; i != nobody && i != d.next[p] {
			foreign[p] = true
		}
	})
	return foreign, n >= flowsSize*3/4, err
}

// positionOf is the position of a remembered flow: its key begins with the hash by
// which positions are found, less one.
func positionOf(key []byte, size uint32) int {
	if len(key) < 4 {
		return 0
	}
	return int((uint64(binary.NativeEndian.Uint32(key)) + 1) * uint64(size) >> 32)
}

func (a *Applier) readFlows(s *core.ServicePlan, v6 bool, restart func(), each func(element)) error {
	a.w.req.linked = true
	defer func() { a.w.req.linked = false }()
	err := a.w.elements(a.table, nameOf(kindFlows+six(v6), s.Name), restart, func(e element) error {
		each(e)
		return nil
	})
	if errors.Is(err, errChanging) {
		return nil // it has all but those that came or went just now
	}
	return err
}

// sweepFlows forgets the flows of dead backends, and renames those of backends
// that were known by another value.
func (a *Applier) sweepFlows(s *core.ServicePlan, v6 bool, d *deal) error {
	c := linker{compiler: compiler{s: s}, deals: [2]*deal{d, d}}
	set := c.flows(v6)
	names := map[string]string{}
	for _, o := range slices.Concat(d.owners[1:], d.former) {
		i := slices.IndexFunc(d.owners, func(x owner) bool { return x.name == o.name })
		names[o.value] = d.owners[i].value
	}
	for range flowTries {
		var gone, come []elem
		err := a.readFlows(s, v6, func() { gone, come = nil, nil }, func(e element) {
			name, ok := names[string(e.data)]
			if ok && name == string(e.data) {
				return
			}
			x := elem{key: slices.Clone(e.key)}
			gone = append(gone, x)
			if ok {
				x.data = []byte(name)
				come = append(come, x)
			}
		})
		if err != nil || len(gone) == 0 {
			return err
		}
		refused, err := a.rewriteFlows(set, gone, come, s.FlowTimeout)
		if err != nil || refused == nil {
			return err
		}
		if !errors.Is(refused, unix.ENOENT) && !errors.Is(refused, unix.EEXIST) {
			return refused
		}
	}
	return errors.New("remembered flows came and went during every try to sweep them")
}

func (a *Applier) rewriteFlows(set *set, gone, come []elem, timeout time.Duration) (refused, err error) {
	before, err := a.w.generation()
	if err != nil {
		return nil, err
	}
	b := &a.b
	b.reset(a.table, a.w.seq)
	b.linked = true
	b.flowElements(set, gone, 0, b.delElements)
	b.flowElements(set, come, timeout, b.addElements)
	b.linked = false
	b.finish()
	list, err := a.w.transact(b)
	if err == nil && len(list) == 0 {
		a.ours(before)
	}
	if len(list) > 0 {
		refused = list[0].errno
	}
	return refused, err
}

func (b *batch) flowElements(s *set, list []elem, timeout time.Duration, begin func(string) elementList) {
	if len(list) == 0 {
		return
	}
	l := begin(s.name)
	for i := range list {
		at := l.element(list[i].key)
		if l.adds() {
			b.data(unix.NFTA_SET_ELEM_DATA, list[i].data)
			b.u64(unix.NFTA_SET_ELEM_TIMEOUT, uint64(timeout.Milliseconds()))
		}
		b.unnest(at)
	}
	l.close()
}
