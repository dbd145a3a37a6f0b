// SPDX-License-Identifier: Apache-2.0

package nft

import "github.com/steelyard-lb/steelyard/core"

// What has to see every packet of a connection, and not the first alone, stands
// in chains of its own, which are there only while a service asks for it. They
// find the connection as the chain that counts does, in maps of theirs: by what
// the client asked for and by who answers, in both directions alike. A packet of
// another service costs one lookup, one that is not balanced a look at its
// connection's status.

// connMaps are the maps from connections to what is done with their packets.
type connMaps map[connKind]*set

func makeConnMaps(name string, counter bool) connMaps {
	all := connMaps{}
	for _, v6 := range []bool{false, true} {
		for _, local := range []bool{false, true} {
			full := name + suffix(v6)
			if local {
				full = name + "local" + suffix(v6)
			}
			key := connKey(local, v6)
			all[connKind{local, false, v6}] = define(set{name: full, key: key, verdict: true, setDef: setDef{size: connsSize, counter: counter}})
			all[connKind{local, true, v6}] = define(rangedSet("r"+full, key, counter))
		}
	}
	return all
}

// A packetNeed is which of the maps a plan's services look into, and by which
// rules.
type packetNeed map[accountRule]bool

// add notes a backend's connections of a frontend.
func (n packetNeed) add(f core.Frontend, b *core.BackendPlan) { n[accountRuleOf(f, b)] = true }

// local reports whether any connection ends on this node.
func (n packetNeed) local() bool {
	for r := range n {
		if r.local {
			return true
		}
	}
	return false
}

// share adds the maps that are needed, and returns the rules that look into them.
func (n packetNeed) share(f *fragment, maps connMaps) (rules []rule) {
	for _, ranged := range []bool{false, true} {
		for _, p := range []core.Protocol{core.TCP, core.UDP, core.SCTP} {
			for _, v6 := range []bool{false, true} {
				for _, local := range []bool{false, true} {
					r := accountRule{local, ranged, p, v6}
					if n[r] {
						s := maps[r.kind()]
						f.share(s)
						rules = append(rules, r.find(s))
					}
				}
			}
		}
	}
	return rules
}

// needPackets notes what a backend needs of the chains for every packet.
func (n *needs) needPackets(s *core.ServicePlan, f core.Frontend, b *core.BackendPlan) {
	if !b.Forwarding.Tracked() {
		return
	}
	n.qos.add(f, b)
	if s.Bytes {
		n.bytes.add(f, b)
	}
}

// eachConn calls f for every kind of connection that the service's backends have.
func (c *compiler) eachConn(each func(f core.Frontend, b *core.BackendPlan)) {
	for _, f := range c.s.Frontends {
		for i := range c.s.Backends {
			if b := &c.s.Backends[i]; serves(b, f) && b.Forwarding.Tracked() {
				each(f, b)
			}
		}
	}
}

// addConn adds the element of a backend's connections of a frontend.
func (c *compiler) addConn(maps connMaps, f core.Frontend, b *core.BackendPlan, verdict string) {
	r := accountRuleOf(f, b)
	e := r.elem(f, b.Addr)
	e.comment, e.verdict = c.s.Name+"/"+b.Name, verdict
	c.f.add(maps[r.kind()], e)
}
