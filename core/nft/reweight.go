// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"context"
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
	var list []change
	for i := range services {
		s := &services[i]
		c, err := a.reweighting(s)
		if err != nil {
			r.refuse(s.Name, err)
		} else if c.unknown || !slices.Equal(c.from.Backends, s.Backends) {
			list = append(list, c)
		}
	}
	for chunk := range slices.Chunk(list, chunkReweights) {
		if err := a.apply(ctx, job{list: chunk, write: (*writer).reweights}, &r); err != nil {
			return core.Commit{}, fmt.Errorf("reweight table %s: %w", a.table, err)
		}
	}
	if err := a.verify(ctx, &r); err != nil {
		return core.Commit{}, fmt.Errorf("reweight table %s: %w", a.table, err)
	}
	c, err := a.report(began, r.changed)
	if err == nil && len(r.refused) > 0 {
		err = &RefusedError{r.refused}
	}
	return c, err
}

// reweighting is the change to s, if it is one of weights only.
func (a *Applier) reweighting(s *core.ServicePlan) (change, error) {
	from := a.known[s.Name]
	if from == nil || a.replace {
		return change{}, fmt.Errorf("service %s is not in force: sync first", s.Name)
	}
	if err := checkService(s); err != nil {
		return change{}, err
	}
	same := keyOf(from) == keyOf(s) && from.Forwarding == s.Forwarding && from.OnEmpty == s.OnEmpty &&
		slices.EqualFunc(from.Backends, s.Backends, func(x, y core.BackendPlan) bool { return x.Name == y.Name && x.Addr == y.Addr })
	if !same {
		return change{}, fmt.Errorf("service %s differs from the one in force in more than weights: sync first", s.Name)
	}
	return change{from: from, to: s, unknown: a.unknown[s.Name]}, nil
}

// verify reads the weights maps of the changed services back. A difference
// refuses the service, and makes the next change write its whole map.
func (a *Applier) verify(ctx context.Context, r *result) error {
	list := make([]*core.ServicePlan, 0, len(r.done))
	for _, c := range r.done {
		if c.to != nil {
			list = append(list, c.to)
		}
	}
	var want []interval
	return a.readWeights(ctx, list, func(i int, got []interval, err error) {
		want = intervals(want[:0], list[i])
		if err == nil && slices.Equal(got, want) {
			return
		}
		if err == nil {
			err = fmt.Errorf("the kernel has %d intervals, not the %d that were written", len(got), len(want))
		}
		if a.unknown == nil {
			a.unknown = map[string]bool{}
		}
		a.unknown[list[i].Name] = true
		r.refuse(list[i].Name, fmt.Errorf("read service %s back: %w", list[i].Name, err))
	})
}
