// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"fmt"
	"maps"
	"slices"

	"github.com/google/nftables/expr"
	"github.com/steelyard-lb/steelyard/core"
	"golang.org/x/sys/unix"
)

// answerSets are the sources of stateless answers, by family, and whether they are
// ranges; in the first table to keep connection tracking off them, in the second
// as maps to the chains that rewrite them.
var answerSets, answerMaps = makeAnswers(false), makeAnswers(true)

func makeAnswers(verdict bool) (all [2][2]*set) {
	for i, v6 := range []bool{false, true} {
		all[i][0] = define(set{name: "answers" + suffix(v6), key: frontKey(v6), verdict: verdict, setDef: setDef{size: servicesSize}})
		all[i][1] = define(set{name: "ranswers" + suffix(v6), key: frontKey(v6), verdict: verdict, setDef: setDef{flags: unix.NFT_SET_INTERVAL}})
	}
	return all
}

func answerSet(span core.Frontend, verdict bool) *set {
	ranged := 0
	if !span.Exact() {
		ranged = 1
	}
	if verdict {
		return answerMaps[index(span.Addr().Is6())][ranged]
	}
	return answerSets[index(span.Addr().Is6())][ranged]
}

// linkNeeds is what the services of a plan need of the second table.
type linkNeeds struct {
	tracked bool            // some service is in the first table
	devices map[string]bool // by interface: whether answers leave by it, too
	fronts  map[*set]bool
	answers map[core.Frontend]bool // one frontend for each kind
	there   devices                // a chain can be had of these only
}

func (n *linkNeeds) add(s *core.ServicePlan) {
	if !linked(s) {
		n.tracked = true
		return
	}
	if n.devices == nil {
		n.devices, n.fronts, n.answers = map[string]bool{}, map[*set]bool{}, map[core.Frontend]bool{}
	}
	for _, name := range s.Interfaces {
		n.devices[name] = n.devices[name] || s.Forwarding == core.Stateless
	}
	for _, f := range s.Frontends {
		n.fronts[frontSet(f)] = true
		for i := range s.Backends {
			if b := &s.Backends[i]; s.Forwarding == core.Stateless && b.Addr.Addr().Is6() == f.Addr().Is6() {
				n.answers[answerSpan(f, b)] = true
			}
		}
	}
}

// ours reports whether the first table has to look at connections at all: a
// packet pays for its chains, and for connection tracking, that they ask for.
func (n *linkNeeds) ours() bool { return n.tracked || len(n.devices) == 0 }

// share adds the shared part of the second table.
func (n *linkNeeds) share(f *fragment) {
	if len(n.devices) == 0 {
		return
	}
	l := &fragment{netdev: true}
	var in, out, untracked []rule
	for i, s := range []*set{services4, services6, ranges4, ranges6} {
		if v6 := i%2 == 1; n.fronts[s] {
			l.sets = append(l.sets, s)
			in = append(in, newLinkRule(forThisHost(), concat(ipDaddr(v6), metaL4proto(), thDport()).vmap(s)))
		}
	}
	for i := range 4 {
		v6, ranged := i%2 == 1, i/2
		if !n.answersOf(v6, ranged == 1) {
			continue
		}
		set, to := answerSets[index(v6)][ranged], answerMaps[index(v6)][ranged]
		key := concat(ipSaddr(v6), metaL4proto(), thSport())
		f.sets, l.sets = append(f.sets, set), append(l.sets, to)
		out = append(out, newLinkRule(key.vmap(to)))
		untracked = append(untracked, newRule(key.in(set), notrack()))
	}
	for _, name := range slices.Sorted(maps.Keys(n.devices)) {
		if !n.there.has(name) {
			continue
		}
		l.chains = append(l.chains, chain{"ingress." + name, netdevHook("ingress", 0, name), in})
		if n.devices[name] {
			l.chains = append(l.chains, chain{"egress." + name, netdevHook("egress", nfNetdevEgress, name), out})
		}
	}
	if n.tracked && len(untracked) > 0 {
		f.chains = append(f.chains, chain{chainUntracked, &hook{"filter", unix.NF_INET_PRE_ROUTING, -300, "prerouting priority raw"}, untracked})
	}
	f.link = l
}

// forThisHost leaves alone what a switch floods to everybody: the hook is before the
// place where the kernel drops frames for other machines, and another balancer of the
// same addresses forwards them.
func forThisHost() clause {
	return clause{text: "meta pkttype host", exprs: matchMeta(expr.MetaKeyPKTTYPE, unix.PACKET_HOST)}
}

// chainUntracked keeps connection tracking, which other services need, off the
// answers of those that do without: it would see one half of each connection.
const chainUntracked = "untracked"

func (n *linkNeeds) answersOf(v6, ranged bool) bool {
	for span := range n.answers {
		if span.Addr().Is6() == v6 && span.Exact() != ranged {
			return true
		}
	}
	return false
}

func netdevHook(name string, num uint32, device string) *hook {
	return &hook{"filter@" + device, num, 0, fmt.Sprintf("%s device %q priority filter", name, device)}
}
