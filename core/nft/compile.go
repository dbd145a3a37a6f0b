// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"github.com/steelyard-lb/steelyard/core"
)

// A compiler turns one service of a plan into its part of the table.
type compiler struct {
	s    *core.ServicePlan
	f    *fragment
	seat seat
}

// compile is the service's part of the table. The service must be one that
// checkService has let pass.
func compile(s *core.ServicePlan) *fragment { return compileAt(s, seat{}) }

// compileAt is compile for a service with that seat.
func compileAt(s *core.ServicePlan, at seat) *fragment {
	if linked(s) {
		return compileLink(s, dealsOf(s, [2]*deal{}, nil, 0), nil)
	}
	c := compiler{s, &fragment{name: s.Name}, at}
	c.filter()
	c.limits()
	c.helper()
	c.known()
	c.choose()
	c.refuse()
	c.account()
	c.sources()
	c.persist()
	c.guard()
	c.qos()
	c.bytes()
	c.offload()
	c.frontends() // last: nothing leads to a chain that is not complete
	return c.f
}

// compileWeights is only what a re-weight touches.
func compileWeights(s *core.ServicePlan, at seat) *fragment {
	c := compiler{s, &fragment{name: s.Name}, at}
	for _, v6 := range c.families() {
		c.weights(v6)
	}
	for _, v6 := range c.clientFamilies() {
		c.pins(v6)
	}
	return c.f
}

// families are those of the weights maps: of the frontends, but for a service
// whose backends are ports of this node, which are of both.
func (c *compiler) families() (list []bool) {
	for _, v6 := range []bool{false, true} {
		for _, f := range c.s.Frontends {
			if f.Addr().Is6() == v6 || c.s.Forwarding == core.Local {
				list = append(list, v6)
				break
			}
		}
		if c.s.Forwarding == core.Local {
			break
		}
	}
	return list
}

// protocols are those of the frontends.
func (c *compiler) protocols() (list []core.Protocol) {
	for _, p := range []core.Protocol{core.TCP, core.UDP, core.SCTP} {
		for _, f := range c.s.Frontends {
			if f.Protocol == p {
				list = append(list, p)
				break
			}
		}
	}
	return list
}

// rule appends a rule to the service's chain.
func (c *compiler) rule(list ...clause) {
	c.inChain(chainName(c.s.Name), list...)
}

// target is the type of what the weights map leads to.
func (c *compiler) target(v6 bool) tuple {
	if c.s.Forwarding == core.Local {
		return tuple{tPort}
	}
	for i := range c.s.Backends {
		if b := &c.s.Backends[i]; b.Addr.Addr().Is6() == v6 && b.Addr.Port() == 0 {
			return tuple{tAddr(v6)}
		}
	}
	return tuple{tAddr(v6), tPort}
}

// choose is `meta l4proto tcp dnat ip to numgen random mod 65536 map @w-web`.
// Where the map has no element for the number, the rule ends there.
func (c *compiler) choose() {
	for _, v6 := range c.families() {
		maps := c.weights(v6)
		for _, client := range c.hashed(v6) {
			number := c.number(v6, client)
			for _, p := range c.protocols() {
				for _, s := range maps {
					c.rule(l4proto(p), c.send(v6, s, number.mapped(s)))
				}
			}
		}
	}
}

// hashed are the families of the clients that a map is for, as far as a hash has to
// tell them apart: of one map for the ports of this node, both.
func (c *compiler) hashed(v6 bool) []bool {
	if c.s.Forwarding == core.Local && c.s.Distribution == core.Hash {
		return c.clientFamilies()
	}
	return []bool{v6}
}

// send leads a packet to what was found for it in a map.
func (c *compiler) send(v6 bool, of *set, found operand) clause {
	if c.s.Forwarding == core.Local {
		return redirectTo(found)
	}
	return dnatTo(v6, len(of.data) == 2, found)
}

// refuse counts and answers what choose let fall through:
// `meta l4proto tcp counter name "refused-web" reject with tcp reset`.
func (c *compiler) refuse() {
	name := refusedName(c.s.Name)
	c.f.objects = append(c.f.objects, newCounter(name))
	c.answer(chainName(c.s.Name), name, c.s.OnEmpty)
}

// frontends leads to the service's chain.
func (c *compiler) frontends() {
	for _, f := range c.s.Frontends {
		e := elem{key: frontFirst(f), verdict: "goto " + chainName(c.s.Name), comment: c.s.Name}
		if !f.Exact() {
			e.last = frontLast(f)
		}
		c.f.add(frontSet(f), e)
	}
}

func frontFirst(f core.Frontend) []byte {
	return appendPort(appendProto(appendAddr(nil, f.Addr()), f.Protocol.Number()), f.Ports.First)
}

func frontLast(f core.Frontend) []byte {
	return appendPort(appendProto(appendAddr(nil, lastAddr(f.VIP)), f.Protocol.Number()), f.Ports.Last)
}
