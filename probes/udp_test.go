// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"bytes"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/steelyard-lb/steelyard/core"
)

func udpTarget(addr netip.AddrPort, spec core.UDPSpec) Target {
	target := tcpTarget(addr)
	target.Spec.Type, target.Spec.UDP = core.ProbeUDP, spec
	target.Spec.Timeout = 10 * time.Second
	return target
}

// udpServer answers each datagram with what reply makes of it, nil with nothing.
func udpServer(t *testing.T, reply func([]byte) []byte) netip.AddrPort {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	go func() {
		buf := make([]byte, 64<<10)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			if answer := reply(buf[:n]); answer != nil {
				_, _ = conn.WriteTo(answer, from)
			}
		}
	}()
	return netip.MustParseAddrPort(conn.LocalAddr().String())
}

// closedUDP is an address where nothing listens.
func closedUDP(t *testing.T) netip.AddrPort {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // that is the point
	return netip.MustParseAddrPort(conn.LocalAddr().String())
}

func TestUDP(t *testing.T) {
	echo := udpServer(t, func(b []byte) []byte { return append([]byte{}, b...) })
	silent := udpServer(t, func([]byte) []byte { return nil })
	big := udpServer(t, func([]byte) []byte { return bytes.Repeat([]byte("x"), 9000) })
	// An NTP server answers with mode 4 in the low three bits of the first byte, and
	// its own idea of the rest.
	ntp := udpServer(t, func(b []byte) []byte {
		if len(b) != 48 || b[0]&7 != 3 {
			return nil
		}
		return append([]byte{0x24, 2}, make([]byte, 46)...)
	})
	ask48 := append([]byte{0xe3}, make([]byte, 47)...)
	tests := []struct {
		name   string
		addr   netip.AddrPort
		spec   core.UDPSpec
		ok     bool
		code   core.Code
		detail string
	}{
		{"echo", echo, core.UDPSpec{Payload: []byte("hello"), Need: true}, true, core.L7OK, "a reply of 5 bytes"},
		{"echo, no condition", echo, core.UDPSpec{Payload: []byte("hello")}, true, core.L7OK, "a reply of 5 bytes"},
		{"empty payload", echo, core.UDPSpec{Need: true}, true, core.L7OK, "a reply of 0 bytes"},
		{"prefix", echo, core.UDPSpec{Payload: []byte("hello"), Reply: []byte("hel")}, true, core.L7OK, ""},
		{"wrong prefix", echo, core.UDPSpec{Payload: []byte("hello"), Reply: []byte("help")}, false, core.L7Expect, "byte 3 of the reply"},
		{"reply too short", echo, core.UDPSpec{Payload: []byte("he"), Reply: []byte("hel")}, false, core.L7Expect, "has 2 bytes, want 3"},
		{"pattern", echo, core.UDPSpec{Payload: []byte("state=ok"), Expect: "^state=(ok|fine)$"}, true, core.L7OK, ""},
		{"wrong pattern", echo, core.UDPSpec{Payload: []byte("state=bad"), Expect: "^state=(ok|fine)$"}, false, core.L7Expect, `does not match "^state=(ok|fine)$": "state=bad"`},
		{"cut", big, core.UDPSpec{Need: true}, true, core.L7OK, "4096 bytes"},
		{"ntp", ntp, core.UDPSpec{Payload: ask48, Reply: []byte{4}, Mask: []byte{7}}, true, core.L7OK, "48 bytes"},
		{"ntp, wrong mode", ntp, core.UDPSpec{Payload: ask48, Reply: []byte{5}, Mask: []byte{7}}, false, core.L7Expect, "0x24, want 0x05 under the mask 0x07"},
		{"silent, no condition", silent, core.UDPSpec{Payload: []byte("x")}, true, core.L4OK, "no ICMP error"},
		{"silent, need", silent, core.UDPSpec{Payload: []byte("x"), Need: true}, false, core.L7Timeout, "no reply came"},
		{"closed", closedUDP(t), core.UDPSpec{Payload: []byte("x")}, false, core.L4Refused, "nothing listens"},
		{"closed, need", closedUDP(t), core.UDPSpec{Payload: []byte("x"), Need: true}, false, core.L4Refused, "nothing listens"},
		{"mask of another length", echo, core.UDPSpec{Reply: []byte{1, 2}, Mask: []byte{1}}, false, core.Internal, "mask"},
		{"broken pattern", echo, core.UDPSpec{Expect: "("}, false, core.Internal, "expect"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			target := udpTarget(tt.addr, tt.spec)
			if strings.HasPrefix(tt.name, "silent") {
				target.Spec.Timeout = brief
			}
			s := ask(t, target)
			wantCode(t, s, tt.ok, tt.code, tt.detail)
			if tt.code == core.L7OK {
				wantMetrics(t, s, core.MetricResponse)
			} else {
				wantMetrics(t, s)
			}
		})
	}
}

// TestUDPQuietEnd: a port that stays silent is good, so its run must be over before
// the timeout, and yet last long enough for a neighbour that does not answer ARP,
// which Linux gives up after 3 s.
func TestUDPQuietEnd(t *testing.T) {
	start := time.Unix(1000, 0)
	for timeout, want := range map[time.Duration]time.Duration{
		time.Second:      900 * time.Millisecond,
		4 * time.Second:  3600 * time.Millisecond,
		10 * time.Second: 9 * time.Second,
	} {
		if got := quietEnd(start, start.Add(timeout)).Sub(start); got != want {
			t.Errorf("of %s: %s, want %s", timeout, got, want)
		}
	}
}

