// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
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
		{benchCase{name: "steelyard, persistence", traffic: newAndEst, most: 1000}, func(s *core.ServicePlan) {
			s.Persistence = core.Persistence{Timeout: time.Hour, Prefix4: 32, Prefix6: 128, Size: 65536}
		}},
		{benchCase{name: "steelyard, offload", traffic: onlyEst, most: 1000}, func(s *core.ServicePlan) { s.Offload = true }},
		{benchCase{name: "steelyard, count_bytes", traffic: onlyEst, most: 1000}, func(s *core.ServicePlan) { s.Bytes = true }},
		{benchCase{name: "steelyard, qos", traffic: onlyEst, most: 1000}, func(s *core.ServicePlan) {
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
