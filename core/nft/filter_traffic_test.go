// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"golang.org/x/sys/unix"
)

// silent reports whether nobody answers a client within a moment, in which it
// sends one packet: the second would come after a second.
func (l *limiter) silent(from, to string) bool {
	var err error
	l.in(l.client, func() {
		d := net.Dialer{Timeout: 200 * time.Millisecond}
		if from != "" {
			d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
		}
		var c net.Conn
		if c, err = d.Dial("tcp", to); err == nil {
			c.Close()
		}
	})
	return os.IsTimeout(err)
}

const held6 = "[fd00:9::1]:80"

// TestDenyAndAllow changes who may connect, step by step. What is open stays
// open, no rule is touched, and only the difference is written.
func TestDenyAndAllow(t *testing.T) {
	l := newLimiter(t, func(t *core.Traffic) {
		t.Deny, t.Allow = prefixes("203.0.113.0/24"), prefixes("10.0.0.0/8", "fd00::/16")
	})
	held := l.wantAdmitted(1, 1, c2)
	list := func() string { return nftOutput(l.t, "-a", "-s", "-t", "list", "ruleset") }
	var rules string
	l.in(l.balancer, func() { rules = list() })
	tests := []struct {
		name        string
		deny, allow []netip.Prefix
		changed     int // elements
		silent      []string
		answered    []string
	}{
		{"as it began", prefixes("203.0.113.0/24"), prefixes("10.0.0.0/8", "fd00::/16"), 0, nil, []string{c2, c3, ""}},
		{"one denied", prefixes("10.0.1.2/32", "203.0.113.0/24"), prefixes("10.0.0.0/8", "fd00::/16"), 1, []string{c2}, []string{c3, ""}},
		{"the other family denied", prefixes("203.0.113.0/24", "fd00:1::2/128"), prefixes("10.0.0.0/8", "fd00::/16"), 2, []string{""}, []string{c2, c3}},
		{"one allowed", prefixes("203.0.113.0/24"), prefixes("10.0.1.3/32"), 4, []string{c2, ""}, []string{c3}},
		{"allowed and denied", prefixes("10.0.1.0/24"), prefixes("10.0.1.3/32", "fd00:1::/64"), 3, []string{c2, c3}, []string{""}},
	}
	var turned uint64
	for _, test := range tests {
		l.plan.Services[1] = with(l.plan.Services[1], func(t *core.Traffic) { t.Deny, t.Allow = test.deny, test.allow })
		l.in(l.balancer, func() {
			c, refused, err := l.a.Sync(context.Background(), l.plan)
			l.must(errors.Join(err, errorOf(refused)))
			if now := list(); c.Changed != test.changed || now != rules {
				l.t.Errorf("%s: %d elements changed, want %d; rules touched: %v", test.name, c.Changed, test.changed, now != rules)
			}
		})
		for _, from := range test.answered {
			if l.silent(from, addrFor(from)) {
				t.Errorf("%s: no answer to %q", test.name, from)
			}
		}
		for _, from := range test.silent {
			if turned++; !l.silent(from, addrFor(from)) {
				t.Errorf("%s: an answer to %q", test.name, from)
			}
		}
	}
	l.wantTurned(core.Turned{Denied: turned})
	l.closeAll(held) // it was not cut
	l.restart(true)
}

// addrFor is the service in the family of an address; none is IPv6.
func addrFor(from string) string {
	if from == "" {
		return held6
	}
	return heldAddr
}

// TestResetsPerClient has a client reset its connections. Those above the limit
// never reach the backend.
func TestResetsPerClient(t *testing.T) {
	l := newLimiter(t, func(t *core.Traffic) {
		t.Limits = core.Limits{ResetsPerClient: core.Rate{PerSecond: 1, Burst: 3}, Clients: 10, Answer: core.Drop}
	})
	began := time.Now()
	for _, c := range l.wantAdmitted(8, 8, c2) {
		l.must(c.(*net.TCPConn).SetLinger(0))
		l.must(c.Close())
	}
	all, err := l.a.Counters(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	rated(t, 8-int(all[core.CounterKey{Service: "web"}].Turned.Resets), 3, 1, began)
	for _, c := range l.wantAdmitted(2, 2, c3) {
		l.must(c.(*net.TCPConn).SetLinger(0))
		l.must(c.Close())
	}
	l.wantTurned(all[core.CounterKey{Service: "web"}].Turned)
	l.disturb()
}

// TestStrict sends what connection tracking cannot make sense of.
func TestStrict(t *testing.T) {
	l := newLimiter(t, func(t *core.Traffic) { t.Limits.Strict = true })
	l.wantAdmitted(1, 1, c2)
	const sent = 4
	for _, port := range []byte{80, 81} {
		l.in(l.client, func() {
			s, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_TCP)
			l.must(err)
			defer unix.Close(s)
			// A TCP header with SYN and FIN, which no sane sender combines.
			header := []byte{0x30, 0x39, 0, port, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x03, 0xff, 0xff, 0, 0, 0, 0}
			for range sent {
				l.must(unix.Sendto(s, header, 0, &unix.SockaddrInet4{Addr: [4]byte{10, 0, 9, 1}}))
			}
		})
	}
	l.wantTurned(core.Turned{Invalid: sent})
	l.wantAdmitted(1, 1, c2)
	l.disturb()
}

// TestLog reads what the kernel's log says of those who are turned away, and that
// it does not say more of them than it may.
func TestLog(t *testing.T) {
	l := newLimiter(t, func(t *core.Traffic) {
		t.Limits = core.Limits{Open: 1, Answer: core.Reject}
		t.Log = core.LogRule{PerSecond: 2}
	})
	const sysctl = "/proc/sys/net/netfilter/nf_log_all_netns"
	was, err := os.ReadFile(sysctl)
	if err != nil {
		giveUp(t, "the log of a network namespace cannot be seen: %v", err)
	}
	if err := os.WriteFile(sysctl, []byte("1"), 0o644); err != nil {
		giveUp(t, "the log of a network namespace cannot be seen: %v", err)
	}
	t.Cleanup(func() { _ = os.WriteFile(sysctl, was, 0o644) })
	kmsg, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		giveUp(t, "the kernel's log cannot be read: %v", err)
	}
	defer unix.Close(kmsg)
	if _, err := unix.Seek(kmsg, 0, unix.SEEK_END); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	l.wantAdmitted(11, 1, c2)
	lines := 0
	var b [8192]byte
	for {
		n, err := unix.Read(kmsg, b[:])
		if err != nil {
			break // EAGAIN: the log is read
		}
		if bytes.Contains(b[:n], []byte("steelyard web open: ")) && strings.Contains(string(b[:n]), "SRC=10.0.1.2 DST=10.0.9.1") {
			lines++
		}
	}
	rated(t, lines, 2, 2, began)
	l.wantTurned(core.Turned{Open: 10})
}
