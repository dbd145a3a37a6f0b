// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"net/netip"

	"github.com/steelyard-lb/steelyard/core"
)

// plan is the service as the kernel should carry it now.
func (s *service) plan() core.ServicePlan {
	return core.ServicePlan{Name: s.spec.Name, Traffic: s.traffic(), Backends: s.planBackends(make([]core.BackendPlan, 0, len(s.backends)))}
}

// planBackends appends the backends of the plan.
func (s *service) planBackends(to []core.BackendPlan) []core.BackendPlan {
	v4, v6 := s.slotsOf(false), s.slotsOf(true)
	for i, b := range s.backends {
		for _, a := range b.addrs() {
			if !a.addr.IsValid() {
				continue
			}
			bp := core.BackendPlan{
				Name: b.spec.Name, Addr: a.addr, Slots: v4[i], Alive: b.alive(s.slots[i]),
				Forwarding: s.forwarding(b), QoS: over(b.spec.QoS, s.spec.QoS),
			}
			if is6(a.addr) {
				bp.Slots = v6[i]
			}
			switch bp.Forwarding {
			case core.SNAT:
				bp.Source = s.source(b, a.addr)
			case core.DSR:
				bp.Hop = a.hop
			}
			to = append(to, bp)
		}
	}
	return to
}

// An endpoint is one address of a backend, with the way to it if it is of dsr.
type endpoint struct {
	addr netip.AddrPort
	hop  core.Hop
}

// addrs are the addresses of a backend, IPv4 first; one of them may be invalid.
func (b *backend) addrs() [2]endpoint {
	first, alt := endpoint{b.spec.Addr, b.hop}, endpoint{b.spec.Alt, b.altHop}
	if is6(first.addr) {
		return [2]endpoint{alt, first}
	}
	return [2]endpoint{first, alt}
}

func is6(a netip.AddrPort) bool { return !a.Addr().Unmap().Is4() }

// slotsOf are the slots per backend that a client of a family is balanced by.
// Where every backend has an address of that family these are the slots of the
// decision, else they are shared out again among those that have one.
func (s *service) slotsOf(v6 bool) []uint32 {
	all, one := true, false
	for i, b := range s.backends {
		if s.reaches(b, v6) {
			one = true
		} else if s.slots[i] > 0 {
			all = false
		}
	}
	switch {
	case all:
		return s.slots
	case !one:
		return make([]uint32, len(s.slots))
	}
	shares := make([]float64, len(s.backends))
	for i, b := range s.backends {
		if s.reaches(b, v6) {
			shares[i] = float64(s.slots[i])
		}
	}
	return core.Quantize(shares)
}

// reaches reports whether a backend can be sent packets of a family: it has such
// an address, and if it is of dsr its link address is known.
func (s *service) reaches(b *backend, v6 bool) bool {
	for _, a := range b.addrs() {
		if a.addr.IsValid() && is6(a.addr) == v6 && (s.forwarding(b) != core.DSR || a.hop != core.Hop{}) {
			return true
		}
	}
	return false
}

// alive reports whether clients that are bound to the backend stay bound. Those
// of a sorry server go back to the service as soon as that has a backend again.
func (b *backend) alive(slots uint32) bool {
	return slots > 0 || b.health != core.Down && !b.spec.Sorry
}

func (s *service) forwarding(b *backend) core.Forwarding {
	if b.spec.Forwarding != "" { // of each backend several times a decision: not cmp.Or
		return b.spec.Forwarding
	}
	return s.spec.Forwarding
}

// source is the address that snat puts in place of the client's.
func (s *service) source(b *backend, addr netip.AddrPort) netip.Addr {
	own := b.spec.Source
	switch {
	case own.IsValid() && own.Is4() != is6(addr):
		return own
	case is6(addr):
		return s.spec.Source6
	}
	return s.spec.Source4
}

// over is the QoS of a backend on top of the service's.
func over(b, s core.QoS) core.QoS {
	if b.DSCP != nil {
		s.DSCP = b.DSCP
	}
	if b.Priority != nil {
		s.Priority = b.Priority
	}
	s.Mark, s.Mask = s.Mark&^b.Mask|b.Mark, s.Mask|b.Mask
	return s
}
