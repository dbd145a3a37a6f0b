// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"context"
	"errors"
	"fmt"
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
	if err := a.refresh(ctx); err != nil {
		return err
	}
	good, refused := checkPlan(plan, a.known)
	for name, err := range refused {
		r.refuse(name, err)
	}
	for _, j := range a.jobs(good, refused) {
		if err := a.apply(ctx, j, r); err != nil {
			return err
		}
	}
	return nil
}

// jobs parts the way from what is known to the wanted services into
// transactions.
func (a *Applier) jobs(want []*core.ServicePlan, refused map[string]error) []job {
	if !a.there || a.replace {
		return a.buildJobs(want, refused)
	}
	wanted := make(map[string]bool, len(want))
	var list []change
	for _, s := range want {
		wanted[s.Name] = true
		c := change{from: a.known[s.Name], to: s, unknown: a.unknown[s.Name]}
		if c.from == nil || c.unknown || !sameService(c.from, s) {
			list = append(list, c)
		}
	}
	for name, s := range a.known {
		if !wanted[name] && refused[name] == nil {
			list = append(list, change{from: s})
		}
	}
	linked, rest := splitLinked(list)
	var jobs []job
	if len(linked) > 0 {
		jobs = append(jobs, job{list: linked, write: (*writer).services})
	}
	for chunk := range slices.Chunk(rest, chunkServices) {
		jobs = append(jobs, job{list: chunk, write: (*writer).services})
	}
	return jobs
}

// buildJobs makes the whole table: in one transaction where another table is in
// the way and may be serving, else in chunks.
func (a *Applier) buildJobs(want []*core.ServicePlan, refused map[string]error) []job {
	list := make([]change, 0, len(want))
	for _, s := range want {
		list = append(list, change{to: s})
	}
	for name := range refused {
		// A service that cannot be changed keeps what it had, here too.
		if s := a.known[name]; s != nil && checkService(s) == nil {
			list = append(list, change{to: s})
		}
	}
	if a.there || len(list) == 0 {
		return []job{{list: list, skeleton: true, write: (*writer).services}}
	}
	var jobs []job
	for chunk := range slices.Chunk(list, chunkServices) {
		jobs = append(jobs, job{list: chunk, skeleton: len(jobs) == 0, write: (*writer).services})
	}
	return jobs
}

// splitLinked parts the changes in which one service takes the VIP, protocol
// and port of another from the rest. They go together, however many they are,
// so that the address is never without a service.
func splitLinked(list []change) (linked, rest []change) {
	given := make(map[serviceKey]string, len(list))
	for _, c := range list {
		if c.from != nil {
			given[keyOf(c.from)] = c.name()
		}
	}
	taken := map[string]bool{} // names of both sides
	for _, c := range list {
		if c.to == nil {
			continue
		}
		if giver, ok := given[keyOf(c.to)]; ok && giver != c.name() {
			taken[giver], taken[c.name()] = true, true
		}
	}
	for _, c := range list {
		if taken[c.name()] {
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
