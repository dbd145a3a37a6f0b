// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"slices"

	"github.com/steelyard-lb/steelyard/core"
	"golang.org/x/sys/unix"
)

// Sizes of the shared sets, in elements. A size makes the kernel take a hash
// with a fixed number of buckets, whose dump is exact while elements come and
// go; the growing one may skip some then. The price is about 11 MiB of kernel
// memory for each set of connections, and that a full set refuses more.
const (
	servicesSize = 32768
	connsSize    = 262144
)

// frontKey is what a packet is looked up by.
func frontKey(v6 bool) tuple { return tuple{tAddr(v6), tProto, tPort} }

var (
	services4 = define(set{name: "services4", key: frontKey(false), verdict: true, setDef: setDef{size: servicesSize}})
	services6 = define(set{name: "services6", key: frontKey(true), verdict: true, setDef: setDef{size: servicesSize}})
	ranges4   = define(set{name: "ranges4", key: frontKey(false), verdict: true, setDef: setDef{flags: unix.NFT_SET_INTERVAL}})
	ranges6   = define(set{name: "ranges6", key: frontKey(true), verdict: true, setDef: setDef{flags: unix.NFT_SET_INTERVAL}})
)

// frontSet is the map that leads from a frontend to its service.
func frontSet(f core.Frontend) *set {
	v6 := f.Addr().Is6()
	switch {
	case f.Exact() && v6:
		return services6
	case f.Exact():
		return services4
	case v6:
		return ranges6
	}
	return ranges4
}

// needs is what the services of a plan need of the part that they share.
type needs struct {
	localClients bool
	ranges       [2]bool // by family
	account      map[accountRule]bool
	guard        guardNeeds
	source       map[sourceRule]bool
	qos          qosNeeds
	bytes        packetNeed
	offload      map[offloadRule]bool
	devices      []string // of offload
	groups       []*set   // weights maps that services share
	link         linkNeeds
}

func newNeeds(localClients bool, devices []string) needs {
	return needs{localClients: localClients, account: map[accountRule]bool{}, source: map[sourceRule]bool{}, qos: newQoSNeeds(), bytes: packetNeed{},
		offload: map[offloadRule]bool{}, devices: devices}
}

// needsOf adds up what services need.
func needsOf(plan *core.Plan) needs {
	n := newNeeds(plan.LocalClients, plan.OffloadDevices)
	for i := range plan.Services {
		n.add(&plan.Services[i])
	}
	return n
}

func (n *needs) add(s *core.ServicePlan) {
	if n.link.add(s); linked(s) {
		return
	}
	n.guard.add(s)
	n.needOffload(s)
	for _, f := range s.Frontends {
		if !f.Exact() {
			n.ranges[index(f.Addr().Is6())] = true
		}
		for i := range s.Backends {
			if b := &s.Backends[i]; serves(b, f) {
				n.account[accountRuleOf(f, b)] = true
				n.needSource(s, f, b)
				n.needPackets(s, f, b)
			}
		}
	}
}

// sit notes the map that a service shares.
func (n *needs) sit(s *core.ServicePlan, at seat) {
	if !at.shared() || slices.ContainsFunc(n.groups, func(g *set) bool { return g.name == at.group }) {
		return
	}
	n.groups = append(n.groups, groupSet(at.group, s))
	if at.spare {
		n.groups = append(n.groups, groupSet(spareOf(at.group), s))
	}
}

func index(v6 bool) int {
	if v6 {
		return 1
	}
	return 0
}

// compileShared is the part of the table that does not belong to one service.
func compileShared(n needs) *fragment {
	f := &fragment{sets: []*set{services4, services6}}
	dispatch := []rule{dispatchTo(services4, false), dispatchTo(services6, true)}
	for i, s := range []*set{ranges4, ranges6} {
		if n.ranges[i] {
			f.sets = append(f.sets, s)
			// After the exact ones, which lead away for good: only what they do
			// not know is looked up here.
			dispatch = append(dispatch, dispatchTo(s, i == 1))
		}
	}
	if n.link.ours() {
		f.chains = append(f.chains, chain{chainPrerouting, &hook{"nat", unix.NF_INET_PRE_ROUTING, -100, "prerouting priority dstnat"}, dispatch})
		if n.localClients {
			f.chains = append(f.chains, chain{chainOutput, &hook{"nat", unix.NF_INET_LOCAL_OUT, -100, "output priority -100"}, dispatch})
		}
		n.shareAccount(f)
		n.guard.share(f)
		n.qos.share(f, n.localClients)
		n.shareBytes(f)
		n.shareOffload(f)
	}
	f.sets = append(f.sets, n.groups...)
	n.link.share(f)
	return f
}

// dispatchTo is `ip daddr . meta l4proto . th dport vmap @services4`, or its
// twins.
func dispatchTo(s *set, v6 bool) rule {
	return newRule(concat(ipDaddr(v6), metaL4proto(), thDport()).vmap(s))
}
