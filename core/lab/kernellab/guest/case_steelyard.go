// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/nft"
)

// steelyardCases are our rulesets, written by the applier that the daemon uses.
// A variant is the plain service of core.Simple with something more: add a
// feature's cost to the table by adding a line here.
func steelyardCases() []*benchCase {
	var list []*benchCase
	for _, v := range []struct {
		benchCase
		change func(*core.ServicePlan)
	}{
		{benchCase{name: "steelyard", traffic: newAndEst, most: maxServices}, nil},
		{benchCase{name: "steelyard, roundrobin", traffic: onlyNew}, distributed(core.RoundRobin, "")},
		{benchCase{name: "steelyard, hash of source", traffic: onlyNew}, distributed(core.Hash, core.BySource)},
		{benchCase{name: "steelyard, hash of source and port", traffic: onlyNew}, distributed(core.Hash, core.BySourcePort)},
		{benchCase{name: "steelyard, symhash", traffic: onlyNew}, distributed(core.SymHash, "")},
		{benchCase{name: "steelyard, persistence, new clients", traffic: newAndEst, most: 1000, fill: clientsBefore}, persistent},
		{benchCase{name: "steelyard, persistence, known clients", traffic: onlyNew, known: true}, persistent},
		{benchCase{name: "steelyard, masquerade", traffic: newAndEst}, func(s *core.ServicePlan) {
			s.Forwarding = core.Masquerade
			for i := range s.Backends {
				s.Backends[i].Forwarding = core.Masquerade
			}
		}},
		{benchCase{name: "steelyard, deny 1,000 networks", traffic: onlyNew}, func(s *core.ServicePlan) {
			for i := range 1000 {
				s.Deny = append(s.Deny, netip.PrefixFrom(plus(netip.MustParseAddr("198.18.0.0"), 32*i), 28))
			}
		}},
		{benchCase{name: "steelyard, limit of new, new clients", traffic: onlyNew, fill: clientsBefore}, limited},
		{benchCase{name: "steelyard, limit of new, known clients", traffic: onlyNew, known: true}, limited},
		{benchCase{name: "steelyard, offload", traffic: newAndEst, most: 1000}, func(s *core.ServicePlan) { s.Offload = true }},
		{benchCase{name: "steelyard, count_bytes", traffic: newAndEst, most: 1000}, func(s *core.ServicePlan) { s.Bytes = true }},
		{benchCase{name: "steelyard, qos", traffic: newAndEst, most: 1000}, func(s *core.ServicePlan) {
			dscp := uint8(46)
			for i := range s.Backends {
				s.Backends[i].QoS = core.QoS{DSCP: &dscp, Mark: 0x10, Mask: 0xf0}
			}
		}},
	} {
		c := v.benchCase
		c.setUp = func(w *world, n int) (func() error, error) { return w.steelyard(servicesPlan(n, v.change)) }
		list = append(list, &c)
	}
	return list
}

// manyClients is room for all that a case has, new ones in each repetition. The
// kernel doubles the table of a set when it is three quarters full. That costs some
// 400 instructions for each client in it, at 12,288 and at 24,576 of them, and not
// again while the repetitions are counted if there are clientsBefore already.
const (
	manyClients   = 65536
	clientsBefore = 22000
)

func persistent(s *core.ServicePlan) {
	s.Persistence = core.Persistence{Timeout: time.Hour, Prefix4: 32, Prefix6: 128, Size: manyClients}
}

// limited limits each client to more new connections than it makes.
func limited(s *core.ServicePlan) {
	s.Limits = core.Limits{NewPerClient: core.Rate{PerSecond: 100, Burst: 100}, Clients: manyClients, Answer: core.Reject}
}

func distributed(d core.Distribution, by core.HashKey) func(*core.ServicePlan) {
	return func(s *core.ServicePlan) {
		s.Distribution, s.Seed = d, 1
		if by != "" {
			s.HashKey = by
		}
	}
}

// steelyard makes the kernel carry a plan.
func (w *world) steelyard(plan core.Plan) (func() error, error) {
	var a *nft.Applier
	err := w.in(w.balancer, func() (err error) {
		a, err = nft.Open(nft.Config{})
		return err
	})
	if err != nil {
		return nil, err
	}
	_, refused, err := a.Sync(context.Background(), plan)
	for name, cause := range refused {
		err = errors.Join(err, fmt.Errorf("service %s: %v", name, cause))
		break // the others will be no better
	}
	if err != nil {
		return nil, errors.Join(err, a.Close())
	}
	// Kept open until the case is over: the table belongs to the connection.
	return a.Close, nil
}
