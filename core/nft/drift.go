// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// maxDrift is how many differences are told.
const maxDrift = 20

// Drift looks whether somebody else has changed the table since Sync or Reweight
// last wrote it, and if so what, and who wrote to the ruleset last. The next Sync
// puts it right. While nobody writes, a call costs one short request; where the
// table has an owner, nothing. It belongs to the goroutine of Sync and Reweight.
func (a *Applier) Drift(ctx context.Context) (core.Drift, bool, error) {
	if a.owned || a.known == nil || a.replace || !a.there {
		return core.Drift{}, false, nil
	}
	gen, err := a.w.generation()
	if err != nil {
		return core.Drift{}, false, fmt.Errorf("look for drift of table %s: %w", a.table, err)
	}
	a.heard.listen()
	if gen == a.gen {
		return core.Drift{}, false, nil
	}
	first := a.gen + 1
	what, err := a.compare(ctx)
	if err != nil {
		return core.Drift{}, false, fmt.Errorf("look for drift of table %s: %w", a.table, err)
	}
	// The kernel says who a moment after the generation has moved.
	a.heard.listen()
	who := a.heard.of(first)
	if len(what) == 0 {
		a.gen = gen // another table was changed
		return core.Drift{}, false, nil
	}
	slices.Sort(what)
	return core.Drift{At: time.Now().UTC(), PID: who.pid, Process: who.process, What: what[:min(maxDrift, len(what))]}, true, nil
}

// compare reads the table and says how it differs from what is known of it. What
// was read is what is known after that.
func (a *Applier) compare(ctx context.Context) ([]string, error) {
	known, shared := a.known, a.shared
	a.known = nil
	if err := a.refresh(ctx); err != nil {
		return nil, err
	}
	if !a.there {
		return []string{"the table is gone"}, nil
	}
	var what []string
	if c := (change{from: a.shared, to: shared}); a.shared == nil || !c.nothing() {
		what = append(what, "what all services share")
	}
	for name, h := range known {
		c := change{from: a.known[name].fragment(), to: h.fragment()}
		switch {
		case a.known[name] == nil:
			what = append(what, fmt.Sprintf("service %s is gone", name))
		case !c.nothing():
			what = append(what, fmt.Sprintf("service %s: %s", name, c.differs()))
			a.known[name].recall(h)
		case !a.replace: // else what was read is needed, with its counts
			a.known[name] = h // with its plan
		}
	}
	for name := range a.known {
		if known[name] == nil {
			what = append(what, fmt.Sprintf("service %s is none of ours", name))
		}
	}
	if len(what) == 0 && a.replace {
		what = append(what, "something that is of none of our services")
	}
	if len(what) == 0 {
		a.shared = shared
	}
	return what, nil
}

// recall goes by what was written to whom flows belong, and not by what somebody
// else has left of it: flows that are not remembered would go to others.
func (h *held) recall(written *held) {
	if written.deals != [2]*deal{} {
		h.deals, h.unknown = written.deals, true
	}
}

// differs names the first part in which the fragments of a change differ.
func (c *change) differs() string {
	d := newDiff(c)
	for i := range c.to.chains {
		ch := &c.to.chains[i]
		if was := c.from.chain(ch.name); was == nil || d.rulesGo(was) {
			return "chain " + ch.name
		}
	}
	for i := range c.to.maps {
		if m := c.from.weights(c.to.maps[i].set.name); m == nil || !m.same(&c.to.maps[i]) {
			return "weights in map " + c.to.maps[i].set.name
		}
	}
	for _, e := range c.to.elems {
		if gone, come := diffElems(c.from.elemsOf(e.set.name), e.list); len(gone)+len(come) > 0 {
			return "elements of " + e.set.name
		}
	}
	for i := range c.to.deals {
		if !c.from.deals[i].alike(c.to.deals[i]) {
			return "backends in map " + nameOf(kindPos+six(i == 1), c.to.name)
		}
	}
	if l := c.link(); l.from != nil && l.to != nil && !l.nothing() {
		return l.differs()
	}
	return "more than there should be"
}