// TestUDPNoWay needs networks of its own: a neighbour that does not exist, filters of
// each kind, no route. An error that comes late has to be waited for: without
// IP_RECVERR none but the first of them would come at all.
func TestUDPNoWay(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	shell(t, `ip link set lo up && ip link add v0 type veth peer name v1 && ip link set v1 up && ip link set v0 up
		ip addr add 192.0.2.1/24 dev v0 && ip addr add 2001:db8::1/64 nodad dev v0
		sysctl -qw net.ipv4.neigh.v0.retrans_time_ms=50 net.ipv6.neigh.v0.retrans_time_ms=50
		nft 'add table inet f
			add chain inet f in { type filter hook input priority 0; }
			add chain inet f out { type filter hook output priority 0; }
			add rule inet f in ip daddr 127.0.0.2 meta l4proto udp reject
			add rule inet f in ip daddr 127.0.0.3 meta l4proto udp reject with icmp type admin-prohibited
			add rule inet f in ip daddr 127.0.0.4 meta l4proto udp reject with icmp type net-unreachable
			add rule inet f in ip daddr 127.0.0.5 meta l4proto udp reject with icmp type prot-unreachable
			add rule inet f in ip6 daddr ::1 udp dport 54 reject with icmpv6 type admin-prohibited
			add rule inet f out ip daddr 127.0.0.9 drop'`)
	for _, tt := range []struct {
		name, addr string
		code       core.Code
		detail     string
	}{
		{"no such neighbour", "192.0.2.99:53", core.L4Unreach, "no route to host"},
		{"no such neighbour, IPv6", "[2001:db8::99]:53", core.L4Unreach, "no route to host"},
		{"no route", "198.51.100.1:53", core.L4Unreach, "unreachable"},
		{"closed, IPv6", "[::1]:53", core.L4Refused, "nothing listens"},
		{"rejected", "127.0.0.2:53", core.L4Refused, "port unreachable"},
		{"prohibited", "127.0.0.3:53", core.L4Unreach, "no route to host"},
		{"net unreachable", "127.0.0.4:53", core.L4Unreach, "network is unreachable"},
		{"no such protocol", "127.0.0.5:53", core.L4Unreach, "protocol not available"},
		{"prohibited, IPv6", "[::1]:54", core.L4Unreach, "permission denied"},
		{"filtered here", "127.0.0.9:53", core.Internal, "filter rules"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, need := range []bool{false, true} {
				target := udpTarget(netip.MustParseAddrPort(tt.addr), core.UDPSpec{Payload: []byte("x"), Need: need})
				wantCode(t, ask(t, target), false, tt.code, tt.detail)
			}
		})
	}
}

// TestMaskProperties pins the mask against the definition: bits outside it never matter, each
// bit inside does.
func TestMaskProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(rapid.Byte(), 1, 32).Draw(t, "want")
		mask := rapid.SliceOfN(rapid.Byte(), len(want), len(want)).Draw(t, "mask")
		noise := rapid.SliceOfN(rapid.Byte(), len(want), len(want)).Draw(t, "noise")
		tail := rapid.SliceOfN(rapid.Byte(), 0, 4).Draw(t, "tail")
		got := make([]byte, len(want))
		for i := range got {
			got[i] = want[i]&mask[i] | noise[i]&^mask[i]
		}
		if at := firstDifference(append(got, tail...), want, mask); at != -1 {
			t.Fatalf("byte %d differs, though only bits outside the mask do", at)
		}
		at := rapid.IntRange(0, len(want)-1).Draw(t, "at")
		bit := byte(1) << rapid.IntRange(0, 7).Draw(t, "bit")
		got[at] ^= bit
		wantAt := -1
		if mask[at]&bit != 0 {
			wantAt = at
		}
		if found := firstDifference(got, want, mask); found != wantAt {
			t.Fatalf("bit %#x of byte %d flipped: difference at %d, want %d", bit, at, found, wantAt)
		}
		if found := firstDifference(want[:at], want, nil); found != at {
			t.Fatalf("cut to %d bytes: difference at %d", at, found)
		}
	})
}

func FuzzUDPReply(f *testing.F) {
	f.Add([]byte("hello"), []byte("hel"), []byte{0xff, 0, 0xff}, "^h")
	f.Add([]byte{}, []byte{1}, []byte{}, "")
	f.Add([]byte{0x24, 0}, []byte{4}, []byte{7}, "")
	f.Fuzz(func(t *testing.T, reply, want, mask []byte, expect string) {
		spec := core.UDPSpec{Reply: want, Mask: mask, Expect: expect}
		p, ok := newUDP(udpTarget(netip.AddrPort{}, spec)).(*udpProbe)
		if !ok {
			return // the configuration refuses it
		}
		r := p.judge(reply, time.Millisecond)
		if r.ok != (r.code == core.L7OK) || r.ok != (len(r.metrics) == 1) || !r.ok && r.code != core.L7Expect {
			t.Errorf("%+v", r)
		}
		if r.ok && len(reply) < len(want) {
			t.Errorf("%d bytes are good, want %d", len(reply), len(want))
		}
		if r.ok && len(mask) == 0 && !strings.HasPrefix(string(reply), string(want)) {
			t.Errorf("%x is good, want the prefix %x", reply, want)
		}
	})
}
