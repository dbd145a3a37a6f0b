// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mdlayher/netlink"
	"github.com/steelyard-lb/steelyard/core"
	"golang.org/x/sys/unix"
)

// A Config is how an Applier is opened. The zero value is what the daemon uses.
type Config struct {
	// Table is the name of the table in the family inet; empty means DefaultTable.
	Table string
	// Unowned leaves the table open to changes by others, such as nft, where the
	// kernel could keep them out.
	Unowned bool
	// Log gets what is worth a line but is no error, such as a table that has to
	// be replaced; nil means that nobody wants to know.
	Log *slog.Logger
}

// An Applier makes the kernel carry plans. See the package comment for what it
// promises and which goroutine may call what.
type Applier struct {
	table string
	flags uint32 // of the table, where we make it
	log   *slog.Logger
	w     *socket // the one that may write: a table has one owning socket
	b     batch   // the transaction being written

	readers []*socket // for weights maps; at least one
	sweeper *socket   // for maps of persistence, whose reading is cut short when something urgent waits
	ownMaps int       // services that have a weights map of their own
	spares  bool      // weights maps have a second copy
	heard   *listener // nil where the table has an owner

	there   bool // a table of that name is in the kernel, ours or not
	owned   bool
	replace bool   // it has another layout, or holds what no plan makes
	gen     uint32 // of the ruleset, as far as only we changed it since
	// known is what the table carries; nil when that has to be read first.
	known  map[string]*held
	shared *fragment
	tended string // the service that Tend looked at last

	counting atomic.Bool // packets and bytes, for some service
	// counted is how many counters were read last, and countedIn how many of each
	// set, so that the next reading makes room for them at once.
	counted   int
	countedIn map[string]int
	// linkThere says that the second table is in the kernel, too.
	linkThere bool
	linkOther bool          // and has another layout
	settleAt  time.Duration // by clock: when Tend settles next
	devices   devices
	route     *netlink.Conn        // by which interfaces are found
	clock     func() time.Duration // runs evenly, from any beginning

	mu sync.Mutex
	r  *socket // guarded by mu; for Counters
	// features are guarded by mu, too; only the goroutine that syncs writes them.
	features []core.Feature
}

// Open opens the connections to the kernel, in the network namespace of the
// calling thread. It changes nothing. Open it before the process has many
// files: a first transaction must not fail for want of one.
func Open(cfg Config) (*Applier, error) {
	a := &Applier{table: cmp.Or(cfg.Table, DefaultTable), log: cfg.Log, ownMaps: ownMaps, spares: needsSpares()}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	if err := checkName(a.table); err != nil {
		return nil, fmt.Errorf("open nftables: table %q: %w", a.table, err)
	}
	var err error
	if a.w, err = openSocket(); err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	if a.r, err = openSocket(); err != nil {
		return nil, errors.Join(fmt.Errorf("open nftables: %w", err), a.w.close())
	}
	a.r.tries = counterTries
	if a.route, err = netlink.Dial(unix.NETLINK_ROUTE, nil); err != nil {
		return nil, errors.Join(fmt.Errorf("open nftables: open netlink socket: %w", err), a.w.close(), a.r.close())
	}
	began := time.Now()
	a.clock = func() time.Duration { return time.Since(began) }
	if a.sweeper, err = openSocket(); err != nil {
		return nil, errors.Join(fmt.Errorf("open nftables: %w", err), a.w.close(), a.r.close(), a.route.Close())
	}
	a.sweeper.hasty = true
	a.readers, err = openReaders()
	if err == nil && !cfg.Unowned {
		a.flags, err = a.probeOwner()
	}
	if err == nil {
		err = a.probeFeatures()
	}
	if err == nil && a.flags == 0 {
		a.heard, err = newListener()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open nftables: %w", err), a.Close())
	}
	return a, nil
}

// probeOwner finds out whether the kernel has the flags owner and persist, in a
// table that is gone again with the same transaction. An owner without persist
// would take the table along when the process dies, so it is both or none.
func (a *Applier) probeOwner() (uint32, error) {
	const flags = nftTableFOwner | nftTableFPersist
	a.b.reset(fmt.Sprintf("%s-probe-%d", a.table, a.w.port), a.w.seq)
	a.b.newTable(flags)
	a.b.delTable()
	a.b.finish()
	list, err := a.w.transact(&a.b)
	if err != nil {
		return 0, fmt.Errorf("probe table flags: %w", err)
	}
	if len(list) == 0 {
		return flags, nil
	}
	if e := list[0].errno; e != unix.EOPNOTSUPP && e != unix.EINVAL {
		return 0, fmt.Errorf("probe table flags: %w", explain(e, ""))
	}
	return 0, nil
}

// Owned reports whether the kernel keeps everybody else from changing the table.
func (a *Applier) Owned() bool { return a.owned }

