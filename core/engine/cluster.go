// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"
	"math"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// A Cluster is what an engine asks of the other nodes that serve the same services. Its
// methods do not block and may be called from any goroutine.
type Cluster interface {
	// Leads reports whether this node decides the shares of a service now.
	Leads(service string) bool
	// Counts reports whether the verdicts of a node's probes count here; those of this
	// node always do.
	Counts(node string) bool
	// Changed yields when an answer of the two above may be another.
	Changed() <-chan struct{}
	// Decided takes the shares of a service that this node leads, before they are
	// committed here. Epoch, Node, Group and At are the receiver's to fill in; Backends
	// are never changed by either.
	Decided(core.Vector)
	// Suspects says that this node suspects itself, or no longer.
	Suspects(bool)
}

// ErrNotLeading says that a command is for the node that leads a service.
var ErrNotLeading = errors.New("not the leader")

// leads reports whether this node decides the shares of a service.
func (e *Engine) leads(service string) bool {
	return e.cfg.Cluster == nil || e.cfg.Cluster.Leads(service)
}

// changed is Changed of the others; nil, which never yields, of a node alone.
func (e *Engine) changed() <-chan struct{} {
	if e.cfg.Cluster == nil {
		return nil
	}
	return e.cfg.Cluster.Changed()
}

// takeLeads follows which services this node leads.
func (e *Engine) takeLeads() {
	if e.cfg.Cluster == nil {
		return
	}
	e.takeVectors() // of those who led until now
	now := time.Now()
	began, ended := 0, 0
	for _, s := range e.order {
		switch leads := e.leads(s.spec.Name); {
		case leads && s.follows:
			e.takeOver(s, now)
			began++
		case !leads && !s.follows:
			e.yield(s)
			ended++
		}
	}
	if began > 0 {
		e.countAnew()
	}
	if began+ended > 0 {
		e.log.Info("services of this node", "begins_to_lead", began, "leads_no_more", ended)
	}
	e.decideTipped()
}

// takeVectors follows what other nodes have decided.
func (e *Engine) takeVectors() {
	for _, v := range e.vectors.take() {
		s := e.services[v.Service]
		if s == nil {
			continue
		}
		if !s.follows && !e.leads(v.Service) {
			e.yield(s)
		}
		s.lead = &lead{v.Vector, v.heard}
		if s.follows { // else it waits for yield
			e.takeLead(s)
		}
	}
}

// takeLead decides a service by a new vector of its leader.
func (e *Engine) takeLead(s *service) {
	s.seedOpinions()
	e.decide(s, cause{trigger: s.lead.vector.Node + " decided", at: s.lead.heard}, core.Free)
}

// seedOpinions makes those of the leader this node's, so that it goes on where the leader
// ends.
func (s *service) seedOpinions() {
	now := time.Now()
	for i, g := range s.lead.of(s.backends) {
		s.backends[i].opinion, s.backends[i].opinionFrom = g.Opinion, now
	}
	s.free, s.moving = false, false
}

// takeOver begins to lead a service, with the shares in force and the last opinions; the
// policy is asked next.
func (e *Engine) takeOver(s *service, now time.Time) {
	trigger := "leads from now on"
	if s.lead != nil && s.lead.vector.Node != "" {
		trigger += ", after " + s.lead.vector.Node
	}
	s.follows, s.lead = false, nil
	e.vectors.leads(s.spec.Name, true)
	s.forgetFlows()
	for _, b := range s.backends {
		b.opinionFrom = now // or a share that was long held would decay at once
	}
	if sh := s.shadow; sh != nil { // its own shares are of another time
		params := sh.params
		s.shadow = newShadow(s, nil)
		s.shadow.params = params
	}
	e.tip(s, trigger, now)
}

// yield ends the lead of a service. Its shares stay until another node's come.
func (e *Engine) yield(s *service) {
	s.follows, s.told = true, nil
	e.vectors.leads(s.spec.Name, false)
	s.forgetFlows()
	s.failingFrom, s.policyErr, s.policyTook = time.Time{}, "", 0
	s.policyAnswered(math.MaxUint64) // nobody asks it any more
	e.traceYields(s)
	if s.lead == nil {
		s.lead = s.inForceHere()
		return
	}
	e.takeLead(s)
}

// inheritLead has a service go on as the one that it takes the place of; a new one asks
// who leads it.
func (e *Engine) inheritLead(s, old *service) {
	if old != nil {
		s.follows, s.lead = old.follows, old.lead
		return
	}
	if s.follows = !e.leads(s.spec.Name); s.follows {
		s.lead = s.inForceHere()
	}
}

// installLeads has services that are new in force follow who leads them.
func (e *Engine) installLeads() {
	if e.cfg.Cluster == nil {
		return
	}
	e.vectors.only(e.setup.Services)
	began := false
	for _, s := range e.order {
		followed := s.follows
		e.catchUpLead(s.from, s)
		began = began || followed && !s.follows
		e.vectors.leads(s.spec.Name, !s.follows)
	}
	if began {
		e.countAnew()
	}
}

// catchUpLead follows what came from other nodes between build and install.
func (e *Engine) catchUpLead(before, s *service) {
	if before == nil || before.follows == s.follows && before.lead == s.lead {
		return
	}
	if before.follows != s.follows {
		s.forgetFlows()
	}
	s.follows, s.lead = before.follows, before.lead
	if s.lead != nil {
		s.seedOpinions()
	}
	e.tip(s, "the vectors of "+s.leaderName(), time.Now())
}

// tellAll is tellOthers for all services.
func (e *Engine) tellAll() {
	if e.cfg.Cluster == nil {
		return
	}
	for _, s := range e.order {
		e.tellOthers(s)
	}
}

// tellOthers hands the shares of a service to the others if it is in force, this node leads it
// and they do not have them, or have them with another reason.
func (e *Engine) tellOthers(s *service) {
	if e.cfg.Cluster == nil || s.follows || e.setup.Cluster.Scheduling == core.ScheduleLocal || e.services[s.spec.Name] != s || s.toldAll() {
		return
	}
	// A number of its own: the decision of a service that a reload brought was made
	// before those of the one that it took the place of.
	e.seq++
	v := core.Vector{
		Service: s.spec.Name, Seq: e.seq, Decision: s.decision.Seq, Policy: s.spec.Policy, PolicyVersion: s.version,
		Backends: make([]core.VectorBackend, len(s.backends)),
	}
	for i, b := range s.backends {
		v.Backends[i] = core.VectorBackend{Name: b.spec.Name, Slots: s.slots[i], Opinion: b.opinion, Health: b.health, Note: s.leadNote(i)}
	}
	s.told = v.Backends
	e.cfg.Cluster.Decided(v)
}
