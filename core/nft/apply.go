// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"golang.org/x/sys/unix"
)

// A job is one transaction to be.
type job struct {
	list     []*change
	skeleton bool // with the table itself
	shrinks  bool // takes away what services shared before, and is the last
	careful  bool // what is new to the table may be in the way of packets already
}

// A result is what became of jobs.
type result struct {
	refused map[string]error
	done    []*change
	changed int // elements
}

func (r *result) refuse(name string, err error) {
	if r.refused == nil {
		r.refused = map[string]error{}
	}
	if r.refused[name] == nil {
		r.refused[name] = err
	}
}

// apply commits a job and adds to r. When the kernel refuses services, it is
// tried again without them; the number of tries is bounded by their number. The
// error is one that concerns all of them, and says that nothing was committed.
func (a *Applier) apply(ctx context.Context, j job, r *result) error {
	if j.careful {
		a.advance(ctx, &j, r)
	}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		if len(j.list) == 0 && !j.skeleton {
			return nil
		}
		list, err := a.commit(&j)
		switch {
		case errors.Is(err, unix.EMSGSIZE):
			return a.halve(ctx, j, r, err)
		case err != nil:
			return a.settle(ctx, j, r, err)
		case len(list) == 0:
			retired := a.b.retired
			a.committed(j, r)
			a.retire(retired)
			return a.commitSpares(ctx, j, r)
		}
		bad, err := a.blame(list)
		if err != nil {
			return err
		}
		if a.dropDevices(&j, bad) && len(bad) == 0 {
			continue
		}
		if len(bad) == 0 {
			return a.halve(ctx, j, r, explain(list[0].errno, list[0].text))
		}
		j.list = without(j.list, bad, r)
	}
}

// commit sends the job as one transaction. An error means that nobody knows
// whether it was committed, unless it is a *notCommitted.
func (a *Applier) commit(j *job) ([]msgError, error) {
	before, err := a.w.generation()
	if err != nil {
		return nil, &notCommitted{err}
	}
	a.write(j)
	list, err := a.w.transact(&a.b)
	switch {
	case len(list) > 0:
		return list, nil // one complaint is enough for the kernel to drop it all
	case err == nil:
		a.ours(before)
		return nil, nil
	}
	if after, gerr := a.w.generation(); gerr == nil && after == before {
		return nil, &notCommitted{err}
	}
	return nil, err
}

func (a *Applier) write(j *job) {
	a.b.reset(a.table, a.w.seq)
	a.b.flags, a.b.careful = a.flags, j.careful
	if j.skeleton {
		if a.linkThere {
			a.b.linked = true
			a.b.delTable()
			a.b.linked = false
		}
		if a.there {
			// No packet sees the moment in between.
			a.b.delTable()
		}
		a.b.newTable(a.flags)
	}
	a.b.writeChanges(j.list)
	a.b.finish()
}

// ours says that a transaction of ours, which was begun at that generation, is not
// drift. One that changes nothing in the kernel does not move the generation, so
// that it must be asked. Where the table is owned, nobody looks at it.
func (a *Applier) ours(before uint32) {
	if a.owned || before != a.gen {
		return
	}
	if after, err := a.w.generation(); err == nil && after == before+1 {
		a.gen = after // only we changed anything
	}
}

// notCommitted is an error after which the generation had not moved.
type notCommitted struct{ error }

func (e *notCommitted) Unwrap() error { return e.error }

// committed records what a transaction has put in force.
func (a *Applier) committed(j job, r *result) {
	r.changed += a.b.changed
	r.done = append(r.done, j.list...)
	if j.skeleton {
		a.there, a.replace = true, false
		a.owned = a.flags&nftTableFOwner != 0
		a.known = map[string]*held{}
	}
	for _, c := range j.list {
		switch {
		case c.name == "":
			a.shared, a.linkThere = c.to, c.to != nil && c.to.link != nil
			a.noteCounting(c.to)
		case c.to == nil:
			delete(a.known, c.name)
		case c.kept != nil:
			a.known[c.name] = c.kept
		default:
			a.known[c.name] = newHeld(c.plan, c.to, a.devices)
		}
	}
}

// blame finds the services that the complaints are about. A complaint about the
// table itself, or of having no right to it, is an error.
func (a *Applier) blame(list []msgError) (map[string]error, error) {
	bad := map[string]error{}
	for _, m := range list {
		owner, ok := a.b.ownerOf(m.seq)
		err := explain(m.errno, m.text)
		if m.errno == unix.EPERM || ok && owner == "" && m.seq != a.b.first && m.seq != a.b.next()-1 {
			return nil, fmt.Errorf("commit table %s: %w", a.table, err)
		}
		if ok && owner != "" && bad[owner] == nil {
			bad[owner] = byKernel(owner, err)
		}
	}
	return bad, nil
}

// without leaves the refused services out of a list, and with them those whose
// frontend they were to take: nothing is removed before its successor is in force.
func without(list []*change, bad map[string]error, r *result) []*change {
	bad = maps.Clone(bad)
	for grown := true; grown; {
		grown = false
		for _, c := range list {
			if bad[c.name] == nil {
				continue
			}
			for _, o := range list {
				if c.takes(o) && bad[o.name] == nil {
					bad[o.name] = fmt.Errorf("service %s: kept as it was, because service %s, which takes its place, was refused", o.name, c.name)
					grown = true
				}
			}
		}
	}
	var rest []*change
	for _, c := range list {
		if err := bad[c.name]; err != nil {
			r.refuse(c.name, err)
		} else {
			rest = append(rest, c)
		}
	}
	return rest
}

// halve tries the parts of a job that is too large for one transaction, or of
// which the kernel did not say what it minds. The last one left is to blame.
func (a *Applier) halve(ctx context.Context, j job, r *result, cause error) error {
	switch {
	case j.skeleton && a.there:
		// In two transactions there would be a moment without services.
		return fmt.Errorf("replace table %s: %w", a.table, cause)
	case j.skeleton && len(j.list) > 1:
		// The shared part is the first of the list.
		if err := a.apply(ctx, job{list: j.list[:1], skeleton: true}, r); err != nil {
			return err
		}
		return a.apply(ctx, job{list: j.list[1:]}, r)
	case len(j.list) == 0 || len(j.list) == 1 && j.list[0].name == "":
		return fmt.Errorf("commit table %s: %w", a.table, cause)
	case len(j.list) == 1:
		r.refuse(j.list[0].name, byKernel(j.list[0].name, cause))
		return nil
	}
	half := len(j.list) / 2
	if err := a.apply(ctx, job{list: j.list[:half], careful: j.careful}, r); err != nil {
		return err
	}
	return a.apply(ctx, job{list: j.list[half:], careful: j.careful}, r)
}

// settle finds out what a transaction has done whose answer was lost: the
// kernel may have committed it nevertheless, such as when the answers did not
// fit the buffer.
func (a *Applier) settle(ctx context.Context, j job, r *result, cause error) error {
	a.known = nil
	var not *notCommitted
	if errors.As(cause, &not) {
		return fmt.Errorf("commit table %s: %w", a.table, cause)
	}
	if err := a.refresh(ctx); err != nil {
		return fmt.Errorf("commit table %s: %w; and reading back what became of it: %w", a.table, cause, err)
	}
	for _, c := range j.list {
		now := change{from: a.known[c.name].fragment(), to: c.to}
		if c.name == "" {
			now.from = a.shared
		}
		if now.nothing() {
			r.done = append(r.done, c)
			continue
		}
		r.refuse(c.name, byKernel(c.name, cause))
	}
	return nil
}
