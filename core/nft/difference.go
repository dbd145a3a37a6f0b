// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"fmt"
	"slices"
	"strings"

	"github.com/steelyard-lb/steelyard/core"
	"golang.org/x/sys/unix"
)

// A ServiceDiff is what becomes of one service's part of the table when a Sync
// goes from one plan to another.
type ServiceDiff struct {
	Service string `json:"service"` // empty: the part that all services share
	Added   bool   `json:"added,omitempty"`
	Removed bool   `json:"removed,omitempty"`

	SetsAdded   []string `json:"sets_added,omitempty"`
	SetsRemoved []string `json:"sets_removed,omitempty"`
	SetsRemade  []string `json:"sets_remade,omitempty"` // empty they begin, but for elements that are ours

	ChainsAdded     []string `json:"chains_added,omitempty"`
	ChainsRemoved   []string `json:"chains_removed,omitempty"`
	ChainsRewritten []string `json:"chains_rewritten,omitempty"`

	ElementsAdded   int `json:"elements_added"` // of all sets, those of weights too
	ElementsRemoved int `json:"elements_removed"`

	// Lost is what the kernel has counted or remembered and begins anew, in words.
	Lost []string `json:"lost,omitempty"`
}

// Diff is what a Sync of to would do to a table that carries from: a ServiceDiff
// for each service that is touched, by name, the shared part first. Services that
// would be refused without asking the kernel are as in from.
func Diff(from, to core.Plan) []ServiceDiff {
	after, refused := Check(from, to, nil, nil)
	before, _ := Check(core.Plan{}, from, nil, nil)
	known := map[string]*held{}
	for i := range before.Services {
		h := &held{plan: &before.Services[i]}
		if linked(h.plan) {
			h.deals = dealsOf(h.plan, h.deals, nil, 0)
		}
		known[h.plan.Name] = h
	}
	return diffTable(compileShared(needsOf(&before)), known, after, refused)
}

// Check parts what a Sync of to can bring into force after from: the plan that
// would be in force, in which a refused service is as it was, and the reasons for
// those. The kernel itself may refuse more. Of features and interfaces nil has all.
func Check(from, to core.Plan, features []core.Feature, interfaces []string) (core.Plan, map[string]error) {
	inForce := map[string]*held{}
	for i := range from.Services {
		if s := &from.Services[i]; s.Traffic != nil {
			inForce[s.Name] = &held{plan: s}
		}
	}
	good, refused := checkPlan(to, inForce, probed(features))
	good = withoutInterface(good, named(interfaces), refused)
	out := core.Plan{LocalClients: to.LocalClients, OffloadDevices: to.OffloadDevices}
	for _, s := range good {
		out.Services = append(out.Services, *s)
	}
	for name := range refused {
		if h := inForce[name]; h != nil && checkService(h.plan) == nil {
			out.Services = append(out.Services, *h.plan)
		}
	}
	slices.SortFunc(out.Services, func(x, y core.ServicePlan) int { return strings.Compare(x.Name, y.Name) })
	return out, refused
}

// probed puts features, which may come from another version of this program, into
// the order of the probes. What was not asked for counts as present.
func probed(features []core.Feature) []core.Feature {
	out := make([]core.Feature, len(probes))
	for i := range probes {
		out[i] = core.Feature{Name: probes[i].name, Present: true}
		for _, f := range features {
			if f.Name == probes[i].name {
				out[i] = f
			}
		}
	}
	return out
}

// diffTable compares what a table has, nil for no table, with what a plan makes of
// it. Refused services are kept.
func diffTable(shared *fragment, known map[string]*held, to core.Plan, refused map[string]error) (list []ServiceDiff) {
	add := func(c *change) {
		if !c.nothing() {
			list = append(list, c.summary())
		}
	}
	wanted := map[string]bool{}
	n := needsOf(&to)
	for i := range to.Services {
		s := &to.Services[i]
		wanted[s.Name] = true
		h := known[s.Name]
		n.sit(s, h.seatFor(s))
		if h != nil && h.read == nil && samePlan(h.plan, s) {
			continue
		}
		add(&change{name: s.Name, from: h.fragment(), to: h.next(s)})
	}
	for name, h := range known {
		if !wanted[name] && refused[name] == nil {
			add(&change{name: name, from: h.fragment()})
		}
	}
	add(&change{from: shared, to: compileShared(n)})
	slices.SortFunc(list, func(x, y ServiceDiff) int { return strings.Compare(x.Service, y.Service) })
	return list
}

