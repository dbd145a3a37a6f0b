// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/steelyard-lb/steelyard/core"
)

// A previewer makes the plan of one service.
type previewer struct {
	held    *inForceIndex
	left    bool // a table that a daemon left behind is all there is
	windows []*window
	spec    core.Service
	s       *service
	from    *service          // as it was configured; nil if it is new, or if that is not known
	carried *core.ServicePlan // as it is in force; nil if it is not
}

// backend is one of the service: as well as it is in force, up if it is new.
func (p *previewer) backend(b core.Backend) *backend {
	n := &backend{id: core.BackendID{Service: p.spec.Name, Backend: b.Name}, spec: &b, health: core.Up}
	if p.from != nil {
		n.override = inheritedFrom(p.from, p.spec, b)
	} else if p.left {
		n.override = p.held.overrides[n.id]
	}
	n.window = windowOf(p.windows, n.id)
	if h := p.heldAt(b.Addr); h != nil {
		n.hop = h.Hop
		if !h.Alive && !b.Sorry {
			n.health = core.Down
		}
	} else if p.untold() {
		n.health = core.Down
	}
	if h := p.heldAt(b.Alt); h != nil {
		n.altHop = h.Hop
	}
	return n
}

// untold reports whether a backend that the table does not know may be one that
// is down: of dsr it keeps those only that frames can be sent to.
func (p *previewer) untold() bool {
	return p.left && p.carried != nil && p.spec.Forwarding == core.DSR
}

func (p *previewer) plan() core.ServicePlan {
	in := make([]core.ShapeBackend, 0, len(p.s.backends))
	for _, b := range p.s.backends {
		in = append(in, p.shapeInput(b))
	}
	shares := make([]float64, len(in))
	for i, shaped := range core.Shape(p.spec.Shaping, p.spec.MinUp, in, core.Free) {
		shares[i] = shaped.Share
	}
	p.s.slots = core.Quantize(shares)
	out := p.s.plan()
	if p.weighsTheSame() {
		for i := range out.Backends {
			b := &out.Backends[i]
			if b.Slots, b.Alive = 0, false; p.heldAt(b.Addr) != nil {
				h := p.heldAt(b.Addr)
				b.Slots, b.Alive = h.Slots, h.Alive
			}
		}
	}
	return out
}

func (p *previewer) heldAt(addr netip.AddrPort) *core.BackendPlan {
	if p.carried == nil || !addr.IsValid() {
		return nil
	}
	for i := range p.carried.Backends {
		if p.carried.Backends[i].Addr == addr {
			return &p.carried.Backends[i]
		}
	}
	return nil
}

// weighsTheSame reports whether nothing that weighs has changed: each address is
// there, as before, and none is new.
func (p *previewer) weighsTheSame() bool {
	if p.carried == nil {
		return false
	}
	n := 0
	for _, b := range p.s.backends {
		for _, a := range b.addrs() {
			switch {
			case !a.addr.IsValid():
			case p.heldAt(a.addr) != nil:
				n++
			case !p.untold():
				return false
			}
		}
		if o := p.from.at(b.spec.Addr); p.from != nil && (o == nil || o.spec.Weight != b.spec.Weight || o.spec.Priority != b.spec.Priority || o.spec.Sorry != b.spec.Sorry) {
			return false
		}
	}
	return n == len(p.carried.Backends) && (p.from == nil || p.from.spec.MinUp == p.spec.MinUp)
}

// shapeInput takes the share in force for the policy's opinion.
func (p *previewer) shapeInput(b *backend) core.ShapeBackend {
	in := core.ShapeBackend{
		Weight: b.weight(), Health: b.health, UpFor: -1, Drained: b.drained(),
		Priority: b.spec.Priority, Sorry: b.spec.Sorry, MaxConnections: b.spec.MaxConnections,
	}
	h, before := p.heldAt(b.spec.Addr), in.Weight
	if o := p.from.at(b.spec.Addr); o != nil {
		before = o.weight()
	}
	in.Opinion = float64(in.Weight)
	if h != nil && h.Slots > 0 {
		in.Opinion = float64(h.Slots) / core.Slots * p.serving() * float64(in.Weight) / float64(max(before, 1))
	}
	in.Full = h != nil && h.Alive && h.Slots == 0 && b.spec.MaxConnections > 0 && !in.Drained
	return in
}

// serving is the weight of the backends that are served now, which is what their
// shares are parts of.
func (p *previewer) serving() (sum float64) {
	for i := range p.carried.Backends {
		h := &p.carried.Backends[i]
		if h.Slots == 0 {
			continue
		}
		weight := uint32(1)
		if p.from != nil {
			if j := slices.IndexFunc(p.from.backends, func(b *backend) bool { return b.spec.Addr == h.Addr }); j >= 0 {
				weight = p.from.backends[j].weight()
			}
		}
		sum += float64(cmp.Or(weight, 1))
	}
	return sum
}
