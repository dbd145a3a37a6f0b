// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/steelyard-lb/steelyard/core"
)

// A Table is a table as it was read from the kernel.
type Table struct {
	// Plan has the services and their backends by name, with their slots; more
	// than that the table does not tell.
	Plan     core.Plan
	Features []core.Feature // of the kernel; see Applier.Features
	// Interfaces are those of its network namespace; nil if they are not known.
	Interfaces []string
	Owned      bool  // a process holds it
	Wrong      error // what the table holds that no plan makes; nil if there is nothing

	known  map[string]*held
	shared *fragment
}

// Read reads the table of that name, DefaultTable if it is empty, in the network
// namespace of the calling thread. It neither takes the table over nor changes
// it. Without a table of this layout known and the plan are empty, and Wrong says
// whether there is another. The features are probed as Open does it: in a
// transaction that leaves nothing behind.
func Read(ctx context.Context, name string) (_ *Table, err error) {
	a := &Applier{table: cmp.Or(name, DefaultTable), log: slog.New(slog.DiscardHandler)}
	if err := checkName(a.table); err != nil {
		return nil, fmt.Errorf("read table %q: %w", a.table, err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("read table %s: %w", a.table, err)
		}
	}()
	if a.w, err = openSocket(); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, a.w.close()) }()
	if a.readers, err = openReaders(); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, closeAll(a.readers)) }()
	if err := a.probeFeatures(); err != nil {
		return nil, err
	}
	return a.readTable(ctx)
}

func (a *Applier) readTable(ctx context.Context) (*Table, error) {
	out := &Table{Features: a.Features(), Interfaces: Interfaces()}
	t, err := a.w.table(a.table)
	if err != nil || !t.exists {
		return out, err
	}
	out.Owned = t.owner != 0
	if t.comment != layout {
		out.Wrong = fmt.Errorf("it has another layout: %q", t.comment)
		return out, nil
	}
	if _, err := a.findLink(); err != nil {
		return nil, err
	}
	l, err := a.load(ctx)
	if err != nil {
		return nil, err
	}
	out.known, out.shared, out.Wrong = l.services, l.shared, l.wrong
	for _, h := range l.services {
		h.findHops()
	}
	out.Plan = planOf(l.services)
	return out, nil
}

// None reports that there is no table of this layout.
func (t *Table) None() bool { return t.shared == nil }

// Diff is what a Sync of a plan would do to the table, on this kernel.
func (t *Table) Diff(to core.Plan) []ServiceDiff {
	after, refused := Check(t.Plan, to, t.Features, t.Interfaces)
	return diffTable(t.shared, t.known, Able(after, t.Features), refused)
}
