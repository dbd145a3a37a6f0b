// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

const (
	// nearest is how many of those who may lead a service hear its connections of all
	// nodes: the first, and the one after it, so that whoever takes over has them already.
	nearest = 2
	// nearAfter is for how long a node must be one of them until it hears: when it is cut
	// off the others fall silent one by one, and before the last it is near to everything.
	nearAfter = 500 * time.Millisecond
	// steadyAfter is for how long another node must lead until it hears them, too. That
	// the first two do not have a service lasts; that all lead everything after they heard
	// nobody does not, and would bring each the reports of all services.
	steadyAfter = resendEvery
)

// candidates are those who may lead, and this node even if it is too new to be one of them:
// it hears connections before it takes over. Nobody, if it never leads.
func (s *state) candidates(leaders []string) []string {
	switch {
	case !s.self.Roles.Schedule || s.spec.Scheduling == core.ScheduleLocal:
		return nil
	case slices.Contains(leaders, s.self.Node):
		return leaders
	}
	out := append(slices.Clone(leaders), s.self.Node)
	slices.Sort(out)
	return out
}

// approach notes whether this node is one of the nearest.
func (sv *service) approach(near bool, now time.Time) {
	if !near {
		sv.near = time.Time{}
	} else if sv.near.IsZero() {
		sv.near = now
	}
}

// attend settles of which services the connections of other nodes are heard here.
func (s *state) attend(now time.Time) {
	if !s.acquainted(now) {
		return
	}
	for _, sv := range s.services {
		near, leads := !sv.near.IsZero(), sv.ballot.Leads()
		hears := (near || leads) && sv.hears ||
			near && now.Sub(sv.near) >= nearAfter || leads && now.Sub(later(sv.led, s.quiet)) >= steadyAfter
		if hears != sv.hears {
			sv.hears, s.out.hears = hears, true
		}
	}
}

// acquainted reports whether this node has heard of all who are there. Who has not is near
// to everything in its own eyes: what it hears stays as it is.
func (s *state) acquainted(now time.Time) bool {
	return s.begun && now.Sub(s.started) >= listenFor && !now.Before(s.quiet) && !s.isolated(now)
}

// heard are the services of which the connections of other nodes are heard here, or all.
func (s *state) heard() (services []string, all bool) {
	if s.spec.Scheduling == core.ScheduleLocal {
		return nil, true
	}
	for name, sv := range s.services {
		if sv.hears {
			services = append(services, name)
		}
	}
	return services, len(services) > 0 && len(services) == len(s.services)
}
