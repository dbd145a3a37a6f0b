// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// chunkReweights is how many weights maps one transaction of Reweight changes.
const chunkReweights = 1000

// Reweight puts new slots in force, and touches nothing but elements of the
// weights maps. The services must be in force with the same backends. Services
// that the kernel refuses are in a *RefusedError; the others are in force, and
// were read back. Step 7 of 7.
func (a *Applier) Reweight(ctx context.Context, services []core.ServicePlan) (core.Commit, error) {
	began := time.Now()
	var r result
	if a.known == nil {
		if err := a.refresh(ctx); err != nil {
			return core.Commit{}, fmt.Errorf("reweight table %s: %w", a.table, err)
		}
	}
	var list []*change
	var died []*core.ServicePlan
	for i := range services {
		s := a.able(&services[i])
		c, err := a.reweighting(s)
		if err != nil {
			r.refuse(s.Name, err)
			continue
		}
		h := a.known[s.Name]
		if anyDied(h.plan, s) {
			died = append(died, s)
		}
		if c.nothing() {
			h.plan = clonePlan(s) // who is alive may have changed
		} else {
			list = append(list, c)
		}
	}
	for chunk := range slices.Chunk(list, chunkReweights) {
		if err := a.apply(ctx, job{list: chunk}, &r); err != nil {
			return core.Commit{}, fmt.Errorf("reweight table %s: %w", a.table, err)
		}
	}
	if err := a.verify(ctx, &r); err != nil {
		return core.Commit{}, fmt.Errorf("reweight table %s: %w", a.table, err)
	}
	if err := a.afterMoves(ctx, &r); err != nil {
		a.log.Warn("flows of a dead backend may go back to it until they are swept", "err", err)
	}
	if err := a.sweepAll(ctx, died); err != nil {
		a.log.Warn("clients of a dead backend may go on to it until they are swept", "err", err)
	}
	c, err := a.report(began, r.changed)
	if err == nil && len(r.refused) > 0 {
		err = &RefusedError{r.refused}
	}
	return c, err
}

// reweighting is the change to s, if it is one of weights only.
func (a *Applier) reweighting(s *core.ServicePlan) (*change, error) {
	h := a.known[s.Name]
	if h == nil || h.read != nil || a.replace || h.unknown && h.seat.shared() {
		return nil, fmt.Errorf("service %s is not in force: sync first", s.Name)
	}
	if err := checkService(s); err != nil {
		return nil, err
	}
	from := h.plan
	same := sameTraffic(from.Traffic, s.Traffic) &&
		slices.EqualFunc(from.Backends, s.Backends, func(x, y core.BackendPlan) bool {
			x.Slots, x.Alive = y.Slots, y.Alive
			return sameBackend(x, y)
		})
	if !same {
		return nil, fmt.Errorf("service %s differs from the one in force in more than weights: sync first", s.Name)
	}
	return &change{name: s.Name, from: h.weights(), to: a.reweighed(s, h), plan: s, unknown: h.unknown}, nil
}

// verify reads the weights maps of the changed services back. A difference
// refuses the service, and makes the next change write its whole map.
func (a *Applier) verify(ctx context.Context, r *result) error {
	var list []mapOf
	var want []*weightMap
	for _, c := range r.done {
		if c.to == nil {
			continue
		}
		for i := range c.to.maps {
			list = append(list, mapOf{c.name, c.to.maps[i].set, c.to.maps[i].seat})
			want = append(want, &c.to.maps[i])
		}
	}
	if err := a.verifyDeals(ctx, r); err != nil {
		return err
	}
	return a.readWeights(ctx, list, func(i int, got weightMap, err error) {
		if err == nil && got.same(want[i]) {
			return
		}
		if err == nil {
			err = errors.New("the kernel has other weights than were written")
		}
		a.known[list[i].service].unknown = true
		r.refuse(list[i].service, fmt.Errorf("read service %s back: %w", list[i].service, err))
	})
}
