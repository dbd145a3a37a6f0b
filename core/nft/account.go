// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"net/netip"

	"github.com/google/nftables/expr"
	"github.com/steelyard-lb/steelyard/core"
	"golang.org/x/sys/unix"
)

// An accountRule is one of the rules that count a connection after the choice, and
// lead to what else is done with it. There is a rule for each kind that a plan
// has, since each that does not match costs a new connection a few instructions.
type accountRule struct {
	local    bool // to a port of this node
	ranged   bool // of ports or addresses that are not known one by one
	protocol core.Protocol
	v6       bool
}

// accountRuleOf is the rule that finds a backend's connections of a frontend.
func accountRuleOf(f core.Frontend, b *core.BackendPlan) accountRule {
	return accountRule{b.Forwarding == core.Local, !f.Exact(), f.Protocol, f.Addr().Is6()}
}

// serves reports whether connections of a frontend can go to a backend.
func serves(b *core.BackendPlan, f core.Frontend) bool {
	return b.Forwarding == core.Local || b.Addr.Addr().Is6() == f.Addr().Is6()
}

// A connKind tells the maps of connections apart.
type connKind struct{ local, ranged, v6 bool }

// connSets are the maps of connections, which count them and say what is to be
// done: nothing more, or go to another chain.
var connSets = func() connMaps {
	all := connMaps{}
	for _, v6 := range []bool{false, true} {
		for name, local := range map[string]bool{"conns": false, "local": true} {
			key := connKey(local, v6)
			all[connKind{local, false, v6}] = define(set{name: name + suffix(v6), key: key, verdict: true, setDef: setDef{size: connsSize, counter: true}})
			all[connKind{local, true, v6}] = define(rangedSet("r"+name+suffix(v6), key, true))
		}
	}
	return all
}()

// connKinds are what the maps of connections hold, by name.
var connKinds = func() map[string]connKind {
	all := map[string]connKind{}
	for kind, s := range connSets {
		all[s.name] = kind
	}
	return all
}()

func (r accountRule) kind() connKind { return connKind{r.local, r.ranged, r.v6} }

func (r accountRule) set() *set { return connSets[r.kind()] }

// rangedSet is a map of connections whose ports or addresses are not known one by
// one.
func rangedSet(name string, key tuple, counter bool) set {
	return set{name: name, key: key, verdict: true, setDef: setDef{flags: unix.NFT_SET_INTERVAL, counter: counter}}
}

func suffix(v6 bool) string {
	if v6 {
		return "6"
	}
	return "4"
}

// connKey is what the client asked for and who will answer; of this node itself
// only the port is known.
func connKey(local, v6 bool) tuple {
	if local {
		return append(frontKey(v6), tPort)
	}
	return append(frontKey(v6), tAddr(v6), tPort)
}

// accountRules are the rules that a plan needs, in the order of what is likely.
func (n needs) accountRules(local bool) (list []accountRule) {
	for _, ranged := range []bool{false, true} {
		for _, p := range []core.Protocol{core.TCP, core.UDP, core.SCTP} {
			for _, v6 := range []bool{false, true} {
				if r := (accountRule{local, ranged, p, v6}); n.account[r] {
					list = append(list, r)
				}
			}
		}
	}
	return list
}

// shareAccount adds the chains that count, and their maps.
func (n needs) shareAccount(f *fragment) {
	f.chains = append(f.chains, chain{chainAccount, &hook{"nat", unix.NF_INET_POST_ROUTING, 99, "postrouting priority srcnat - 1"}, n.countRules(f, false)})
	if local := n.countRules(f, true); len(local) > 1 {
		f.chains = append(f.chains, chain{chainAccountLocal, &hook{"nat", unix.NF_INET_LOCAL_IN, 99, "input priority 99"}, local})
	}
	n.shareSources(f)
}

func (n needs) countRules(f *fragment, local bool) []rule {
	rules := []rule{newRule(notDNAT(), accept())}
	for _, r := range n.accountRules(local) {
		f.share(r.set())
		rules = append(rules, r.rule())
	}
	return rules
}

// share adds a set unless it is there.
func (f *fragment) share(s *set) {
	if f.set(s.name) == nil {
		f.sets = append(f.sets, s)
	}
}

// rule looks the connection up by what the client asked for and by who will
// answer; the lookup counts, and its verdict ends the chain, so that a service
// without more costs one lookup.
//
// The backend is taken from the reply's tuple and not from the packet, because
// nft cannot read its own listing of the latter again.
func (r accountRule) rule() rule { return r.find(r.set()) }

// find looks the connection up in any such map.
func (r accountRule) find(s *set) rule {
	key := connection(r.v6)
	if r.local {
		key = concat(frontend(r.v6), ctPort(expr.CtDirReply, true))
	}
	return newRule(l4proto(r.protocol), key.vmap(s))
}

// connection is the key of the sets of connections.
func connection(v6 bool) operand {
	return concat(frontend(v6), ctAddr(v6, expr.CtDirReply, true), ctPort(expr.CtDirReply, true))
}

// frontend is what the client asked for.
func frontend(v6 bool) operand {
	return concat(ctAddr(v6, expr.CtDirOriginal, false), metaL4proto(), ctPort(expr.CtDirOriginal, false))
}

// account adds what counts each backend's connections.
func (c *compiler) account() {
	c.eachConn(func(f core.Frontend, b *core.BackendPlan) { c.addConn(connSets, f, b, c.afterwards(f, b)) })
}

// elem is the key of a backend's connections of a frontend.
func (r accountRule) elem(f core.Frontend, backend netip.AddrPort) (e elem) {
	first, last := answers(f, backend)
	if r.local {
		e.key, e.last = appendPort(frontFirst(f), first.Port()), appendPort(frontLast(f), last.Port())
	} else {
		e.key, e.last = appendEndpoint(frontFirst(f), first), appendEndpoint(frontLast(f), last)
	}
	if !r.ranged {
		e.last = nil
	}
	return e
}

// afterwards is what is done with a connection once it is counted.
func (c *compiler) afterwards(f core.Frontend, b *core.BackendPlan) string {
	if c.s.Persistence.Timeout > 0 {
		return "goto " + c.rememberChain(f.Addr().Is6(), c.sourceOf(b))
	}
	if chain := c.sourceOf(b); chain != "" {
		return "goto " + chain
	}
	return "accept"
}

// answers is where the answers to a frontend come from: one address, and one port
// unless the client's is kept.
func answers(f core.Frontend, a netip.AddrPort) (first, last netip.AddrPort) {
	if a.Port() != 0 {
		return a, a
	}
	return netip.AddrPortFrom(a.Addr(), f.Ports.First), netip.AddrPortFrom(a.Addr(), f.Ports.Last)
}
