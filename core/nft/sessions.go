// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"golang.org/x/sys/unix"
)

// Sessions reads which clients of a service persistence has bound to which
// backend, by client; at most limit of them, 0 for all. The service is as in the
// plan in force. Sessions may be called from any goroutine.
func (a *Applier) Sessions(ctx context.Context, s core.ServicePlan, limit int) ([]core.Session, error) {
	if s.Persistence.Timeout == 0 {
		return nil, nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	var list []core.Session
	c := compiler{s: &s}
	for _, v6 := range c.families() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		part, err := a.sessions(&s, v6, c.stickyMap(v6), limit)
		if err != nil {
			return nil, fmt.Errorf("read sessions of service %s: %w", s.Name, err)
		}
		list = append(list, part...)
	}
	slices.SortFunc(list, func(x, y core.Session) int { return x.Client.Addr().Compare(y.Client.Addr()) })
	if limit > 0 {
		list = list[:min(limit, len(list))]
	}
	return list, nil
}

func (a *Applier) sessions(s *core.ServicePlan, v6 bool, of *set, limit int) ([]core.Session, error) {
	var list []core.Session
	bits := s.Persistence.Prefix4
	if v6 {
		bits = s.Persistence.Prefix6
	}
	err := a.r.elements(a.table, of.name, func() { list = list[:0] }, func(e element) error {
		if limit > 0 && len(list) >= limit {
			return nil
		}
		client, ok := netip.AddrFromSlice(e.key)
		to, err := parseTarget(e.data)
		if err != nil || !ok {
			return fmt.Errorf("an element with a key of %d and a value of %d bytes", len(e.key), len(e.data))
		}
		list = append(list, core.Session{
			Service: s.Name, Client: netip.PrefixFrom(client, bits), Backend: backendAt(s, to),
			Address: to.String(), Expires: e.expires,
		})
		return nil
	})
	if errors.Is(err, errChanging) || errors.Is(err, unix.ENOENT) {
		err = nil
	}
	return list, err
}

func backendAt(s *core.ServicePlan, a netip.AddrPort) string {
	for i := range s.Backends {
		if s.Backends[i].Addr == a {
			return s.Backends[i].Name
		}
	}
	return ""
}

const (
	// sweepEvery is how often clients of dead backends are looked for while there
	// are any: a connection that was under way as its backend died may have bound
	// its client again.
	sweepEvery = time.Second
	// sweepTries is how often a sweep is begun anew because an entry expired
	// between being read and being deleted.
	sweepTries = 5
)

// Sweep takes the clients of backends that are not alive out of the maps of
// persistence, so that their next connection is balanced. again is when it should
// be called next; 0 when there is nothing to look for. It belongs to the goroutine
// of Sync and Reweight, which do it by themselves for what they change.
func (a *Applier) Sweep(ctx context.Context) (again time.Duration, err error) {
	var list []*core.ServicePlan
	for _, h := range a.known {
		if hasDead(h.plan) {
			list = append(list, h.plan)
			again = sweepEvery
		}
	}
	return again, a.sweepAll(ctx, list)
}

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

func (a *Applier) sweep(ctx context.Context, s *core.ServicePlan) error {
	c := compiler{s: s}
	for _, v6 := range c.families() {
		for try := 1; ; try++ {
			err := a.sweepMap(ctx, s, c.stickyMap(v6))
			if err == nil {
				break
			}
			if try == sweepTries || !errors.Is(err, unix.ENOENT) {
				return err
			}
		}
	}
	return nil
}

// sweepMap deletes what leads to a backend that is not alive.
func (a *Applier) sweepMap(ctx context.Context, s *core.ServicePlan, of *set) error {
	alive := map[netip.AddrPort]bool{}
	for i := range s.Backends {
		alive[s.Backends[i].Addr] = s.Backends[i].Alive
	}
	var dead []*elem
	err := a.w.elements(a.table, of.name, func() { dead = dead[:0] }, func(e element) error {
		to, err := parseTarget(e.data)
		if err == nil && !alive[to] {
			dead = append(dead, &elem{key: slices.Clone(e.key)})
		}
		return err
	})
	if err != nil && !errors.Is(err, errChanging) {
		return err
	}
	for chunk := range slices.Chunk(dead, sweepChunk) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := a.deleteElems(of, chunk); err != nil {
			return err
		}
	}
	return nil
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
	case before == a.gen:
		a.gen++ // only we changed anything
	}
	return nil
}
