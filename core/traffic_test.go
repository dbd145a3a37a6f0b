// SPDX-License-Identifier: Apache-2.0

package core

import (
	"net/netip"
	"testing"
)

func TestQoSString(t *testing.T) {
	dscp, class := uint8(46), uint32(0x1_0020)
	for want, q := range map[string]QoS{
		"":                                    {},
		"dscp 46":                             {DSCP: &dscp},
		"class 1:20":                          {Priority: &class},
		"mark 0x0/0xf0":                       {Mask: 0xf0},
		"dscp 46, class 1:20, mark 0x10/0xf0": {DSCP: &dscp, Priority: &class, Mark: 0x10, Mask: 0xf0},
	} {
		if got := q.String(); got != want || q.Active() != (want != "") {
			t.Errorf("%+v is %q, active %v: want %q", q, got, q.Active(), want)
		}
	}
}

// TestShadows: of an exact frontend and a range around it, one has to be without
// connection tracking and the other not.
func TestShadows(t *testing.T) {
	exact := ExactFrontend(netip.MustParseAddrPort("192.0.2.10:80"), TCP)
	around := Frontend{VIP: netip.MustParsePrefix("192.0.2.0/24"), Ports: PortRange{First: 1, Last: 1024}, Protocol: TCP}
	tests := []struct {
		name       string
		f, o       Frontend
		own, other Forwarding
		want       bool
	}{
		{"untracked around tracked", around, exact, DSR, DNAT, true},
		{"stateless too", around, exact, Stateless, Local, true},
		{"both tracked", around, exact, Masquerade, DNAT, false},
		{"both untracked", around, exact, DSR, Stateless, false},
		{"tracked around untracked", around, exact, DNAT, DSR, false},
		{"both exact", exact, exact, DSR, DNAT, false},
		{"two ranges", around, around, DSR, DNAT, false},
		{"elsewhere", around, ExactFrontend(netip.MustParseAddrPort("192.0.2.10:8080"), TCP), DSR, DNAT, false},
	}
	for _, tt := range tests {
		if got := tt.f.Shadows(tt.o, tt.own, tt.other); got != tt.want {
			t.Errorf("%s: %t", tt.name, got)
		}
	}
}
