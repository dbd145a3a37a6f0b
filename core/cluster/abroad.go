// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"maps"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// follow hears of the services that this node needs now, and forgets the others. Somebody
// else may hear of others now, too, so all is reported again.
func (f *Flows) follow(hear func([]string, bool) error, now time.Time) {
	// Who hears since a moment ago may have missed what was said in that moment.
	f.again = now.Add(reportEvery / 2)
	services, all := f.cfg.Peers.Hears()
	f.keep(services, all)
	err := hear(services, all)
	if f.deaf = err != nil; !f.deaf {
		return
	}
	if _, due := f.told.Due("bus", "deaf", now); due {
		f.cfg.Log.Warn("the connections of other nodes cannot be heard", "error", err)
	}
}

// keep makes room for the reports of services, or of all, and forgets those of others.
func (f *Flows) keep(services []string, all bool) {
	kept := make(map[string]bool, len(services))
	for _, svc := range services {
		kept[svc] = true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all = all
	if !all {
		maps.DeleteFunc(f.heard, func(svc string, _ *abroad) bool { return !kept[svc] })
	}
	for svc := range kept {
		f.placeFor(svc)
	}
}

// placeFor is where the reports of a service are kept. It needs mu.
func (f *Flows) placeFor(svc string) *abroad {
	a := f.heard[svc]
	if a == nil {
		a = &abroad{remotes: map[string]*remote{}, closed: map[string]uint64{}}
		f.heard[svc] = a
	}
	return a
}

// hear takes the report of another node, unless the service is heard no longer.
func (f *Flows) hear(r core.FlowReport, now time.Time) {
	leads := f.cfg.Peers.Leads(r.Service)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.all || f.heard[r.Service] != nil {
		f.placeFor(r.Service).take(r, leads, now)
	}
}

// take files a report. What its node closed counts from its second report on, or after a
// silence from the next, and while this node leads: all of a life, or of the time in
// between, would look like a burst of this moment.
func (a *abroad) take(r core.FlowReport, leads bool, now time.Time) {
	last := a.remotes[r.Node]
	next := &remote{r: r, heard: now, byName: make(map[string]core.FlowOf, len(r.Backends))}
	for _, b := range r.Backends {
		next.byName[b.Name] = b
	}
	a.remotes[r.Node] = next
	if !leads || last == nil || last.r.Inst != r.Inst || now.Sub(last.heard) > reportGone {
		return
	}
	for name, b := range next.byName {
		if before, ok := last.byName[name]; ok && b.Closed > before.Closed {
			a.closed[name] += b.Closed - before.Closed
		}
	}
}

// there reports whether a report still holds.
func (f *Flows) there(o *remote, now time.Time) bool {
	return now.Sub(o.heard) <= reportGone && f.cfg.Peers.Live(o.r.Node)
}

// prune forgets the reports that hold no longer: their nodes begin anew.
func (a *abroad) prune(now time.Time) {
	maps.DeleteFunc(a.remotes, func(_ string, o *remote) bool { return now.Sub(o.heard) > reportGone })
}

// addOpen adds the open connections of a report.
func (o *remote) addOpen(to map[core.BackendID]core.FlowCount) {
	for name, b := range o.byName {
		id := core.BackendID{Service: o.r.Service, Backend: name}
		c := to[id]
		c.Open += b.Open
		c.Abroad += b.Open
		to[id] = c
	}
}
