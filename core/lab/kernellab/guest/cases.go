// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/netip"

	"github.com/steelyard-lb/steelyard/core/lab/kernellab"
)

// A benchCase is one thing to measure. To add one, add an entry to a list that
// cases puts together; to add one of steelyard's own, add a variant in
// case_steelyard.go, which takes two lines.
type benchCase struct {
	// name is the row of the table; names are the keys by which rows are compared
	// and documented.
	name string
	// traffic is what to send; a case of both kinds is set up once.
	traffic []kernellab.Traffic
	// most is the greatest number of services to measure it at; 1 if it is zero.
	most int
	// setUp makes the balancer carry that many services of 16 backends: VIP
	// vip(i), port vipPort, UDP, to backendAddr(0..15). What it returns, if
	// anything, is called when the case is over; the namespaces go by themselves.
	setUp func(w *world, services int) (done func() error, err error)

	// warm has every backend chosen once before anything counts, for a balancer
	// that does something at a backend's first connection only.
	warm bool
	// fill is how many packets are sent before any counts, for a case that stores
	// something of each client: its table has grown then.
	fill int
	// known has the same clients come in every repetition, each from another port.
	known bool

	plain  bool // clients address the backends themselves
	direct bool // the backends get the packet as the client sent it, and do not answer through us
}

var (
	onlyNew   = []kernellab.Traffic{kernellab.New}
	onlyEst   = []kernellab.Traffic{kernellab.Established}
	newAndEst = []kernellab.Traffic{kernellab.New, kernellab.Established}
)

// cases are all that the lab can measure, in the order of the table.
func cases() []*benchCase {
	var list []*benchCase
	list = append(list, routingCases()...)
	list = append(list, ipvsCases()...)
	list = append(list, iptablesCases()...)
	list = append(list, nftCases()...)
	list = append(list, steelyardCases()...)
	list = append(list, linkCases()...)
	return list
}

// at reports whether the case is measured at that many services.
func (c *benchCase) at(services int) bool { return services <= max(c.most, 1) }

// arrivesAs checks how a packet sent as f arrived at a backend.
func (c *benchCase) arrivesAs(f, got flow) error {
	if c.direct || c.plain {
		if got == f {
			return nil
		}
		return fmt.Errorf("a packet %v arrived as %v", f, got)
	}
	for i := range backends {
		if got.dst == netip.AddrPortFrom(backendAddr(i), backPort) {
			return nil
		}
	}
	return fmt.Errorf("a packet %v arrived as %v", f, got)
}

// routingCases is the floor: a packet that is forwarded, and nothing else.
func routingCases() []*benchCase {
	return []*benchCase{{
		name: "plain routing", traffic: onlyEst, plain: true,
		setUp: func(*world, int) (func() error, error) { return nil, nil },
	}}
}
