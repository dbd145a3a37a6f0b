// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/steelyard-lb/steelyard/core"
	"golang.org/x/sys/unix"
)

// counterTries is how often a dump of counters is begun. Re-weights bump the
// generation and so interrupt it, but change no counter.
const counterTries = 3

// Counters reads the kernel's counts of all services and backends. Those of a
// service are the sum of its present backends and what it refused. Without a
// table the map is empty. While the ruleset changes faster than it can be read,
// a counter that came or went in that moment may be missing. Counters may be
// called from any goroutine.
func (a *Applier) Counters(ctx context.Context) (map[core.CounterKey]core.Counters, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := make(map[core.CounterKey]core.Counters, a.counted)
	defer func() { a.counted = len(all) }()
	for _, set := range connSets {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("read counters: %w", err)
		}
		if err := a.connections(set, all); err != nil {
			return nil, err
		}
	}
	if err := a.bytesCounted(all); err != nil {
		return nil, err
	}
	err := a.r.allCounters(a.table, func(name string, c counter) {
		kind, service, _ := strings.Cut(name, "-")
		sum := all[core.CounterKey{Service: service}]
		field := turnedField(&sum.Turned, kind)
		if kind == kindRefused {
			field = &sum.Refused
		}
		if field != nil {
			*field = c.packets
			all[core.CounterKey{Service: service}] = sum
		}
	})
	if err != nil && !errors.Is(err, errChanging) && !errors.Is(err, unix.ENOENT) {
		return nil, err
	}
	return all, nil
}

// connections adds what one set has counted.
func (a *Applier) connections(of *set, all map[core.CounterKey]core.Counters) error {
	part := make(map[core.BackendID]counter, a.countedIn[of.name])
	if err := a.counts(of, part); err != nil {
		return err
	}
	if a.countedIn == nil {
		a.countedIn = map[string]int{}
	}
	a.countedIn[of.name] = len(part)
	addConnections(all, part)
	return nil
}

// counts adds up the counters of one set by backend. A set that is not there has
// counted nothing.
func (a *Applier) counts(of *set, part map[core.BackendID]counter) error {
	err := a.r.elements(a.table, of.name, func() { clear(part) }, func(e element) error {
		if id, err := core.ParseBackendID(e.comment); err == nil {
			sum := part[id]
			part[id] = counter{sum.packets + e.counter.packets, sum.bytes + e.counter.bytes}
		}
		return nil
	})
	if err != nil && !errors.Is(err, errChanging) && !errors.Is(err, unix.ENOENT) {
		return err
	}
	return nil
}

func addConnections(all map[core.CounterKey]core.Counters, part map[core.BackendID]counter) {
	for id, n := range part {
		for _, key := range []core.CounterKey{id, {Service: id.Service}} {
			sum := all[key]
			sum.Connections += n.packets
			all[key] = sum
		}
	}
}
