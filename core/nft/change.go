// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"slices"
	"strings"

	"github.com/steelyard-lb/steelyard/core"
)

// A change is what is to become of one service: from nil, it is made; to nil,
// it is removed.
type change struct {
	from, to *core.ServicePlan
	unknown  bool // the weights in the kernel may differ from from's
}

func (c change) name() string {
	if c.to != nil {
		return c.to.Name
	}
	return c.from.Name
}

// remake reports whether the service has to be taken apart and made again: its
// weights map holds addresses of one family, and is listed with one protocol.
func (c change) remake() bool {
	return c.from == nil || c.to == nil ||
		c.from.VIP.Is4() != c.to.VIP.Is4() || c.from.Protocol != c.to.Protocol
}

// takes reports whether c claims the key that o gives up.
func (c change) takes(o change) bool {
	return c.to != nil && o.from != nil && c.name() != o.name() && keyOf(c.to) == keyOf(o.from)
}

// sameService reports whether there is nothing to do.
func sameService(a, b *core.ServicePlan) bool {
	return a.Name == b.Name && keyOf(a) == keyOf(b) && a.Forwarding == b.Forwarding &&
		a.OnEmpty == b.OnEmpty && slices.Equal(a.Backends, b.Backends)
}

// cloneService keeps what the kernel carries apart from what the caller does
// with the plan later.
func cloneService(s *core.ServicePlan) *core.ServicePlan {
	c := *s
	c.Backends = slices.Clone(s.Backends)
	return &c
}

func planOf(services map[string]*core.ServicePlan) core.Plan {
	var p core.Plan
	for _, s := range services {
		p.Services = append(p.Services, *cloneService(s))
	}
	slices.SortFunc(p.Services, func(x, y core.ServicePlan) int { return strings.Compare(x.Name, y.Name) })
	return p
}

// A writer turns changes into the messages of a batch. The removals of all
// changes come before the additions of any, so that a service can take what
// another gives up.
type writer struct {
	b     *batch
	table string
	seed  *snapshot // the counts to go on from; nil for none
}

// services writes changes of any kind.
func (w *writer) services(list []change) {
	for _, c := range list {
		w.b.owner = c.name()
		switch {
		case c.from == nil:
		case c.remake():
			w.remove(c.from)
		default:
			w.clear(c.from, c.to)
		}
	}
	for _, c := range list {
		w.b.owner = c.name()
		switch {
		case c.to == nil:
		case c.remake():
			w.create(c.to)
		default:
			w.fill(c)
		}
	}
}

// reweights writes changes of weights only.
func (w *writer) reweights(list []change) {
	var from, to []interval
	for _, c := range list {
		w.b.owner = c.name()
		from, to = intervals(from[:0], c.from), intervals(to[:0], c.to)
		w.b.weights(w.table, weightsName(c.name()), from, to, c.unknown)
	}
}

func (w *writer) create(s *core.ServicePlan) {
	b := w.b
	b.newCounter(w.table, refusedName(s.Name), w.refusedBefore(s.Name))
	b.weightsMap(w.table, s)
	b.newChain(w.table, chainName(s.Name))
	w.rules(s)
	b.weights(w.table, weightsName(s.Name), nil, intervals(nil, s), false)
	w.addBackends(s, s.Backends)
	w.addService(s)
}

// remove takes a service apart, each thing before what it refers to.
func (w *writer) remove(s *core.ServicePlan) {
	b := w.b
	w.delService(s)
	w.delBackends(s, s.Backends)
	b.delRules(w.table, chainName(s.Name))
	b.delChain(w.table, chainName(s.Name))
	b.delSet(w.table, weightsName(s.Name))
	b.delCounter(w.table, refusedName(s.Name))
	b.changed += len(intervals(nil, s))
}

// clear removes from a service that stays what has no place in to.
func (w *writer) clear(from, to *core.ServicePlan) {
	if keyOf(from) != keyOf(to) || serviceComment(from) != serviceComment(to) {
		w.delService(from)
	}
	w.delBackends(from, countedBeside(from, to))
}

// fill adds to a service that stays what it has not got yet.
func (w *writer) fill(c change) {
	if c.from.OnEmpty != c.to.OnEmpty {
		w.b.delRules(w.table, chainName(c.to.Name))
		w.rules(c.to)
	}
	w.b.weights(w.table, weightsName(c.to.Name), intervals(nil, c.from), intervals(nil, c.to), c.unknown)
	w.addBackends(c.to, countedBeside(c.to, c.from))
	if keyOf(c.from) != keyOf(c.to) || serviceComment(c.from) != serviceComment(c.to) {
		w.addService(c.to)
	}
}

// countedBeside are the backends of s that have no counter of the same key and
// name among those of other.
func countedBeside(s, other *core.ServicePlan) []core.BackendPlan {
	if keyOf(s) != keyOf(other) || connsSet(s) != connsSet(other) {
		return s.Backends
	}
	names := make(map[string]int, len(other.Backends))
	for i := range other.Backends {
		names[other.Backends[i].Name] = i
	}
	var list []core.BackendPlan
	for _, b := range s.Backends {
		if i, ok := names[b.Name]; !ok || other.Backends[i].Addr != b.Addr {
			list = append(list, b)
		}
	}
	return list
}

func (w *writer) rules(s *core.ServicePlan) {
	w.b.rule(w.table, chainName(s.Name), choose(s)...)
	w.b.rule(w.table, chainName(s.Name), refuse(s)...)
}

func (w *writer) addService(s *core.ServicePlan) {
	l := w.b.addElements(w.table, servicesSet(s.VIP).String())
	l.service(s)
	l.close()
}

func (w *writer) delService(s *core.ServicePlan) {
	l := w.b.delElements(w.table, servicesSet(s.VIP).String())
	l.service(s)
	l.close()
}

func (w *writer) addBackends(s *core.ServicePlan, list []core.BackendPlan) {
	if len(list) == 0 {
		return
	}
	l := w.b.addElements(w.table, connsSet(s).String())
	for i := range list {
		l.backend(s, &list[i], w.countBefore(s, &list[i]))
	}
	l.close()
}

func (w *writer) delBackends(s *core.ServicePlan, list []core.BackendPlan) {
	if len(list) == 0 {
		return
	}
	l := w.b.delElements(w.table, connsSet(s).String())
	for i := range list {
		l.backend(s, &list[i], counter{})
	}
	l.close()
}

func (w *writer) countBefore(s *core.ServicePlan, b *core.BackendPlan) counter {
	if w.seed == nil {
		return counter{}
	}
	return w.seed.counts[core.BackendID{Service: s.Name, Backend: b.Name}]
}

func (w *writer) refusedBefore(service string) counter {
	if w.seed == nil {
		return counter{}
	}
	return w.seed.refused[refusedName(service)]
}
