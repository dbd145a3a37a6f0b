// SPDX-License-Identifier: Apache-2.0

package neigh

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/core/nlmsg"
)

type attribute struct {
	typ  uint16
	data []byte
}

// raw writes a message as the kernel would.
func raw(typ uint16, header []byte, attrs ...attribute) []byte {
	b, start := nlmsg.Begin(nil, typ, 0, 42)
	b = append(b, header...)
	for _, a := range attrs {
		b = nlmsg.AppendAttr(b, a.typ, a.data)
	}
	return nlmsg.End(b, start)
}

func u32(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

func ndmsg(family byte, device int, state uint16, flags byte) []byte {
	h := make([]byte, ndmsgLen)
	h[0], h[10] = family, flags
	binary.NativeEndian.PutUint32(h[4:], uint32(device))
	binary.NativeEndian.PutUint16(h[8:], state)
	return h
}

func ifinfomsg(family byte, typ uint16, index int, flags uint32) []byte {
	h := make([]byte, ifinfomsgLen)
	h[0] = family
	binary.NativeEndian.PutUint16(h[2:], typ)
	binary.NativeEndian.PutUint32(h[4:], uint32(index))
	binary.NativeEndian.PutUint32(h[8:], flags)
	return h
}

func rtmsg(family, bits, typ byte) []byte {
	return []byte{0: family, 1: bits, 7: typ, rtmsgLen - 1: 0}
}

var (
	addr4 = attribute{unix.NDA_DST, a1.AsSlice()}
	a6    = netip.MustParseAddr("2001:db8::6")
	mac   = attribute{unix.NDA_LLADDR, theirMAC[:]}
	up    = uint32(unix.IFF_UP | unix.IFF_RUNNING)
	name  = attribute{unix.IFLA_IFNAME, []byte("eth0\x00")}
	own   = attribute{unix.IFLA_ADDRESS, ourMAC[:]}
)

func TestNext(t *testing.T) {
	tests := []struct {
		name string
		raw  []byte
		want message
	}{
		{
			"reachable",
			raw(unix.RTM_NEWNEIGH, ndmsg(unix.AF_INET, 7, unix.NUD_REACHABLE, 0), addr4, mac,
				attribute{unix.NDA_CACHEINFO, append(u32(150), make([]byte, 12)...)}),
			message{kind: aboutNeighbour, neighbour: neighbour{addr: a1, device: 7, mac: theirMAC, state: unix.NUD_REACHABLE, age: 1500 * time.Millisecond}},
		},
		{
			"removed, IPv6",
			raw(unix.RTM_DELNEIGH, ndmsg(unix.AF_INET6, 7, unix.NUD_FAILED, 0), attribute{unix.NDA_DST, a6.AsSlice()}),
			message{kind: aboutNeighbour, gone: true, neighbour: neighbour{addr: a6, device: 7, state: unix.NUD_FAILED}},
		},
		{
			"permanent",
			raw(unix.RTM_NEWNEIGH, ndmsg(unix.AF_INET, 7, unix.NUD_PERMANENT, 0), addr4, mac),
			message{kind: aboutNeighbour, neighbour: neighbour{addr: a1, device: 7, mac: theirMAC, state: unix.NUD_PERMANENT, foreign: true}},
		},
		{
			"managed",
			raw(unix.RTM_NEWNEIGH, ndmsg(unix.AF_INET, 7, unix.NUD_PROBE, 0), addr4, mac, attribute{ndaFlagsExt, u32(ntfExtManaged)}),
			message{kind: aboutNeighbour, neighbour: neighbour{addr: a1, device: 7, mac: theirMAC, state: unix.NUD_PROBE, foreign: true}},
		},
		{
			"a MAC of 20 bytes (InfiniBand)",
			raw(unix.RTM_NEWNEIGH, ndmsg(unix.AF_INET, 7, unix.NUD_REACHABLE, 0), addr4, attribute{unix.NDA_LLADDR, make([]byte, 20)}),
			message{kind: aboutNeighbour, neighbour: neighbour{addr: a1, device: 7}},
		},
		{"an entry of a bridge", raw(unix.RTM_NEWNEIGH, ndmsg(unix.AF_BRIDGE, 7, unix.NUD_REACHABLE, 0), mac), message{}},
		{"a proxy entry", raw(unix.RTM_NEWNEIGH, ndmsg(unix.AF_INET, 7, unix.NUD_PERMANENT, unix.NTF_PROXY), addr4), message{}},
		{"an address of the other family", raw(unix.RTM_NEWNEIGH, ndmsg(unix.AF_INET6, 7, unix.NUD_REACHABLE, 0), addr4, mac), message{}},
		{
			"link",
			raw(unix.RTM_NEWLINK, ifinfomsg(0, unix.ARPHRD_ETHER, 7, up), name, own),
			message{kind: aboutLink, link: eth0},
		},
		{
			"tunnel, down",
			raw(unix.RTM_NEWLINK, ifinfomsg(0, unix.ARPHRD_TUNNEL, 7, unix.IFF_UP), name, attribute{unix.IFLA_ADDRESS, []byte{192, 0, 2, 1}}),
			message{kind: aboutLink, link: link{index: 7, name: "eth0"}},
		},
		{"a port of a bridge", raw(unix.RTM_DELLINK, ifinfomsg(unix.AF_BRIDGE, unix.ARPHRD_ETHER, 7, up), name, own), message{}},
		{"wireless event", raw(unix.RTM_NEWLINK, ifinfomsg(0, unix.ARPHRD_ETHER, 7, up)), message{}},
		{
			"route through a router",
			raw(unix.RTM_NEWROUTE, rtmsg(unix.AF_INET, 24, unix.RTN_UNICAST), attribute{unix.RTA_DST, []byte{192, 0, 2, 0}},
				attribute{unix.RTA_OIF, u32(7)}, attribute{unix.RTA_GATEWAY, a2.AsSlice()}),
			message{kind: aboutRoute, route: route{dst: netip.MustParsePrefix("192.0.2.0/24"), typ: unix.RTN_UNICAST, device: 7, gateway: a2}},
		},
		{
			"IPv4 through an IPv6 router, default",
			raw(unix.RTM_DELROUTE, rtmsg(unix.AF_INET, 0, unix.RTN_UNICAST), attribute{unix.RTA_VIA, append([]byte{unix.AF_INET6, 0}, a6.AsSlice()...)}),
			message{kind: aboutRoute, gone: true, route: route{dst: netip.MustParsePrefix("0.0.0.0/0"), typ: unix.RTN_UNICAST, gateway: a6}},
		},
		{"too many bits", raw(unix.RTM_NEWROUTE, rtmsg(unix.AF_INET, 33, unix.RTN_UNICAST)), message{}},
		{"rule", raw(unix.RTM_NEWRULE, nil), message{kind: aboutRule}},
		{"done", raw(unix.NLMSG_DONE, u32(0)), message{kind: done}},
		{"refused", raw(unix.NLMSG_ERROR, u32(^uint32(unix.ENOBUFS)+1)), message{kind: failed, errno: unix.ENOBUFS}},
		{"something else", raw(unix.RTM_NEWADDR, make([]byte, 8)), message{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, rest, ok := next(append(tt.raw, raw(unix.NLMSG_DONE, nil)...))
			if !ok || got.seq != 42 {
				t.Fatalf("ok %t, sequence %d", ok, got.seq)
			}
			if got.kind == other {
				got = message{}
			}
			got.seq = 0
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(message{}, neighbour{}, link{}, route{}),
				cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
				cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			if m, _, ok := next(rest); !ok || m.kind != done {
				t.Errorf("the message after it: %+v", m)
			}
		})
	}
}

// FuzzNext feeds arbitrary bytes: nothing may panic or loop, and what is read
// must be of use to the state.
func FuzzNext(f *testing.F) {
	f.Add(raw(unix.RTM_NEWNEIGH, ndmsg(unix.AF_INET, 7, unix.NUD_REACHABLE, 0), addr4, mac))
	f.Add(raw(unix.RTM_DELNEIGH, ndmsg(unix.AF_INET6, 7, unix.NUD_PERMANENT, 0), attribute{unix.NDA_DST, a6.AsSlice()}))
	f.Add(raw(unix.RTM_NEWLINK, ifinfomsg(0, unix.ARPHRD_ETHER, 7, up), name, own))
	f.Add(raw(unix.RTM_NEWROUTE, rtmsg(unix.AF_INET, 24, unix.RTN_UNICAST), addr4, attribute{unix.RTA_OIF, u32(7)}))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s := newState(DefaultVerify)
		s.watch([]netip.Addr{a1, a6})
		now := time.Unix(1000, 0)
		for rest := raw; len(rest) > 0; {
			m, r, ok := next(rest)
			if !ok {
				break
			}
			if len(r) >= len(rest) {
				t.Fatal("no progress")
			}
			s.take(&m, now)
			if m.kind == aboutRoute {
				s.routed([]netip.Addr{a1}, []answer{{route: m.route}}, now)
			}
			rest = r
		}
		s.due(now)
		for _, e := range s.sorted {
			if (e.hop.Device == "") == (e.problem == "") {
				t.Errorf("%s: hop %+v and problem %q", e.addr, e.hop, e.problem)
			}
		}
	})
}
