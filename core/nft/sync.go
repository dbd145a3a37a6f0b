// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"golang.org/x/sys/unix"
)

// chunkServices is how many services one transaction of Sync changes at most.
// More would hold the kernel's commit lock, and every other user of nftables,
// for longer than is polite.
const chunkServices = 500

// Sync makes the kernel carry exactly plan: services are made, changed and
// removed, and what is the same is not touched. The map holds the reason for
// each service that was refused; such a service keeps what it had before. The
// error is one that concerns the table as a whole.
func (a *Applier) Sync(ctx context.Context, plan core.Plan) (core.Commit, map[string]error, error) {
	began := time.Now()
	var r result
	fresh := a.known == nil
	err := a.sync(ctx, plan, &r)
	if !fresh && ctx.Err() == nil && doubtful(err, r.refused) {
		// The kernel speaks of things that should or should not be there: what
		// was known of the table is wrong. Look again, once.
		a.known, r.refused = nil, nil
		err = a.sync(ctx, plan, &r)
	}
	if err == nil {
		err = a.verify(ctx, &r)
	}
	if err != nil {
		return core.Commit{}, r.refused, fmt.Errorf("sync table %s: %w", a.table, err)
	}
	if err := a.afterMoves(ctx, &r); err != nil {
		a.log.Warn("flows of a dead backend may go back to it until they are swept", "err", err)
	}
	if err := a.sweepAll(ctx, changedPlans(r.done)); err != nil {
		a.log.Warn("clients of a dead backend may go on to it until they are swept", "err", err)
	}
	c, err := a.report(began, r.changed)
	return c, r.refused, err
}

func doubtful(err error, refused map[string]error) bool {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EEXIST) {
		return true
	}
	for _, err := range refused {
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EEXIST) {
			return true
		}
	}
	return false
}

func (a *Applier) sync(ctx context.Context, plan core.Plan, r *result) error {
	if err := a.findDevices(plan); err != nil {
		return err
	}
	if err := a.refresh(ctx); err != nil {
		return err
	}
	if err := a.refreshFeatures(plan); err != nil {
		return err
	}
	if err := a.offloadAgain(plan); err != nil {
		return err
	}
	good, refused := checkPlan(plan, a.known, a.features)
	for i, s := range good {
		good[i] = a.able(s)
	}
	good = withoutInterface(good, a.devices, refused)
	for name, err := range refused {
		r.refuse(name, err)
	}
	seats := a.seats(good, refused)
	shared := a.sharedFor(plan, good, seats, refused)
	for _, j := range a.jobs(shared, good, seats, refused) {
		if j.shrinks && len(r.refused) > len(refused) {
			break
		}
		if err := a.apply(ctx, j, r); err != nil {
			return err
		}
	}
	if len(r.refused) == len(refused) {
		return nil
	}
	return a.keepShared(ctx, plan, good, seats, r)
}

// keepShared follows a refusal by the kernel: the services that stay as they were
// still need what they shared before.
func (a *Applier) keepShared(ctx context.Context, plan core.Plan, good []*core.ServicePlan, seats map[string]seat, r *result) error {
	good = slices.DeleteFunc(good, func(s *core.ServicePlan) bool { return r.refused[s.Name] != nil })
	c := &change{from: a.shared, to: a.sharedFor(plan, good, seats, r.refused)}
	if c.nothing() {
		return nil
	}
	return a.apply(ctx, job{list: []*change{c}}, r)
}

// sharedFor is the shared part as these services need it, and those that are
// kept because they could not be changed.
func (a *Applier) sharedFor(plan core.Plan, good []*core.ServicePlan, seats map[string]seat, refused map[string]error) *fragment {
	n := newNeeds(plan.LocalClients, plan.OffloadDevices)
	n.link.there = a.devices
	for _, s := range good {
		n.add(s)
		n.sit(s, seats[s.Name])
	}
	var read []*fragment
	for name := range refused {
		h := a.known[name]
		switch {
		case h == nil:
		case h.read != nil:
			read = append(read, h.read)
		default:
			n.add(h.plan)
			n.sit(h.plan, h.seat)
		}
	}
	shared := compileShared(n)
	if len(read) > 0 && a.shared != nil {
		// What a service that was only read leads to is not known by its plan.
		shared = shared.join(a.shared.used(read))
	}
	return shared
}

// seats gives the services of a plan their seats. Where the table is made anew only
// those that are kept as they were have one already.
func (a *Applier) seats(want []*core.ServicePlan, refused map[string]error) map[string]seat {
	known, shared := a.known, a.shared
	if !a.there || a.replace {
		known = maps.Clone(known)
		maps.DeleteFunc(known, func(name string, _ *held) bool { return refused[name] == nil })
		if len(known) == 0 {
			shared = nil
		}
	}
	t := newSeating(a.ownMaps, a.spares, known, shared)
	out := make(map[string]seat, len(want))
	for _, s := range want {
		out[s.Name] = t.give(s, known[s.Name] != nil)
	}
	return out
}

