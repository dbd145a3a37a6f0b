// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"net/netip"
	"slices"

	"github.com/google/nftables/expr"
	"github.com/steelyard-lb/steelyard/core"
)

// answerSpan is what an answer of a backend bears, as a frontend.
func answerSpan(f core.Frontend, b *core.BackendPlan) core.Frontend {
	span := core.Frontend{VIP: netip.PrefixFrom(b.Addr.Addr(), b.Addr.Addr().BitLen()), Ports: f.Ports, Protocol: f.Protocol}
	if b.Addr.Port() != 0 {
		span.Ports = core.OnePort(b.Addr.Port())
	}
	return span
}

// answers gives the answers of the backends the service's address again. For
// the table that tracks connections they are marked as none of its business.
func (c *linker) answers(main *fragment) {
	back, bare := nameOf(kindBack, c.s.Name), nameOf(kindBareBck, c.s.Name)
	for _, v6 := range c.families() {
		vip := c.vip(v6)
		c.inChain(back, setAddr(v6, true, constant(vip.String(), vip.AsSlice())))
	}
	for _, p := range c.protocols() {
		if !c.translates() {
			break
		}
		// The same of all frontends of the protocol: see checkLink.
		i := slices.IndexFunc(c.s.Frontends, func(f core.Frontend) bool { return f.Protocol == p })
		port := c.s.Frontends[i].Ports.First
		if p == core.UDP {
			c.inChain(bare, setPort("", true, port), accept())
			c.inChain(back, hidden(l4proto(p)), udpChecksum(expr.CmpOpEq), goTo(bare))
		}
		c.inChain(back, hidden(l4proto(p)), setPort(p, true, port), accept())
	}
	for _, f := range c.s.Frontends {
		for i := range c.s.Backends {
			b := &c.s.Backends[i]
			if b.Addr.Addr().Is6() != f.Addr().Is6() {
				continue
			}
			span := answerSpan(f, b)
			e := elem{key: frontFirst(span), comment: c.s.Name + "/" + b.Name}
			if !span.Exact() {
				e.last = frontLast(span)
			}
			main.add(answerSet(span, false), e)
			e.verdict = "goto " + back
			c.f.add(answerSet(span, true), e)
		}
	}
}

// vip is the one address of a family.
func (c *linker) vip(v6 bool) netip.Addr {
	for _, f := range c.s.Frontends {
		if f.Addr().Is6() == v6 {
			return f.Addr()
		}
	}
	return netip.Addr{}
}
