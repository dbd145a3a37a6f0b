// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"net/netip"

	"github.com/steelyard-lb/steelyard/core"
)

// A Flow is what the connections of one backend behind one VIP have in common.
type Flow struct {
	Protocol core.Protocol
	VIP      netip.AddrPort // original destination
	Backend  netip.AddrPort // where the answers come from
}

// A flowKey is a Flow as plain bytes: a map of them hashes without following a
// pointer. IPv4 addresses are in their IPv4-mapped form.
type flowKey struct {
	vip, backend         [16]byte
	vipPort, backendPort uint16
	protocol             uint8
}

func (f Flow) key() flowKey {
	return flowKey{
		vip:         f.VIP.Addr().As16(),
		backend:     f.Backend.Addr().As16(),
		vipPort:     f.VIP.Port(),
		backendPort: f.Backend.Port(),
		protocol:    f.Protocol.Number(),
	}
}