// Close ends the connections. The table stays in force, free for the next
// Applier to adopt.
func (a *Applier) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return errors.Join(a.w.close(), a.r.close(), a.sweeper.close(), closeAll(a.readers), a.heard.close(), a.route.Close())
}

// Flush removes the table, and with it every service, in one transaction. There
// being no table is no error.
func (a *Applier) Flush(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("flush table %s: %w", a.table, err)
	}
	a.known, a.shared = nil, nil
	if err := a.flushLink(); err != nil {
		return fmt.Errorf("flush table netdev %s: %w", a.table, err)
	}
	a.b.reset(a.table, a.w.seq)
	a.b.delTable()
	a.b.finish()
	list, err := a.w.transact(&a.b)
	if err == nil && len(list) > 0 && list[0].errno != unix.ENOENT {
		err = explain(list[0].errno, list[0].text)
	}
	if err != nil {
		return fmt.Errorf("flush table %s: %w", a.table, err)
	}
	a.there, a.owned, a.replace = false, false, false
	return nil
}

// Adopt reads what an earlier life has left in the kernel, takes the table over
// if it has no owner, and returns the plan that it carries: the services and
// their backends by name, with their slots. It returns false if there is no
// table of this layout; then the next Sync makes it, in place of any other.
//
// The table goes on working as it is. The next Sync writes anew what in it is not
// as it should be, and leaves the rest alone.
func (a *Applier) Adopt(ctx context.Context) (core.Plan, bool, error) {
	a.known = nil
	if err := a.refresh(ctx); err != nil {
		return core.Plan{}, false, fmt.Errorf("adopt table %s: %w", a.table, err)
	}
	if !a.there || a.shared == nil {
		return core.Plan{}, false, nil
	}
	return planOf(a.known), true, nil
}

// refresh makes known what the table carries, unless it is known already.
func (a *Applier) refresh(ctx context.Context) error {
	gen, err := a.w.generation()
	if err != nil {
		return err
	}
	if a.known != nil && (a.owned || gen == a.gen) {
		return nil
	}
	a.known, a.shared = nil, nil
	a.there, a.owned, a.replace = false, false, false
	if gen, err = a.ownLink(gen); err != nil {
		return err
	}
	t, err := a.w.table(a.table)
	if err != nil {
		return err
	}
	a.there = t.exists
	if !t.exists || t.comment != layout {
		if t.exists {
			a.log.Warn("the table has another layout; the next sync replaces it", "table", a.table, "comment", t.comment)
		}
		a.replace, a.known, a.gen = t.exists, map[string]*held{}, gen
		return nil
	}
	if gen, err = a.own(t, gen); err != nil {
		return err
	}
	l, err := a.load(ctx)
	if err != nil {
		return err
	}
	if l.wrong == nil && a.flags != 0 && !a.owned {
		l.wrong = errors.New("made without the flags owner and persist, which cannot be given to it later")
	}
	if l.wrong != nil {
		a.log.Warn("the table is not as it should be; the next sync replaces it", "table", a.table, "because", l.wrong)
		a.replace = true
	}
	a.known, a.shared, a.gen = l.services, l.shared, gen
	a.noteCounting(a.shared)
	return nil
}

// own takes an orphan over: a table whose owner died and that persists. It
// returns the generation after that.
func (a *Applier) own(t tableState, gen uint32) (uint32, error) {
	if t.owner == a.w.port {
		a.owned = true
		return gen, nil
	}
	if t.owner != 0 {
		return 0, fmt.Errorf("table %s belongs to another process (netlink port %d): %w: is another steelyard running?", a.table, t.owner, unix.EPERM)
	}
	if a.flags == 0 || t.flags&nftTableFPersist == 0 {
		return gen, nil
	}
	a.b.reset(a.table, a.w.seq)
	a.b.newTable(a.flags)
	a.b.finish()
	list, err := a.w.transact(&a.b)
	if err == nil && len(list) > 0 {
		err = explain(list[0].errno, list[0].text)
	}
	if err != nil {
		return 0, fmt.Errorf("take over table %s: %w", a.table, err)
	}
	a.owned = true
	return a.w.generation()
}

// planOf is the plan that is in force.
func planOf(known map[string]*held) core.Plan {
	var p core.Plan
	for _, h := range known {
		p.Services = append(p.Services, *clonePlan(h.plan))
	}
	slices.SortFunc(p.Services, func(x, y core.ServicePlan) int { return strings.Compare(x.Name, y.Name) })
	return p
}

// clonePlan keeps what the kernel carries apart from what the caller does with
// the plan later.
func clonePlan(s *core.ServicePlan) *core.ServicePlan {
	c := *s
	c.Backends = slices.Clone(s.Backends)
	return &c
}
