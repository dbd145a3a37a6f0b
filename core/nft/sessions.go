// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/steelyard-lb/steelyard/core"
	"golang.org/x/sys/unix"
)

// Sessions reads which clients of a service persistence has bound to which
// backend, by client: those that the filter picks, at most limit of them, 0 for
// all. The service is as in the plan in force. Sessions may be called from any
// goroutine.
func (a *Applier) Sessions(ctx context.Context, s core.ServicePlan, f core.SessionFilter, limit int) (core.Sessions, error) {
	var out core.Sessions
	if s.Persistence.Timeout == 0 {
		return out, nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	c := compiler{s: &s}
	for _, v6 := range c.clientFamilies() {
		if err := ctx.Err(); err != nil {
			return core.Sessions{}, err
		}
		part, err := a.sessions(&s, v6, f, limit)
		if err != nil {
			return core.Sessions{}, fmt.Errorf("read sessions of service %s: %w", s.Name, err)
		}
		out.List, out.Counts = append(out.List, part.List...), append(out.Counts, part.Counts...)
		out.Matched += part.Matched
	}
	slices.SortFunc(out.List, func(x, y core.Session) int { return x.Client.Addr().Compare(y.Client.Addr()) })
	if limit > 0 {
		out.List = out.List[:min(limit, len(out.List))]
	}
	return out, nil
}

// sessions reads one map.
func (a *Applier) sessions(s *core.ServicePlan, v6 bool, f core.SessionFilter, limit int) (core.Sessions, error) {
	var out core.Sessions
	var entries int
	c := compiler{s: s}
	of := c.stickyMap(v6)
	restart := func() { out, entries = core.Sessions{}, 0 }
	err := a.r.elements(a.table, of.name, restart, func(e element) error {
		client, to, err := c.session(e)
		if err != nil {
			return err
		}
		entries++
		backend := backendAt(s, to)
		if !f.Matches(client, backend) {
			return nil
		}
		out.Matched++
		if limit == 0 || len(out.List) < limit {
			out.List = append(out.List, core.Session{Client: client, Backend: backend, Address: to.String(), ExpiresIn: e.expires.Seconds()})
		}
		return nil
	})
	if errors.Is(err, errChanging) || errors.Is(err, unix.ENOENT) {
		err = nil
	}
	family := "ipv4"
	if v6 {
		family = "ipv6"
	}
	out.Counts = []core.SessionCount{{Family: family, Entries: entries, Size: of.size}}
	return out, err
}

// session reads an entry of a map of persistence.
func (c *compiler) session(e element) (netip.Prefix, netip.AddrPort, error) {
	client, ok := netip.AddrFromSlice(e.key)
	to, err := parseTarget(e.data)
	if err != nil || !ok {
		return netip.Prefix{}, to, fmt.Errorf("an element with a key of %d and a value of %d bytes", len(e.key), len(e.data))
	}
	bits := c.s.Persistence.Prefix4
	if client.Is6() {
		bits = c.s.Persistence.Prefix6
	}
	return netip.PrefixFrom(client, bits), to, nil
}

func backendAt(s *core.ServicePlan, a netip.AddrPort) string {
	for i := range s.Backends {
		if s.Backends[i].Addr == a {
			return s.Backends[i].Name
		}
	}
	return ""
}

// sweepTries is how often a sweep is begun anew because an entry expired between
// being read and being deleted.
const sweepTries = 5

// hasDead reports whether clients may be bound to a backend that is not alive.
func hasDead(s *core.ServicePlan) bool {
	return s.Persistence.Timeout > 0 && slices.ContainsFunc(s.Backends, func(b core.BackendPlan) bool { return !b.Alive })
}

// anyDied reports whether clients are bound to a backend that has just died.
func anyDied(from, to *core.ServicePlan) bool {
	return to.Persistence.Timeout > 0 && slices.ContainsFunc(to.Backends, func(b core.BackendPlan) bool {
		i := slices.IndexFunc(from.Backends, func(o core.BackendPlan) bool { return o.Addr == b.Addr })
		return !b.Alive && i >= 0 && from.Backends[i].Alive
	})
}

// changedPlans are the services of a Sync that may have bound clients to a backend
// that is no longer theirs.
func changedPlans(done []*change) (list []*core.ServicePlan) {
	for _, c := range done {
		if c.plan != nil && c.from != nil && c.plan.Persistence.Timeout > 0 {
			list = append(list, c.plan)
		}
	}
	return list
}

func (a *Applier) sweepAll(ctx context.Context, services []*core.ServicePlan) (err error) {
	for _, s := range services {
		if e := a.sweep(ctx, s); e != nil {
			err = errors.Join(err, fmt.Errorf("sweep sessions of service %s: %w", s.Name, e))
		}
	}
	return err
}

// sweep deletes what leads to a backend that is not alive.
func (a *Applier) sweep(ctx context.Context, s *core.ServicePlan) error {
	alive := map[netip.AddrPort]bool{}
	for i := range s.Backends {
		alive[s.Backends[i].Addr] = s.Backends[i].Alive
	}
	_, err := a.deleteSessions(ctx, s, func(_ netip.Prefix, to netip.AddrPort) bool { return !alive[to] })
	return err
}

// Forget deletes the entries that the filter picks from the maps of persistence
// of a service, so that the next connections of those clients are balanced, and
// returns how many there were. It ends soon once ctx is done, with its error and
// those that were deleted by then. It belongs to the goroutine of Sync and Reweight.
func (a *Applier) Forget(ctx context.Context, service string, f core.SessionFilter) (int, error) {
	if a.known == nil {
		if err := a.refresh(ctx); err != nil {
			return 0, fmt.Errorf("forget sessions of service %s: %w", service, err)
		}
	}
	h := a.known[service]
	if h == nil {
		return 0, fmt.Errorf("forget sessions of service %s: it is not in force", service)
	}
	if h.plan.Persistence.Timeout == 0 {
		return 0, nil
	}
	n, err := a.deleteSessions(ctx, h.plan, func(client netip.Prefix, to netip.AddrPort) bool {
		return f.Any() || f.Matches(client, backendAt(h.plan, to))
	})
	if err != nil {
		return n, fmt.Errorf("forget sessions of service %s: %w", service, err)
	}
	return n, nil
}

// deleteSessions deletes the entries of a service that drop says yes to.
func (a *Applier) deleteSessions(ctx context.Context, s *core.ServicePlan, drop func(netip.Prefix, netip.AddrPort) bool) (int, error) {
	c, n := compiler{s: s}, 0
	for _, v6 := range c.clientFamilies() {
		for try := 1; ; try++ {
			k, err := a.deleteFrom(ctx, &c, c.stickyMap(v6), drop)
			n += k
			if err == nil {
				break
			}
			if try == sweepTries || !errors.Is(err, unix.ENOENT) {
				return n, err
			}
		}
	}
	return n, nil
}

func (a *Applier) deleteFrom(ctx context.Context, c *compiler, of *set, drop func(netip.Prefix, netip.AddrPort) bool) (n int, err error) {
	var list []*elem
	if err := a.sweeper.drain(ctx); err != nil {
		return 0, err
	}
	err = a.sweeper.elements(a.table, of.name, func() { list = list[:0] }, func(e element) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		client, to, err := c.session(e)
		if err == nil && drop(client, to) {
			list = append(list, &elem{key: slices.Clone(e.key)})
		}
		return err
	})
	if err != nil && !errors.Is(err, errChanging) {
		return 0, err
	}
	for chunk := range slices.Chunk(list, sweepChunk) {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		if err := a.deleteElems(of, chunk); err != nil {
			return n, err
		}
		n += len(chunk)
	}
	return n, nil
}

// sweepChunk is how many entries one transaction deletes: some 2 ms of it.
const sweepChunk = 1000

// deleteElems is one transaction that only deletes elements.
func (a *Applier) deleteElems(of *set, list []*elem) error {
	before, err := a.w.generation()
	if err != nil {
		return err
	}
	a.b.reset(a.table, a.w.seq)
	a.b.writeElems(of, list, a.b.delElements)
	a.b.finish()
	complaints, err := a.w.transact(&a.b)
	switch {
	case err != nil:
		return err
	case len(complaints) > 0:
		return explain(complaints[0].errno, complaints[0].text)
	}
	a.ours(before)
	return nil
}
