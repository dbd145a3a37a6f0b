// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"github.com/google/nftables/expr"
	"github.com/steelyard-lb/steelyard/core"
	"golang.org/x/sys/unix"
)

// What limits resets and drops invalid packets has to look at every packet: a
// chain after connection tracking, which is there only while a service wants
// it. All other packets leave it after the tests for the two kinds:
//
//	chain guard     ct state invalid goto guarded; tcp flags rst goto guarded
//	chain guarded   finds the service as prerouting does, in maps of its own
//	chain guard-web looks again, and turns away

// The chains of the guard. kindGuard is a service's own.
const (
	chainGuard   = "guard"
	chainGuarded = "guarded"
	kindGuard    = "guard"
)

// guardPriority is after connection tracking (-200) and before the choice (-100).
const guardPriority = -150

// guardSets are the maps from frontends to the services that want a guard.
var guardSets = makeGuardSets()

func makeGuardSets() (all [2][2]*set) {
	for i, v6 := range []bool{false, true} {
		all[i][0] = define(set{name: "guards" + suffix(v6), key: frontKey(v6), verdict: true, setDef: setDef{size: servicesSize}})
		all[i][1] = define(set{name: "rguards" + suffix(v6), key: frontKey(v6), verdict: true, setDef: setDef{flags: unix.NFT_SET_INTERVAL}})
	}
	return all
}

func guardSet(f core.Frontend) *set {
	ranged := 0
	if !f.Exact() {
		ranged = 1
	}
	return guardSets[index(f.Addr().Is6())][ranged]
}

// guardNeeds is what the services of a plan want of the guard.
type guardNeeds struct {
	invalid, resets bool
	fronts          [2][2]bool // by family, and whether they are ranges
}

func guarded(l *core.Limits) bool { return l.Strict || l.ResetsPerClient.PerSecond > 0 }

func (n *guardNeeds) add(s *core.ServicePlan) {
	if !guarded(&s.Limits) {
		return
	}
	n.invalid = n.invalid || s.Limits.Strict
	n.resets = n.resets || s.Limits.ResetsPerClient.PerSecond > 0
	for _, f := range s.Frontends {
		for ranged := range 2 {
			if f.Exact() == (ranged == 0) {
				n.fronts[index(f.Addr().Is6())][ranged] = true
			}
		}
	}
}

// share adds the chains that find the packets and their service.
func (n *guardNeeds) share(f *fragment) {
	if !n.invalid && !n.resets {
		return
	}
	var find, dispatch []rule
	if n.invalid {
		find = append(find, newRule(ctInvalid(), goTo(chainGuarded)))
	}
	if n.resets {
		find = append(find, newRule(tcpReset(), goTo(chainGuarded)))
	}
	for ranged := range 2 {
		for i := range 2 {
			if n.fronts[i][ranged] {
				f.sets = append(f.sets, guardSets[i][ranged])
				dispatch = append(dispatch, dispatchTo(guardSets[i][ranged], i == 1))
			}
		}
	}
	f.chains = append(f.chains, chain{name: chainGuarded, rules: dispatch},
		chain{chainGuard, &hook{"filter", unix.NF_INET_PRE_ROUTING, guardPriority, "prerouting priority mangle"}, find})
}

// guard adds the service's chain for such packets.
func (c *compiler) guard() {
	l := &c.s.Limits
	if !guarded(l) {
		return
	}
	name := nameOf(kindGuard, c.s.Name)
	if l.Strict {
		c.inChain(name, ctInvalid(), c.turn(turnInvalid))
	}
	if l.ResetsPerClient.PerSecond > 0 {
		for _, s := range c.meters(turnResets, meter{rate: l.ResetsPerClient}) {
			c.inChain(name, tcpReset(), ipSaddr(s.key[0] == tIPv6).metered(s), c.turn(turnResets))
		}
	}
	for _, f := range c.s.Frontends {
		e := elem{key: frontFirst(f), verdict: "goto " + name, comment: c.s.Name}
		if !f.Exact() {
			e.last = frontLast(f)
		}
		c.f.add(guardSet(f), e)
	}
}

// Bits of the kernel's NF_CT_STATE and of the TCP header's flags.
const (
	ctStateInvalid = 1
	tcpFlagRST     = 4
)

// ctInvalid is `ct state invalid`.
func ctInvalid() clause {
	zero := make([]byte, 4)
	return clause{text: "ct state invalid", exprs: []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: register(0)},
		&expr.Bitwise{SourceRegister: register(0), DestRegister: register(0), Len: 4, Mask: hostUint32(ctStateInvalid), Xor: zero},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: register(0), Data: zero},
	}}
}

// tcpReset is `tcp flags rst`, with the match of the protocol that nft leaves out.
func tcpReset() clause {
	return clause{text: "tcp flags rst", exprs: append(matchMeta(expr.MetaKeyL4PROTO, core.TCP.Number()),
		&expr.Payload{DestRegister: register(0), Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1},
		&expr.Bitwise{SourceRegister: register(0), DestRegister: register(0), Len: 1, Mask: []byte{tcpFlagRST}, Xor: []byte{0}},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: register(0), Data: []byte{0}},
	)}
}
