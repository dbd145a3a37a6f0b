// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/core"
)

// lines are the backends of a plan as text.
func lines(p core.ServicePlan) []string {
	var out []string
	for _, b := range p.Backends {
		text := fmt.Sprintf("%s %s %d %s", b.Name, b.Addr, b.Slots, b.Forwarding)
		if b.Source.IsValid() {
			text += " from " + b.Source.String()
		}
		if b.Hop.Device != "" {
			text += " by " + b.Hop.Device
		}
		out = append(out, text)
	}
	return out
}

func TestPlan(t *testing.T) {
	four, six := netip.MustParseAddrPort("10.0.0.1:80"), netip.MustParseAddrPort("[2001:db8::1]:80")
	hop := core.Hop{Device: "eth0"}
	type backends = []*backend
	with := func(name string, addr, alt netip.AddrPort) *backend {
		return &backend{spec: &core.Backend{Name: name, Addr: addr, Alt: alt}, health: core.Up}
	}
	var none netip.AddrPort
	for _, tt := range []struct {
		name     string
		traffic  core.Traffic
		backends backends
		change   func(backends)
		slots    []uint32
		want     []string
	}{
		{"one family", core.Traffic{Forwarding: core.DNAT}, backends{with("a", four, none), with("b", four, none)}, nil, []uint32{49152, 16384},
			[]string{"a 10.0.0.1:80 49152 dnat", "b 10.0.0.1:80 16384 dnat"}},
		{"both families, IPv4 first", core.Traffic{Forwarding: core.DNAT}, backends{with("a", six, four), with("b", four, six)}, nil, []uint32{49152, 16384},
			[]string{"a 10.0.0.1:80 49152 dnat", "a [2001:db8::1]:80 49152 dnat", "b 10.0.0.1:80 16384 dnat", "b [2001:db8::1]:80 16384 dnat"}},
		{"who has the family shares it", core.Traffic{Forwarding: core.DNAT}, backends{with("a", four, none), with("b", four, six), with("c", six, none)}, nil, []uint32{16384, 32768, 16384},
			[]string{"a 10.0.0.1:80 21845 dnat", "b 10.0.0.1:80 43691 dnat", "b [2001:db8::1]:80 43691 dnat", "c [2001:db8::1]:80 21845 dnat"}},
		{"nobody has slots in a family", core.Traffic{Forwarding: core.DNAT}, backends{with("a", four, none), with("c", six, none)}, nil, []uint32{65536, 0},
			[]string{"a 10.0.0.1:80 65536 dnat", "c [2001:db8::1]:80 0 dnat"}},
		{"snat has the service's sources", core.Traffic{Forwarding: core.SNAT, Source4: netip.MustParseAddr("10.9.9.9"), Source6: netip.MustParseAddr("2001:db8::9")}, backends{with("a", four, six)}, nil, []uint32{65536},
			[]string{"a 10.0.0.1:80 65536 snat from 10.9.9.9", "a [2001:db8::1]:80 65536 snat from 2001:db8::9"}},
		{"a backend has its own", core.Traffic{Forwarding: core.DNAT, Source6: netip.MustParseAddr("2001:db8::9")}, backends{with("a", four, six)}, func(b backends) {
			b[0].spec.Forwarding, b[0].spec.Source = core.SNAT, netip.MustParseAddr("10.8.8.8")
		}, []uint32{65536}, []string{"a 10.0.0.1:80 65536 snat from 10.8.8.8", "a [2001:db8::1]:80 65536 snat from 2001:db8::9"}},
		{"dsr goes where a link address is known", core.Traffic{Forwarding: core.DSR}, backends{with("a", four, six), with("b", four, six)}, func(b backends) {
			b[0].hop, b[0].altHop, b[1].hop = hop, hop, hop
		}, []uint32{32768, 32768}, []string{"a 10.0.0.1:80 32768 dsr by eth0", "a [2001:db8::1]:80 65536 dsr by eth0", "b 10.0.0.1:80 32768 dsr by eth0", "b [2001:db8::1]:80 0 dsr"}},
		{"dsr to a family of which nobody answers", core.Traffic{Forwarding: core.DSR}, backends{with("a", four, six)}, func(b backends) { b[0].hop = hop },
			[]uint32{65536}, []string{"a 10.0.0.1:80 65536 dsr by eth0", "a [2001:db8::1]:80 0 dsr"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.change != nil {
				tt.change(tt.backends)
			}
			s := &service{spec: core.Service{Name: "web", Traffic: tt.traffic}, backends: tt.backends, slots: tt.slots}
			if diff := cmp.Diff(tt.want, lines(s.plan())); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestQoSOfABackend(t *testing.T) {
	one, two, class := uint8(1), uint8(2), uint32(0x10001)
	for _, tt := range []struct {
		name          string
		backend, want core.QoS
	}{
		{"none of its own", core.QoS{}, core.QoS{DSCP: &one, Mark: 0x10, Mask: 0xf0}},
		{"on top", core.QoS{DSCP: &two, Priority: &class, Mark: 0x23, Mask: 0x3f}, core.QoS{DSCP: &two, Priority: &class, Mark: 0x23, Mask: 0xff}},
		{"beside", core.QoS{Mark: 0x1, Mask: 0xf}, core.QoS{DSCP: &one, Mark: 0x11, Mask: 0xff}},
	} {
		if diff := cmp.Diff(tt.want, over(tt.backend, core.QoS{DSCP: &one, Mark: 0x10, Mask: 0xf0})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

// A backend keeps its clients unless it is down; a sorry server only while it
// serves.
func TestAlive(t *testing.T) {
	for _, tt := range []struct {
		health core.HealthState
		sorry  bool
		slots  uint32
		want   bool
	}{
		{core.Up, false, 0, true}, {core.Unknown, false, 0, true}, {core.Down, false, 0, false},
		{core.Down, false, 1, true}, {core.Up, true, 0, false}, {core.Up, true, 1, true},
	} {
		b := &backend{health: tt.health, spec: &core.Backend{Sorry: tt.sorry}}
		if got := b.alive(tt.slots); got != tt.want {
			t.Errorf("%s, sorry %t, %d slots: alive %t, want %t", tt.health, tt.sorry, tt.slots, got, tt.want)
		}
	}
}