// summary is the change in names and numbers.
func (c *change) summary() ServiceDiff {
	out := ServiceDiff{Service: c.name, Added: c.from == nil, Removed: c.to == nil}
	d := newDiff(c)
	from, to := c.from, c.to
	if from == nil {
		from = &fragment{}
	}
	if to == nil {
		to = &fragment{}
	}
	for _, s := range from.sets {
		switch {
		case to.set(s.name) == nil:
			out.SetsRemoved = append(out.SetsRemoved, s.name)
		case d.setGoes(s):
			out.SetsRemade = append(out.SetsRemade, s.name)
		}
	}
	for _, s := range to.sets {
		if from.set(s.name) == nil {
			out.SetsAdded = append(out.SetsAdded, s.name)
		}
	}
	for i := range from.chains {
		ch := &from.chains[i]
		switch {
		case to.chain(ch.name) == nil:
			out.ChainsRemoved = append(out.ChainsRemoved, ch.name)
		case d.rulesGo(ch):
			out.ChainsRewritten = append(out.ChainsRewritten, ch.name)
		}
	}
	for i := range to.chains {
		if from.chain(to.chains[i].name) == nil {
			out.ChainsAdded = append(out.ChainsAdded, to.chains[i].name)
		}
	}
	out.countElements(from, to)
	out.Lost = d.lost(from, to)
	if l := c.link(); l.from != nil || l.to != nil {
		out.with(l.summary())
	}
	return out
}

func (out *ServiceDiff) countElements(from, to *fragment) {
	for i := range from.elems {
		gone, _ := diffElems(from.elems[i].list, to.elemsOf(from.elems[i].set.name))
		out.ElementsRemoved += len(gone)
	}
	for i := range to.elems {
		_, come := diffElems(from.elemsOf(to.elems[i].set.name), to.elems[i].list)
		out.ElementsAdded += len(come)
	}
	out.countDeals(from, to)
	none := &weightMap{}
	for i := range from.maps {
		m := to.weights(from.maps[i].set.name)
		if m == nil {
			m = none
		}
		out.ElementsRemoved += from.maps[i].beside(m)
	}
	for i := range to.maps {
		m := from.weights(to.maps[i].set.name)
		if m == nil {
			m = none
		}
		out.ElementsAdded += to.maps[i].beside(m)
	}
}

// beside is how many elements m has that o has not.
func (m *weightMap) beside(o *weightMap) int {
	n := diffIntervals(m.intervals, o.intervals, nil, nil)
	for i := range m.ring {
		to, _ := m.at(i)
		if other, ok := o.at(i); !ok || other != to {
			n++
		}
	}
	return n
}

// lost is the state in the kernel that does not outlive the change of a service
// that stays.
func (d *diff) lost(from, to *fragment) (list []string) {
	if d.c.from == nil || d.c.to == nil {
		return nil
	}
	for _, s := range from.sets {
		switch kind, _, _ := strings.Cut(s.name, "-"); {
		case !d.setGoes(s) || !s.dynamic():
		case kind == kindSticky || kind == kindSticky6:
			list = append(list, "the clients that persistence has bound, in map "+s.name)
		default:
			list = append(list, "what the limit per client has counted, in set "+s.name)
		}
	}
	for i := range from.objects {
		o := &from.objects[i]
		if o.kind == unix.NFT_OBJECT_LIMIT && d.objectGoes(o) && to.object(o.name, o.kind) != nil {
			list = append(list, "what limit "+o.name+" has counted")
		}
	}
	for i := range to.chains {
		ch := &to.chains[i]
		was := from.chain(ch.name)
		if was == nil || !d.rulesGo(was) {
			continue
		}
		if ch.says("numgen inc") {
			list = append(list, "the position of the round robin, in chain "+ch.name)
		}
		if ch.says("ct count over") {
			list = append(list, "the count of open connections, in chain "+ch.name)
		}
	}
	return append(list, lostCounts(from, to)...)
}

func (c *chain) says(text string) bool {
	return slices.ContainsFunc(c.rules, func(r rule) bool { return strings.Contains(r.text, text) })
}

// lostCounts are the counters of elements that are written anew because something
// else of theirs has changed.
func lostCounts(from, to *fragment) (list []string) {
	names := map[string]bool{}
	for i := range from.elems {
		s := from.elems[i].set
		if !s.counter {
			continue
		}
		gone, come := diffElems(from.elems[i].list, to.elemsOf(s.name))
		again := map[string]bool{}
		for _, e := range come {
			again[e.id()] = true
		}
		for _, e := range gone {
			if again[e.id()] && !names[e.comment] {
				names[e.comment] = true
				list = append(list, fmt.Sprintf("the count of connections of %s", e.comment))
			}
		}
	}
	return list
}
