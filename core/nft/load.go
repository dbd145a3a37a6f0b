// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/steelyard-lb/steelyard/core"
	"golang.org/x/sys/unix"
)

// A snapshot is what a table of our layout holds.
type snapshot struct {
	services map[string]*core.ServicePlan
	// unknown are the services whose weights map is not what any plan makes;
	// their backends have no slots here.
	unknown map[string]bool
	// counts and refused let a table that has to be replaced go on counting.
	counts  map[core.BackendID]counter
	refused map[string]counter
	// wrong says what is not as we would have written it. Such a table is
	// replaced by the next Sync.
	wrong error
}

// load reads the table. It must have our layout.
func (a *Applier) load(ctx context.Context) (*snapshot, error) {
	l := &snapshot{
		services: map[string]*core.ServicePlan{}, unknown: map[string]bool{},
		counts: map[core.BackendID]counter{}, refused: map[string]counter{},
	}
	for set := range sharedSets {
		read := l.backend
		if set.isServices() {
			read = l.service
		}
		// A try that was cut short has left nothing that the next does not
		// write again, or that the checks below would not find.
		err := a.w.elements(a.table, set.String(), nothing, func(e element) error {
			l.complain(read(set, e))
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	if err := a.w.counters(a.table, nothing, func(name string, c counter) { l.refused[name] = c }); err != nil {
		return nil, err
	}
	list := make([]*core.ServicePlan, 0, len(l.services))
	for _, s := range l.services {
		slices.SortFunc(s.Backends, func(x, y core.BackendPlan) int { return strings.Compare(x.Name, y.Name) })
		list = append(list, s)
	}
	err := a.readWeights(ctx, list, func(i int, ivs []interval, err error) {
		if err != nil {
			l.complain(err)
			return
		}
		l.weights(list[i], ivs)
	})
	if err != nil {
		return nil, err
	}
	return l, a.inspect(l)
}

func (l *snapshot) complain(err error) {
	if l.wrong == nil {
		l.wrong = err
	}
}

// service takes an element of services4 or services6.
func (l *snapshot) service(set sharedSet, e element) error {
	key, _, err := parseServiceKey(e.key, set.v6())
	if err != nil {
		return err
	}
	s := &core.ServicePlan{VIP: key.vip, Port: key.port, Protocol: key.protocol}
	if err := parseServiceComment(e.comment, s); err != nil {
		return err
	}
	if err := checkService(s); err != nil {
		return err
	}
	if e.goTo != chainName(s.Name) {
		return fmt.Errorf("service %s: leads to chain %q", s.Name, e.goTo)
	}
	if other, ok := l.services[s.Name]; ok && keyOf(other) != keyOf(s) {
		return fmt.Errorf("service %s: has two addresses, %v and %v", s.Name, keyOf(other), keyOf(s))
	}
	l.services[s.Name] = s
	return nil
}

// backend takes an element of a connection set. The services are known by then.
func (l *snapshot) backend(set sharedSet, e element) error {
	key, rest, err := parseServiceKey(e.key, set.v6())
	if err != nil {
		return err
	}
	addr, _, err := parseEndpoint(rest, set.v6())
	if err != nil {
		return err
	}
	id, err := core.ParseBackendID(e.comment)
	if err != nil {
		return fmt.Errorf("set %v: %w", set, err)
	}
	s := l.services[id.Service]
	if s == nil || keyOf(s) != key || connsSet(s) != set {
		return fmt.Errorf("set %v: backend %v is of no service with %v", set, id, key)
	}
	b := core.BackendPlan{Name: id.Backend, Addr: addr}
	l.counts[id] = e.counter
	if i := slices.IndexFunc(s.Backends, func(x core.BackendPlan) bool { return x.Name == b.Name }); i >= 0 {
		s.Backends[i] = b
		return nil
	}
	s.Backends = append(s.Backends, b)
	return nil
}

// weights gives the backends of s the slots of its map.
func (l *snapshot) weights(s *core.ServicePlan, ivs []interval) {
	for i := range s.Backends {
		for _, iv := range ivs {
			if iv.name == s.Backends[i].Name {
				s.Backends[i].Slots += iv.end - iv.start
			}
		}
	}
	if checkBackends(s) == nil && slices.Equal(intervals(nil, s), ivs) {
		return
	}
	l.unknown[s.Name] = true
	for i := range s.Backends {
		s.Backends[i].Slots = 0
	}
}

// inspect compares the names of what stands in the table, and the number of
// rules in each chain, with what should.
func (a *Applier) inspect(l *snapshot) error {
	rules := map[string]int{chainPrerouting: 2, chainOutput: 2, chainAccount: 1 + len(accountRules)}
	sets, counters := map[string]int{}, map[string]bool{}
	for s := range sharedSets {
		sets[s.String()] = 1
	}
	for name := range l.services {
		rules[chainName(name)], sets[weightsName(name)], counters[refusedName(name)] = 2, 1, true
	}
	chains := make(map[string]int, len(rules))
	for name := range rules {
		chains[name] = 1
	}
	for _, q := range []struct {
		what string
		msg  int
		want map[string]int
	}{
		{"chain", unix.NFT_MSG_GETCHAIN, chains}, {"rules of chain", unix.NFT_MSG_GETRULE, rules}, {"set", unix.NFT_MSG_GETSET, sets},
	} {
		got, err := a.w.names(q.msg, a.table)
		if err != nil {
			return err
		}
		for name, n := range got {
			if want := q.want[name]; n != want {
				l.complain(fmt.Errorf("%s %s: found %d, want %d", q.what, name, n, want))
			}
			delete(q.want, name)
		}
		for name := range q.want {
			l.complain(fmt.Errorf("%s %s: missing", q.what, name))
		}
	}
	for name := range l.refused {
		if !counters[name] {
			l.complain(fmt.Errorf("counter %s: of no service", name))
		}
		delete(counters, name)
	}
	for name := range counters {
		l.complain(fmt.Errorf("counter %s: missing", name))
	}
	return nil
}