// jobs parts the way from what is known to the wanted services into
// transactions.
func (a *Applier) jobs(shared *fragment, want []*core.ServicePlan, seats map[string]seat, refused map[string]error) []job {
	if !a.there || a.replace {
		return a.buildJobs(shared, want, seats, refused)
	}
	wanted := make(map[string]bool, len(want))
	var list []*change
	for _, s := range want {
		wanted[s.Name] = true
		if c := a.changeTo(s, seats[s.Name]); c != nil {
			list = append(list, c)
		}
	}
	for name, h := range a.known {
		if !wanted[name] && refused[name] == nil {
			list = append(list, &change{name: name, from: h.fragment()})
		}
	}
	// What the shared part no longer needs stays until the services that use it
	// have gone.
	before, grown := &change{from: a.shared, to: shared.and(a.shared)}, shared.and(a.shared)
	afterwards := &change{from: grown, to: shared}
	linked, rest := splitLinked(list)
	var jobs []job
	if !before.nothing() {
		linked = append([]*change{before}, linked...)
	}
	if len(linked) > 0 {
		jobs = append(jobs, job{list: linked, careful: true})
	}
	for chunk := range slices.Chunk(rest, chunkServices) {
		jobs = append(jobs, job{list: chunk, careful: true})
	}
	if !afterwards.nothing() {
		jobs = append(jobs, job{list: []*change{afterwards}, shrinks: true})
	}
	return jobs
}

// changeTo is the way to a service as wanted; nil if it is in force.
func (a *Applier) changeTo(s *core.ServicePlan, at seat) *change {
	h := a.known[s.Name]
	if h != nil && h.read == nil && !h.unknown && h.seat == at && samePlan(h.plan, s) && (!linked(s) || maps.Equal(h.devices, a.devices)) {
		return nil
	}
	c := &change{name: s.Name, from: h.fragment(), to: a.compile(s, at), plan: s, unknown: h != nil && h.unknown}
	if c.nothing() {
		a.known[s.Name] = newHeld(s, c.to, a.devices)
		return nil
	}
	return c
}

// buildJobs makes the whole table: in one transaction where another table is in
// the way and may be serving, else in chunks.
func (a *Applier) buildJobs(shared *fragment, want []*core.ServicePlan, seats map[string]seat, refused map[string]error) []job {
	seed(shared, a.shared)
	first := &change{to: shared}
	var list []*change
	for _, s := range want {
		c := &change{name: s.Name, to: a.compile(s, seats[s.Name]), plan: s}
		seed(c.to, a.known[s.Name].fragment())
		list = append(list, c)
	}
	for name := range refused {
		// A service that cannot be changed keeps what it had, here too.
		if h := a.known[name]; h != nil {
			list = append(list, &change{name: name, to: h.fragment(), plan: h.plan, kept: h})
		}
	}
	if a.there || len(list) == 0 {
		return []job{{list: append([]*change{first}, list...), skeleton: true}}
	}
	jobs := []job{{list: []*change{first}, skeleton: true}}
	for chunk := range slices.Chunk(list, chunkServices) {
		// Of many, each is served the sooner the fewer transactions there are.
		jobs = append(jobs, job{list: chunk, careful: len(list) <= chunkServices})
	}
	return jobs
}

// splitLinked parts the changes in which one service takes the frontend of
// another from the rest. They go together, however many they are, so that the
// address is never without a service.
func splitLinked(list []*change) (linked, rest []*change) {
	given := make(map[string]string, len(list))
	for _, c := range list {
		for _, key := range c.from.fronts() {
			given[key] = c.name
		}
	}
	taken := map[string]bool{} // names of both sides
	for _, c := range list {
		for _, key := range c.to.fronts() {
			if giver, ok := given[key]; ok && giver != c.name {
				taken[giver], taken[c.name] = true, true
			}
		}
	}
	for _, c := range list {
		if taken[c.name] {
			linked = append(linked, c)
		} else {
			rest = append(rest, c)
		}
	}
	return linked, rest
}

// report is the Commit of what was done since began.
func (a *Applier) report(began time.Time, changed int) (core.Commit, error) {
	gen, err := a.w.generation()
	if err != nil {
		return core.Commit{}, err
	}
	now := time.Now()
	return core.Commit{Generation: gen, At: now.UTC(), Took: now.Sub(began), Changed: changed}, nil
}
