// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// icmpRequest is an echo request of identifier 0x1234 and sequence 7.
func icmpRequest(v6 bool, size int) []byte {
	b := make([]byte, echoHeader+size)
	newEcho(b, v6, 0x1234, 7, 0x1122334455667788)
	return b
}

// icmpReply is what comes back for it.
func icmpReply(v6 bool, size int) []byte {
	b := icmpRequest(v6, size)
	b[0] = icmpEchoReply
	if v6 {
		b[0] = icmp6EchoReply
	}
	return b
}

// icmpRefusal is an error of a kind and code about it, which quotes so many bytes of it.
func icmpRefusal(v6 bool, kind, code byte, quoted int, options ...byte) []byte {
	b := []byte{kind, code, 0, 0, 0, 0, 0, 0}
	if v6 {
		ip := make([]byte, ip6Header)
		ip[0], ip[6] = 6<<4, protocolICMP6
		to := netip.MustParseAddr("2001:db8::7").As16()
		copy(ip[24:], to[:])
		return slices.Concat(b, ip, icmpRequest(v6, 56)[:quoted])
	}
	ip := make([]byte, 20, 60)
	ip[0], ip[9] = 4<<4|byte(5+len(options)/4), 1
	to := netip.MustParseAddr("192.0.2.7").As4()
	copy(ip[16:], to[:])
	return slices.Concat(b, append(ip, options...), icmpRequest(v6, 56)[:quoted])
}

func TestReadEcho(t *testing.T) {
	other := icmpRefusal(false, icmpUnreachable, 1, 8)
	other[echoHeader+9] = 17 // UDP
	tests := []struct {
		name    string
		v6      bool
		in      []byte
		ok      bool
		replied bool
		known   bool
		to      string
		reason  string
	}{
		{"a reply", false, icmpReply(false, 8), true, true, true, "invalid IP", ""},
		{"a longer one", false, icmpReply(false, 1000), true, true, true, "invalid IP", ""},
		{"of IPv6", true, icmpReply(true, 56), true, true, true, "invalid IP", ""},
		{"without a cookie", false, icmpReply(false, 8)[:12], false, true, false, "", ""},
		{"our own request", false, icmpRequest(false, 8), false, false, false, "", ""},
		{"of IPv6", true, icmpRequest(true, 8), false, false, false, "", ""},
		{"empty", false, nil, false, false, false, "", ""},
		{"host unreachable", false, icmpRefusal(false, icmpUnreachable, 1, 8), true, false, false, "192.0.2.7", "host unreachable"},
		{"with the cookie", false, icmpRefusal(false, icmpUnreachable, 13, 16), true, false, true, "192.0.2.7", "administratively prohibited"},
		{"with options", false, icmpRefusal(false, icmpUnreachable, 0, 8, 7, 4, 0, 0), true, false, false, "192.0.2.7", "network unreachable"},
		{"a loop", false, icmpRefusal(false, icmpTimeExceeded, 0, 8), true, false, false, "192.0.2.7", "its time to live was over, as in a loop of routes"},
		{"an odd one", false, icmpRefusal(false, icmpUnreachable, 99, 8), true, false, false, "192.0.2.7", "ICMP type 3, code 99"},
		{"cut short", false, icmpRefusal(false, icmpUnreachable, 1, 7), false, false, false, "", ""},
		{"about UDP", false, other, false, false, false, "", ""},
		{"a redirect", false, icmpRefusal(false, 5, 1, 8), false, false, false, "", ""},
		{"no route", true, icmpRefusal(true, icmp6Unreachable, 0, 8), true, false, false, "2001:db8::7", "no route"},
		{"too big", true, icmpRefusal(true, icmp6TooBig, 0, 16), true, false, true, "2001:db8::7", "packet too big"},
		{"a loop", true, icmpRefusal(true, icmp6TimeExceeded, 0, 16), true, false, true, "2001:db8::7", "its time to live was over, as in a loop of routes"},
		{"cut short", true, icmpRefusal(true, icmp6Unreachable, 0, 7), false, false, false, "", ""},
		{"of the other family", true, icmpRefusal(false, icmpUnreachable, 1, 8), false, false, false, "", ""},
	}
	for _, tt := range tests {
		e, ok := readEcho(tt.in, tt.v6)
		if ok != tt.ok {
			t.Errorf("%s (IPv6 %t): read %t, want %t", tt.name, tt.v6, ok, tt.ok)
		}
		if !ok || !tt.ok {
			continue
		}
		if e.id != 0x1234 || e.seq != 7 || e.replied != tt.replied || e.known != tt.known || e.to.String() != tt.to {
			t.Errorf("%s (IPv6 %t): got %+v", tt.name, tt.v6, e)
		}
		if e.known && e.cookie != 0x1122334455667788 {
			t.Errorf("%s (IPv6 %t): cookie %x", tt.name, tt.v6, e.cookie)
		}
		if got := e.reason(tt.v6); !tt.replied && got != tt.reason {
			t.Errorf("%s (IPv6 %t): reason %q, want %q", tt.name, tt.v6, got, tt.reason)
		}
	}
}

func TestChecksum(t *testing.T) {
	for _, size := range []int{8, 9, 56, 1473} {
		if b := icmpRequest(false, size); checksum(b) != 0 || binary.BigEndian.Uint16(b[2:]) == 0 {
			t.Errorf("%d bytes: the checksum of a packet with its checksum is %#x, want 0", size, checksum(b))
		}
	}
}

