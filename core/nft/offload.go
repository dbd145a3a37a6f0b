// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"fmt"
	"slices"

	"github.com/google/nftables/expr"
	"github.com/steelyard-lb/steelyard/core"
	"golang.org/x/sys/unix"
)

// Offload hands established connections to a flowtable. A chain in the forward
// hook, after filters of the administrator's at the usual priority, looks at the
// packets that still come by: those of services with offload are handed over with
// the first that is part of an established connection, and their successors are
// not seen here again until the connection ends.
//
// A kernel without flowtables carries such services all the same.

const (
	chainOffload = "offloads"
	nameFlows    = "flows"
)

// offloadPriority is after "filter", at 0.
const offloadPriority = 10

// offloadSets are the frontends whose connections are handed over, by family and
// by whether they are ranges.
var offloadSets = makeOffloadSets()

func makeOffloadSets() (all [2][2]*set) {
	for i, v6 := range []bool{false, true} {
		all[i][0] = define(set{name: "offload" + suffix(v6), key: frontKey(v6), setDef: setDef{size: servicesSize}})
		all[i][1] = define(set{name: "roffload" + suffix(v6), key: frontKey(v6), setDef: setDef{flags: unix.NFT_SET_INTERVAL}})
	}
	return all
}

func offloadSet(f core.Frontend) *set { return offloadSets[index(f.Addr().Is6())][index(!f.Exact())] }

// An offloadRule finds the connections of one kind of frontends.
type offloadRule struct {
	v6, ranged bool
	protocol   core.Protocol
}

// offloaded are the frontends of a service whose connections are handed over. A
// flowtable knows TCP and UDP, and what is forwarded.
func offloaded(s *core.ServicePlan) (list []core.Frontend) {
	if !s.Offload || s.Forwarding == core.Local || !s.Forwarding.Tracked() {
		return nil
	}
	for _, f := range s.Frontends {
		if f.Protocol != core.SCTP {
			list = append(list, f)
		}
	}
	return list
}

// needOffload notes what a service needs of the shared part.
func (n *needs) needOffload(s *core.ServicePlan) {
	for _, f := range offloaded(s) {
		n.offload[offloadRule{f.Addr().Is6(), !f.Exact(), f.Protocol}] = true
	}
}

// shareOffload adds the flowtable and the chain that fills it.
func (n needs) shareOffload(f *fragment) {
	if len(n.offload) == 0 {
		return
	}
	f.flow = &flowtable{nameFlows, slices.Compact(slices.Sorted(slices.Values(n.devices)))}
	var rules []rule
	for _, ranged := range []bool{false, true} {
		for _, p := range []core.Protocol{core.TCP, core.UDP} {
			for _, v6 := range []bool{false, true} {
				if n.offload[offloadRule{v6, ranged, p}] {
					s := offloadSets[index(v6)][index(ranged)]
					f.share(s)
					rules = append(rules, newRule(ctEstablished(), l4proto(p), frontend(v6).in(s), flowAdd(nameFlows)))
				}
			}
		}
	}
	f.chains = append(f.chains, chain{chainOffload, &hook{"filter", unix.NF_INET_FORWARD, offloadPriority, "forward priority filter + 10"}, rules})
}

// offload adds the service's frontends.
func (c *compiler) offload() {
	for _, f := range offloaded(c.s) {
		e := elem{key: frontFirst(f), comment: c.s.Name}
		if !f.Exact() {
			e.last = frontLast(f)
		}
		c.f.add(offloadSet(f), e)
	}
}

// ctStateEstablished is a bit of the kernel's NF_CT_STATE.
const ctStateEstablished = 2

// ctEstablished is `ct state established`.
func ctEstablished() clause {
	zero := make([]byte, 4)
	return clause{text: "ct state established", exprs: []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: register(0)},
		&expr.Bitwise{SourceRegister: register(0), DestRegister: register(0), Len: 4, Mask: hostUint32(ctStateEstablished), Xor: zero},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: register(0), Data: zero},
	}}
}

// flowAdd is `flow add @flows`. It matches whether or not the flow was taken.
func flowAdd(name string) clause {
	return clause{text: "flow add @" + name, exprs: []expr.Any{&expr.FlowOffload{Name: name}}}
}

// able is the service as this kernel can carry it: without offload where there are
// no flowtables, and silent where packets off the link cannot be rejected.
func (a *Applier) able(s *core.ServicePlan) *core.ServicePlan { return able(a.features, s) }

func able(features []core.Feature, s *core.ServicePlan) *core.ServicePlan {
	if s.Traffic == nil {
		return s
	}
	t := *s.Traffic
	t.Offload = s.Offload && !lacks(features, featureFlowtable)
	if linked(s) && lacks(features, featureReject) {
		t.OnEmpty = core.Drop
	}
	if t.Offload == s.Offload && t.OnEmpty == s.OnEmpty {
		return s
	}
	c := *s
	c.Traffic = &t
	return &c
}

// Able is a plan as a kernel with these features carries it: what a service goes
// without, rather than being refused, is left out.
func Able(plan core.Plan, features []core.Feature) core.Plan {
	plan.Services = slices.Clone(plan.Services)
	for i := range plan.Services {
		plan.Services[i] = *able(features, &plan.Services[i])
	}
	return plan
}

// lacks reports whether the kernel was found to have no such feature.
func (a *Applier) lacks(name string) bool { return lacks(a.features, name) }

func lacks(features []core.Feature, name string) bool {
	return slices.ContainsFunc(features, func(f core.Feature) bool { return f.Name == name && !f.Present })
}

// offloadAgain brings what is known of the flowtable up to date: the kernel drops
// a device that disappears, and a plan may want it back. Where it had no
// flowtables it is asked again, since an operator may have loaded the module.
func (a *Applier) offloadAgain(plan core.Plan) error {
	wanted := slices.ContainsFunc(plan.Services, func(s core.ServicePlan) bool { return s.Traffic != nil && len(offloaded(&s)) > 0 })
	if wanted && a.lacks(featureFlowtable) {
		if err := a.probeFeatures(); err != nil {
			return err
		}
	}
	if a.shared == nil || a.shared.flow == nil {
		return nil
	}
	list, err := a.flowtables()
	if err != nil {
		return fmt.Errorf("read flowtable: %w", err)
	}
	for _, t := range list {
		if t.name == nameFlows {
			a.shared.flow = t
		}
	}
	return nil
}
