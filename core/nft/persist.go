// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"net/netip"
	"slices"

	"github.com/steelyard-lb/steelyard/core"
	"golang.org/x/sys/unix"
)

// Persistence keeps a client on the backend that it got first. A map from clients
// to backends is looked up before the weights are, and written by packets after
// the choice, in the postrouting hook, where the backend is the destination.

const (
	kindSticky    = "sticky"
	kindSticky6   = "sticky6"
	kindPins      = "pins"
	kindPins6     = "pins6"
	kindRemember  = "remember"
	kindRemember6 = "remember6"
)

func byFamily(v6 bool, kind4, kind6 string) string {
	if v6 {
		return kind6
	}
	return kind4
}

// stickyMap is who got whom.
func (c *compiler) stickyMap(v6 bool) *set {
	p := c.s.Persistence
	return define(set{
		name: nameOf(byFamily(v6, kindSticky, kindSticky6), c.s.Name), key: tuple{tAddr(v6)}, data: c.target(v6),
		setDef: setDef{flags: unix.NFT_SET_EVAL, size: p.Size, timeout: p.Timeout},
	})
}

// client is what makes a client: its address, or the first bits of it.
func (c *compiler) client(v6 bool) operand {
	bits := c.s.Persistence.Prefix4
	if v6 {
		bits = c.s.Persistence.Prefix6
	}
	return ipSaddr(v6).masked(bits)
}

// known leads clients back: those that are pinned, and those that are remembered.
func (c *compiler) known() {
	for _, v6 := range c.clientFamilies() {
		if pins := c.pins(v6); pins != nil {
			c.leadBack(v6, ipSaddr(v6).mapped(pins), pins)
		}
		if c.s.Persistence.Timeout > 0 {
			s := c.stickyMap(v6)
			c.f.sets = append(c.f.sets, s)
			c.leadBack(v6, c.client(v6).mapped(s), s)
		}
	}
}

func (c *compiler) leadBack(v6 bool, to operand, s *set) {
	for _, p := range c.protocols() {
		c.rule(l4proto(p), c.send(v6, s, to))
	}
}

// takes reports whether clients of a family can get to a backend.
func (c *compiler) takes(b *core.BackendPlan, v6 bool) bool {
	return c.s.Forwarding == core.Local || b.Addr.Addr().Is6() == v6
}

// persist adds the chains that remember.
func (c *compiler) persist() {
	if c.s.Persistence.Timeout == 0 {
		return
	}
	for _, v6 := range c.clientFamilies() {
		var after []string // the chains that see to the source, each once
		for i := range c.s.Backends {
			b := &c.s.Backends[i]
			if next := c.sourceOf(b); c.takes(b, v6) && !slices.Contains(after, next) {
				after = append(after, next)
			}
		}
		for _, next := range after {
			c.f.chains = append(c.f.chains, chain{name: c.rememberChain(v6, next), rules: c.remember(v6, next)})
		}
	}
}

// rememberChain is where a connection goes once it is counted, on its way to
// next.
func (c *compiler) rememberChain(v6 bool, next string) string {
	return nameOf(byFamily(v6, kindRemember, kindRemember6)+next, c.s.Name)
}

func (c *compiler) remember(v6 bool, next string) []rule {
	s := c.stickyMap(v6)
	value := ipDaddr(v6)
	switch {
	case c.s.Forwarding == core.Local:
		value = thDport()
	case len(s.data) == 2:
		value = concat(value, thDport())
	}
	list := []rule{newRule(renew(s, c.client(v6), value))}
	if next != "" {
		list = append(list, newRule(goTo(next)))
	}
	return list
}

// pinsMap is the clients that always get the same backend.
func (c *compiler) pinsMap(v6 bool) *set {
	return define(set{
		name: nameOf(byFamily(v6, kindPins, kindPins6), c.s.Name), key: tuple{tAddr(v6)}, data: c.target(v6),
		setDef: setDef{flags: unix.NFT_SET_INTERVAL},
	})
}

// pins adds the map of pinned clients and returns it; nil if there are none. Only
// those of live backends are in it, so that it is part of a re-weight.
func (c *compiler) pins(v6 bool) *set {
	if !slices.ContainsFunc(c.s.Pins, func(p core.Pin) bool { return p.Client.Addr().Is6() == v6 }) {
		return nil
	}
	s := c.pinsMap(v6)
	c.f.sets = append(c.f.sets, s)
	for _, span := range pinSpans(c.s, v6) {
		c.f.add(s, elem{
			key: appendAddr(nil, span.first), last: appendAddr(nil, span.last),
			data: appendTarget(nil, s.data, span.to.Addr), comment: span.to.Name,
		})
	}
	return s
}

// A pinSpan is neighbouring addresses pinned to one backend.
type pinSpan struct {
	first, last netip.Addr
	to          *core.BackendPlan
}

// pinSpans lays out the pins of live backends without overlap: of two that cover
// an address, the longer prefix counts, as in a routing table.
func pinSpans(s *core.ServicePlan, v6 bool) []pinSpan {
	c := compiler{s: s}
	var pins []pinSpan
	// The shortest prefix first; each later one is cut out of those before.
	for _, p := range slices.SortedStableFunc(slices.Values(s.Pins), func(a, b core.Pin) int { return a.Client.Bits() - b.Client.Bits() }) {
		i := slices.IndexFunc(s.Backends, func(b core.BackendPlan) bool { return b.Name == p.Backend && c.takes(&b, v6) })
		if i >= 0 && s.Backends[i].Alive && p.Client.Addr().Is6() == v6 {
			pins = append(pins, pinSpan{p.Client.Masked().Addr(), lastAddr(p.Client.Masked()), &s.Backends[i]})
		}
	}
	var out []pinSpan
	for _, p := range pins {
		var rest []pinSpan
		for _, o := range out {
			rest = append(rest, o.without(p)...)
		}
		out = append(rest, p)
	}
	slices.SortFunc(out, func(a, b pinSpan) int { return a.first.Compare(b.first) })
	return out
}

// without is what p has beside o.
func (p pinSpan) without(o pinSpan) (list []pinSpan) {
	if o.last.Less(p.first) || p.last.Less(o.first) {
		return []pinSpan{p}
	}
	if p.first.Less(o.first) {
		list = append(list, pinSpan{p.first, o.first.Prev(), p.to})
	}
	if o.last.Less(p.last) {
		list = append(list, pinSpan{o.last.Next(), p.last, p.to})
	}
	return list
}
