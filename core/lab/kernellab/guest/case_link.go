// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"net/netip"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/vishvananda/netlink"
)

// linkCases are our services without connection tracking. They are one service
// each: two that are stateless cannot share their backends.
func linkCases() []*benchCase {
	var list []*benchCase
	add := func(name string, f core.Forwarding, port uint16) {
		c := &benchCase{name: name, traffic: onlyEst, direct: f == core.DSR}
		c.setUp = func(w *world, n int) (func() error, error) {
			hop, err := w.hop()
			if err != nil {
				return nil, err
			}
			return w.steelyard(servicesPlan(n, func(s *core.ServicePlan) {
				s.Forwarding, s.HashKey, s.Seed = f, core.BySourcePort, 1
				s.Interfaces, s.FlowTimeout = []string{"b0"}, time.Minute
				for i := range s.Backends {
					b := &s.Backends[i]
					b.Forwarding, b.Hop = f, hop
					// One end of a link has one address: the last byte makes them many.
					b.Hop.Own[5] = byte(i)
					if port != backPort {
						b.Addr = netip.AddrPortFrom(b.Addr.Addr(), 0)
					}
				}
			}))
		}
		list = append(list, c)
	}
	add("steelyard, dsr", core.DSR, vipPort)
	add("steelyard, stateless", core.Stateless, backPort)
	return list
}

// hop is the way to the backends.
func (w *world) hop() (h core.Hop, err error) {
	h.Device = "b1"
	copy(h.Own[:], w.b1)
	err = w.in(w.balancer, func() error {
		list, err := netlink.NeighList(0, netlink.FAMILY_V4)
		for _, n := range list {
			if n.IP.Equal(backendAddr(0).AsSlice()) {
				copy(h.MAC[:], n.HardwareAddr)
				return err
			}
		}
		return errors.Join(err, errors.New("the backends are no neighbours"))
	})
	return h, err
}
