// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/steelyard-lb/steelyard/core"
)

// droppedOverrides are those of left, by the names of before, that no backend of
// services has any more.
func droppedOverrides(left map[core.BackendID]*core.Override, services map[string]*service) (list []core.Dropped) {
	stay := map[*core.Override]bool{}
	for _, s := range services {
		for _, b := range s.backends {
			stay[b.override] = true
		}
	}
	for _, id := range slices.SortedFunc(maps.Keys(left), compareIDs) {
		if o := left[id]; !stay[o] {
			list = append(list, core.Dropped{Service: id.Service, Backend: id.Backend, Command: o.String(), Why: notConfigured(id)})
		}
	}
	return list
}

// droppedPins are those of left, by the name of the service before, that services
// do not have. was is the name that a service had then.
func droppedPins(left map[string][]core.PinState, services map[string]*service, was func(*service) string) (list []core.Dropped) {
	now := map[string]*service{}
	for _, s := range services {
		now[was(s)] = s
	}
	for _, name := range slices.Sorted(maps.Keys(left)) {
		s := now[name]
		for _, p := range left[name] {
			d := core.Dropped{Service: name, Backend: p.Backend, Command: p.String(), Why: notConfigured(core.BackendID{Service: name, Backend: p.Backend})}
			if s != nil && slices.ContainsFunc(s.pins, func(o core.PinState) bool { return o.Client == p.Client }) {
				continue
			}
			if s != nil && s.find(p.Backend) != nil {
				if err := s.pinnable(p.Pin); err != nil {
					d.Why = err.Error()
				}
			}
			list = append(list, d)
		}
	}
	slices.SortStableFunc(list, func(x, y core.Dropped) int {
		return cmp.Or(cmp.Compare(x.Service, y.Service), cmp.Compare(x.Command, y.Command))
	})
	return list
}

func notConfigured(id core.BackendID) string {
	return fmt.Sprintf("%s is not in the configuration any more", id)
}

// tellDropped tells the log and the world of commands that have ended with what
// they were about.
func (e *Engine) tellDropped(topic string, list []core.Dropped) {
	for _, d := range list {
		e.log.Warn("a command was dropped", "service", d.Service, "backend", d.Backend, "command", d.Command, "why", d.Why)
		e.event(core.Warn, topic, d.Service, d.Backend, d.String())
	}
}