// filterLets reports whether a filter lets a message through.
func filterLets(t testing.TB, program []unix.SockFilter, packet []byte) bool {
	t.Helper()
	raw := make([]bpf.RawInstruction, len(program))
	for i, p := range program {
		raw[i] = bpf.RawInstruction{Op: p.Code, Jt: p.Jt, Jf: p.Jf, K: p.K}
	}
	decoded, all := bpf.Disassemble(raw)
	if !all {
		t.Fatalf("the program has unknown instructions: %v", decoded)
	}
	vm, err := bpf.NewVM(decoded)
	if err != nil {
		t.Fatal(err)
	}
	n, err := vm.Run(packet)
	if err != nil {
		t.Fatal(err)
	}
	return n > 0
}

// ip4Packet is the packet that a raw IPv4 socket sees.
func ip4Packet(message []byte, options ...byte) []byte {
	head := make([]byte, 20)
	head[0], head[9] = 4<<4|byte(5+len(options)/4), 1
	return slices.Concat(head, options, message)
}

func TestICMPFilter(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		unreachable, packet := byte(icmpUnreachable), func(b []byte) []byte { return ip4Packet(b) }
		program := icmpFilter4
		if v6 {
			unreachable, program = icmp6Unreachable, icmpFilter6
			packet = func(b []byte) []byte { return b }
		}
		tests := []struct {
			name    string
			id      uint16
			message []byte
			want    bool
		}{
			{"a reply", 0x1234, icmpReply(v6, 56), true},
			{"to another", 0x1235, icmpReply(v6, 56), false},
			{"a request", 0x1234, icmpRequest(v6, 56), false},
			{"an error", 0x1234, icmpRefusal(v6, unreachable, 1, 8), true},
			{"about another's request", 0x1235, icmpRefusal(v6, unreachable, 1, 8), false},
			{"cut short", 0x1234, icmpRefusal(v6, unreachable, 1, 4), false},
			{"nothing", 0x1234, nil, false},
		}
		for _, tt := range tests {
			if got := filterLets(t, program(tt.id), packet(tt.message)); got != tt.want {
				t.Errorf("IPv6 %t: %s: let through %t, want %t", v6, tt.name, got, tt.want)
			}
		}
	}
	if !filterLets(t, icmpFilter4(0x1234), ip4Packet(icmpRefusal(false, icmpUnreachable, 1, 8, 7, 4, 0, 0), 1, 1, 1, 1)) {
		t.Error("an error between IP options is not let through")
	}
}

// FuzzReadEcho reads arbitrary messages. Whatever is about one of our requests, the
// filter must let through.
func FuzzReadEcho(f *testing.F) {
	for _, v6 := range []bool{false, true} {
		f.Add(icmpReply(v6, 56), v6)
		f.Add(icmpRefusal(v6, icmpUnreachable, 1, 8), v6)
		f.Add(icmpRefusal(v6, icmp6Unreachable, 1, 64), v6)
	}
	f.Add(icmpRefusal(false, icmpTimeExceeded, 0, 8, 7, 4, 0, 0), false)
	f.Fuzz(func(t *testing.T, b []byte, v6 bool) {
		e, ok := readEcho(b, v6)
		if !ok {
			return
		}
		if e.replied != !e.to.IsValid() {
			t.Errorf("replied %t, but was to go to %s", e.replied, e.to)
		}
		if s := oneLine(e.reason(v6)); s != e.reason(v6) || s == "" {
			t.Errorf("reason %q", e.reason(v6))
		}
		program, packet := icmpFilter6(e.id), b
		if !v6 {
			program, packet = icmpFilter4(e.id), ip4Packet(b)
		}
		if !filterLets(t, program, packet) {
			t.Errorf("%x is read as %+v, but the filter drops it", b, e)
		}
	})
}

// FuzzControl reads arbitrary control messages, as of the error queue.
func FuzzControl(f *testing.F) {
	report := make([]byte, unix.CmsgSpace(32))
	binary.NativeEndian.PutUint64(report, uint64(unix.CmsgLen(32)))
	binary.NativeEndian.PutUint32(report[8:], unix.IPPROTO_IP)
	binary.NativeEndian.PutUint32(report[12:], unix.IP_RECVERR)
	report[16+4], report[16+5], report[16+6] = unix.SO_EE_ORIGIN_ICMP, icmpUnreachable, 1
	binary.NativeEndian.PutUint16(report[32:], unix.AF_INET)
	s := &icmpSocket{id: 9}
	if m, ok := s.readError(icmpRequest(false, 8), report, &unix.SockaddrInet4{Addr: [4]byte{192, 0, 2, 7}}); !ok || m.echo.reason(false) != "host unreachable" || m.echo.id != 9 {
		f.Fatalf("a good report is read as %+v (%t)", m, ok)
	}
	f.Add(icmpRequest(false, 8), report)
	f.Add(icmpRequest(false, 8), []byte{})
	f.Fuzz(func(t *testing.T, b, control []byte) {
		if age := stampAge(control, time.Now()); age < 0 || age > time.Second {
			t.Errorf("a message is %s old", age)
		}
		if m, ok := s.readError(b, control, nil); ok && (m.echo.replied || len(b) < echoHeader) {
			t.Errorf("%+v", m)
		}
	})
}
