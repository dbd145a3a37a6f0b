// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"net/netip"
	"slices"

	"github.com/google/nftables/expr"
	"github.com/steelyard-lb/steelyard/core"
	"golang.org/x/sys/unix"
)

// What becomes of a connection's source, after it was counted. Of a service that
// keeps its clients' addresses, some clients are masqueraded all the same: those
// on the backends' own network would be answered directly, past the balancer, by
// an address that they never asked. They are the backends themselves (hairpin),
// and networks that the configuration names.

const (
	chainMasquerade = "masq"
	chainSNAT       = "sources"
	chainArm        = "arm"
)

// snatSets are the addresses that take the client's place, by connection, and
// armSets the clients that are masqueraded, by what they ask for.
var (
	snatSets = [2]*set{snatSet(false), snatSet(true)}
	armSets  = [2]*set{armSet(false), armSet(true)}
)

func snatSet(v6 bool) *set {
	return define(set{name: "sources" + suffix(v6), key: connKey(false, v6), data: tuple{tAddr(v6)}, setDef: setDef{flags: unix.NFT_SET_INTERVAL}})
}

func armSet(v6 bool) *set {
	return define(set{name: "arm" + suffix(v6), key: append(frontKey(v6), tAddr(v6)), setDef: setDef{flags: unix.NFT_SET_INTERVAL}})
}

// sourceOf is the chain that sees to the source of a backend's connections; empty
// if nothing is to be done.
func (c *compiler) sourceOf(b *core.BackendPlan) string {
	switch {
	case b.Forwarding == core.Masquerade:
		return chainMasquerade
	case b.Forwarding == core.SNAT:
		return chainSNAT
	case b.Forwarding == core.DNAT && len(armClients(c.s, b.Addr.Addr().Is6())) > 0:
		return chainArm
	}
	return ""
}

// needSource notes what a backend needs of the shared part.
func (n *needs) needSource(s *core.ServicePlan, f core.Frontend, b *core.BackendPlan) {
	c := compiler{s: s}
	if chain := c.sourceOf(b); chain != "" {
		n.source[sourceRule{chain, f.Protocol, f.Addr().Is6()}] = true
	}
}

// A sourceRule is one of the rules of the chains that see to sources.
type sourceRule struct {
	chain    string
	protocol core.Protocol
	v6       bool
}

// shareSources adds the chains that rewrite sources, and their sets.
func (n needs) shareSources(f *fragment) {
	rules := map[string][]rule{}
	for _, p := range []core.Protocol{core.TCP, core.UDP, core.SCTP} {
		for _, v6 := range []bool{false, true} {
			if n.source[sourceRule{chainMasquerade, p, v6}] {
				rules[chainMasquerade] = []rule{newRule(masquerade())}
			}
			if n.source[sourceRule{chainSNAT, p, v6}] {
				s := snatSets[index(v6)]
				f.share(s)
				rules[chainSNAT] = append(rules[chainSNAT], newRule(l4proto(p), snatTo(v6, connection(v6).mapped(s))))
			}
			if n.source[sourceRule{chainArm, p, v6}] {
				s := armSets[index(v6)]
				f.share(s)
				client := concat(frontend(v6), ctAddr(v6, expr.CtDirOriginal, true))
				rules[chainArm] = append(rules[chainArm], newRule(l4proto(p), client.in(s), masquerade()))
			}
		}
	}
	for _, name := range []string{chainMasquerade, chainSNAT, chainArm} {
		if len(rules[name]) > 0 {
			f.chains = append(f.chains, chain{name: name, rules: rules[name]})
		}
	}
}

// sources adds a service's elements of the sets above.
func (c *compiler) sources() {
	for _, f := range c.s.Frontends {
		v6 := f.Addr().Is6()
		armed := false
		for i := range c.s.Backends {
			b := &c.s.Backends[i]
			if b.Addr.Addr().Is6() != v6 {
				continue
			}
			switch c.sourceOf(b) {
			case chainArm:
				armed = true
			case chainSNAT:
				first, last := answers(f, b.Addr)
				c.f.add(snatSets[index(v6)], elem{
					key: appendEndpoint(frontFirst(f), first), last: appendEndpoint(frontLast(f), last),
					data: appendAddr(nil, b.Source), comment: c.s.Name + "/" + b.Name,
				})
			}
		}
		if armed {
			c.arm(f)
		}
	}
}

// arm adds a frontend's clients that are masqueraded.
func (c *compiler) arm(f core.Frontend) {
	v6 := f.Addr().Is6()
	for _, p := range armClients(c.s, v6) {
		c.f.add(armSets[index(v6)], elem{
			key: appendAddr(frontFirst(f), p.Addr()), last: appendAddr(frontLast(f), lastAddr(p)), comment: c.s.Name,
		})
	}
}

// armClients are the clients of a family, none of them twice: the kernel takes no
// element that lies within another.
func armClients(s *core.ServicePlan, v6 bool) (list []netip.Prefix) {
	add := func(p netip.Prefix) {
		if p.Addr().Is6() == v6 && !slices.ContainsFunc(list, p.Overlaps) {
			list = append(list, p)
		}
	}
	for _, p := range s.MasqueradeFor {
		add(p)
	}
	for i := range s.Backends {
		if a := s.Backends[i].Addr.Addr(); s.Hairpin {
			add(netip.PrefixFrom(a, a.BitLen()))
		}
	}
	return list
}
