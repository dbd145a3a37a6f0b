// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/core"
)

func pingTarget(addr string) Target {
	target := tcpTarget(netip.AddrPortFrom(netip.MustParseAddr(addr), 80))
	target.Spec.Type, target.Spec.Ping = core.ProbePing, core.PingSpec{Count: 3, Size: 56}
	target.Spec.Timeout = ample
	return target
}

// pingAll runs a probe of each target at the same time.
func pingAll(t *testing.T, targets []Target) []result {
	t.Helper()
	results := make([]result, len(targets))
	var wg sync.WaitGroup
	for i, target := range targets {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), target.Spec.Timeout)
			defer cancel()
			results[i] = newPing(target).probe(ctx)
		})
	}
	wg.Wait()
	return results
}

// pingTargets are so many of a network, each a target of the same probe.
func pingTargets(first string, n int, timeout time.Duration) []Target {
	a := netip.MustParseAddr(first)
	spec := pingTarget(first).Spec
	spec.Timeout = timeout
	targets := make([]Target, n)
	for i := range targets {
		targets[i] = Target{Addr: netip.AddrPortFrom(a, 80), Spec: spec}
		a = a.Next()
	}
	return targets
}

// noPingsLeft checks that no socket and no reader outlives its runs. A reader that has
// said that it ends may still be on its way out.
func noPingsLeft(t *testing.T) {
	t.Helper()
	pings.mu.Lock()
	defer pings.mu.Unlock()
	if len(pings.sockets) > 0 {
		t.Errorf("%d sockets are left", len(pings.sockets))
	}
	stacks := ""
	for deadline := time.Now().Add(ample); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if stacks = allStacks(); !strings.Contains(stacks, "pingSocket") && !strings.Contains(stacks, "icmpSocket") {
			return
		}
	}
	t.Errorf("goroutines are left:\n%s", stacks)
}

// allStacks are the calls of every goroutine that exists.
func allStacks() string {
	b := make([]byte, 1<<20)
	return string(b[:runtime.Stack(b, true)])
}

func TestPing(t *testing.T) {
	need(t, os.Getuid() == 0, "root")
	for _, addr := range []string{"127.0.0.1", "::1", "::ffff:127.0.0.1"} {
		s := ask(t, pingTarget(addr))
		wantCode(t, s, true, core.PingOK, "echo reply from "+addr)
		wantMetrics(t, s, core.MetricRTT, core.MetricLoss)
		rtt, _ := s.Metric(core.MetricRTT)
		loss, _ := s.Metric(core.MetricLoss)
		if rtt.Value <= 0 || rtt.Value > ample.Seconds() || loss.Value != 0 {
			t.Errorf("%s: rtt %g s, loss %g", addr, rtt.Value, loss.Value)
		}
	}
	noPingsLeft(t)
}

// TestPingSizes asks with the least and with more than fits into a frame.
func TestPingSizes(t *testing.T) {
	need(t, os.Getuid() == 0, "root")
	for _, addr := range []string{"127.0.0.1", "::1"} {
		for _, size := range []int{0, 8, 9, 1472, 60_000, 1 << 20} {
			target := pingTarget(addr)
			target.Spec.Ping = core.PingSpec{Size: size}
			if s := ask(t, target); !s.OK {
				t.Errorf("%s, %d bytes: %s %s", addr, size, s.Code, s.Detail)
			}
		}
	}
}

// TestPingTrace reads what `probe test -v` says.
func TestPingTrace(t *testing.T) {
	need(t, os.Getuid() == 0, "root")
	var said []string
	ctx, cancel := context.WithTimeout(traced(t.Context(), func(step, text string) { said = append(said, step+" "+text) }), ample)
	defer cancel()
	newPing(pingTarget("127.0.0.1")).probe(ctx)
	all := strings.Join(said, "\n")
	for _, want := range []string{"socket raw socket, identifier ", "sent 3 echo requests with 56 bytes to 127.0.0.1", "reply to request 3 from 127.0.0.1 in "} {
		if !strings.Contains(all, want) {
			t.Errorf("the trace lacks %q:\n%s", want, all)
		}
	}
}

// TestPingNoTime: a run that began too late says so, instead of blaming the backend.
func TestPingNoTime(t *testing.T) {
	need(t, os.Getuid() == 0, "root")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r := newPing(pingTarget("127.0.0.1")).probe(ctx); r.ok || r.code != core.Internal {
		t.Errorf("got %+v", r)
	}
}

// pingFleetLines make a network of addresses that answer, in both families.
const pingFleetLines = `ip link set lo up && ip route add local 10.9.0.0/16 dev lo && ip -6 route add local fd00:9::/64 dev lo`

// TestPingFleet asks thousands at the same time, through one socket of each family.
func TestPingFleet(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	shell(t, pingFleetLines)
	targets := append(pingTargets("10.9.0.1", 2000, 5*time.Second), pingTargets("fd00:9::1", 2000, 5*time.Second)...)
	for i, r := range pingAll(t, targets) {
		if !r.ok || r.metrics[1].Value != 0 {
			t.Fatalf("%s: %+v", targets[i].Addr, r)
		}
	}
	noPingsLeft(t)
}

// TestPingHanging asks hundreds of neighbours that do not exist, for whom the kernel
// holds more than a socket's usual buffer, and others at the same time, which must not
// suffer. More would fill the table of neighbours, which all namespaces share.
func TestPingHanging(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	shell(t, pingFleetLines+` && ip link add v0 type veth peer name v1 && ip link set v1 up && ip link set v0 up && ip addr add 10.8.0.1/16 dev v0`)
	dead, alive := pingTargets("10.8.1.0", 500, 2*time.Second), pingTargets("10.9.0.1", 200, 2*time.Second)
	results := pingAll(t, append(dead, alive...))
	for i, r := range results[:len(dead)] {
		if r.code != core.PingLost && r.code != core.L4Unreach {
			t.Fatalf("%s: %+v", dead[i].Addr, r)
		}
	}
	for i, r := range results[len(dead):] {
		if !r.ok || r.metrics[1].Value != 0 {
			t.Fatalf("%s: %+v", alive[i].Addr, r)
		}
	}
	noPingsLeft(t)
}

// TestPingLost asks addresses whose answers are dropped: all of them, and some.
func TestPingLost(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	shell(t, `ip link set lo up && nft 'add table inet f; add chain inet f in { type filter hook input priority 0; };
		add rule inet f in ip saddr 127.0.0.9 drop; add rule inet f in ip saddr 127.0.0.10 icmp type echo-reply numgen inc mod 2 == 0 drop'`)
	wantCode(t, ask(t, inVain(pingTarget("127.0.0.9"), core.PingLost)), false, core.PingLost, "no echo reply from 127.0.0.9 to 3 requests")
	target := pingTarget("127.0.0.10")
	target.Spec.Ping.Count, target.Spec.Timeout = 20, time.Second // it waits for those that were lost
	s := ask(t, target)
	wantCode(t, s, true, core.PingOK, "some were lost")
	if loss, _ := s.Metric(core.MetricLoss); loss.Value != 0.5 {
		t.Errorf("loss %g, want 0.5", loss.Value)
	}
}

// TestPingRefused asks addresses that somebody on the way says cannot be reached.
func TestPingRefused(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	refusePings(t)
	for _, tt := range pingRefusals {
		wantCode(t, ask(t, pingTarget(tt.addr)), false, core.L4Unreach, "no way to "+tt.addr+": "+tt.reason+", says ")
	}
	noPingsLeft(t)
}

var pingRefusals = []struct{ addr, reason string }{
	{"10.9.0.1", "host unreachable"}, {"10.9.0.2", "administratively prohibited"},
	{"fd00:9::1", "no route"}, {"fd00:9::2", "administratively prohibited"},
}

func refusePings(t *testing.T) {
	t.Helper()
	shell(t, pingFleetLines+` && nft 'add table inet f; add chain inet f in { type filter hook input priority 0; };
		add rule inet f in ip daddr 10.9.0.1 icmp type echo-request reject with icmp host-unreachable;
		add rule inet f in ip daddr 10.9.0.2 icmp type echo-request reject with icmp admin-prohibited;
		add rule inet f in ip6 daddr fd00:9::1 icmpv6 type echo-request reject with icmpv6 no-route;
		add rule inet f in ip6 daddr fd00:9::2 icmpv6 type echo-request reject with icmpv6 admin-prohibited'`)
}

// An icmpAnswer is a message from an address of this machine.
type icmpAnswer struct {
	from    netip.Addr
	message []byte
}

// respondICMP answers echo requests instead of the kernel.
func respondICMP(t *testing.T, answers func(to netip.Addr, request []byte) []icmpAnswer) {
	t.Helper()
	shell(t, "sysctl -qw net.ipv4.icmp_echo_ignore_all=1")
	conn, err := net.ListenIP("ip4:icmp", &net.IPAddr{IP: net.IPv4zero})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		packet := make([]byte, 2048)
		for {
			var n int
			if raw.Read(func(fd uintptr) bool { n, _, err = unix.Recvfrom(int(fd), packet, 0); return err != unix.EAGAIN }) != nil {
				return
			}
			if err != nil || n < 28 || packet[20] != icmpEcho {
				continue
			}
			for _, a := range answers(netip.AddrFrom4([4]byte(packet[16:20])), append([]byte(nil), packet[20:n]...)) {
				out, err := net.DialIP("ip4:icmp", &net.IPAddr{IP: a.from.AsSlice()}, &net.IPAddr{IP: packet[12:16]})
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = out.Write(a.message)
				_ = out.Close()
			}
		}
	})
	t.Cleanup(func() { _ = conn.Close(); wg.Wait() })
}

// forgeICMP is the reply to a request, changed.
func forgeICMP(request []byte, change func([]byte)) []byte {
	b := append([]byte(nil), request...)
	b[0] = icmpEchoReply
	change(b)
	b[2], b[3] = 0, 0
	binary.BigEndian.PutUint16(b[2:], checksum(b))
	return b
}

// misled is an error about a request of the same numbers that went elsewhere.
func misled(request []byte) []byte {
	b := icmpRefusal(false, icmpUnreachable, 1, echoHeader)
	copy(b[len(b)-echoHeader:], request)
	binary.BigEndian.PutUint16(b[2:], checksum(b))
	return b
}

// TestPingForged: what is not the answer to our request, in every particular, is
// none.
func TestPingForged(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	shell(t, pingFleetLines)
	stranger := netip.MustParseAddr("10.9.9.9")
	same := func([]byte) {}
	respondICMP(t, func(to netip.Addr, request []byte) []icmpAnswer {
		switch to.String() {
		case "10.9.0.1": // forged in one way or another
			return []icmpAnswer{
				{stranger, forgeICMP(request, same)},
				{to, forgeICMP(request, func(b []byte) { b[echoHeader+7] ^= 1 })},
				{to, forgeICMP(request, func(b []byte) { b[5] ^= 1 })},
				{to, forgeICMP(request, func(b []byte) { b[7] ^= 0x80 })},
				{to, forgeICMP(request, same)[:echoHeader]},
				{to, forgeICMP(request, func(b []byte) { b[0] = icmpEcho; b[4] ^= 1 })},
				{to, forgeICMP(request, func(b []byte) { b[0] = 13 })},
				{stranger, misled(request)},
			}
		case "10.9.0.2": // each three times
			return []icmpAnswer{{to, forgeICMP(request, same)}, {to, forgeICMP(request, same)}, {to, forgeICMP(request, same)}}
		}
		return nil
	})
	wantCode(t, ask(t, inVain(pingTarget("10.9.0.1"), core.PingLost)), false, core.PingLost, "no echo reply from 10.9.0.1 to 3 requests")
	s := ask(t, pingTarget("10.9.0.2"))
	wantCode(t, s, true, core.PingOK, "")
	if loss, _ := s.Metric(core.MetricLoss); loss.Value != 0 {
		t.Errorf("with duplicates: loss %g", loss.Value)
	}
}

// TestPingWay leaves by a source, a mark, a device and a namespace.
func TestPingWay(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	shell(t, pingFleetLines+` && ip -6 addr add fd00:9::77 dev lo && nft 'add table inet f; add chain inet f out { type filter hook output priority 0; };
		add rule inet f out meta mark 7 drop; add rule inet f out ip saddr 10.9.0.77 drop; add rule inet f out ip6 saddr fd00:9::77 drop'`)
	there := exec.Command("unshare", "-n", "sh", "-c", "ip link set lo up && echo ready && exec sleep 60")
	ready, err := there.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := there.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = there.Process.Kill(); _ = there.Wait() })
	if _, err := ready.Read(make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	ns := fmt.Sprintf("/proc/%d/ns/net", there.Process.Pid)
	for _, tt := range []struct {
		name, addr string
		way        core.Way
		code       core.Code
		detail     string
	}{
		{"none", "10.9.0.1", core.Way{}, core.PingOK, ""},
		{"source", "10.9.0.1", core.Way{Source: netip.MustParseAddr("10.9.0.77")}, core.Internal, "filter rules"},
		{"source", "fd00:9::1", core.Way{Source: netip.MustParseAddr("fd00:9::77")}, core.Internal, "filter rules"},
		{"another source", "10.9.0.1", core.Way{Source: netip.MustParseAddr("10.9.0.78")}, core.PingOK, ""},
		{"not our source", "10.9.0.1", core.Way{Source: netip.MustParseAddr("192.0.2.1")}, core.Internal, "source 192.0.2.1"},
		{"source of the other family", "10.9.0.1", core.Way{Source: netip.MustParseAddr("fd00:9::77")}, core.Internal, "address family"},
		{"mark", "10.9.0.1", core.Way{Mark: 7}, core.Internal, "filter rules"},
		{"device", "10.9.0.1", core.Way{Device: "lo"}, core.PingOK, ""},
		{"no device", "10.9.0.1", core.Way{Device: "nosuch0"}, core.Internal, "device nosuch0"},
		{"namespace without a route", "10.9.0.1", core.Way{Netns: ns}, core.L4Unreach, "no way to 10.9.0.1: network is unreachable"},
		{"namespace", "127.0.0.1", core.Way{Netns: ns}, core.PingOK, ""},
		{"no namespace", "127.0.0.1", core.Way{Netns: "/nosuch"}, core.Internal, "network namespace /nosuch"},
		{"zone", "fe80::1%nosuch0", core.Way{}, core.Internal, "zone of fe80::1%nosuch0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			target := pingTarget(tt.addr)
			target.Spec.Way = tt.way
			wantCode(t, ask(t, target), tt.code == core.PingOK, tt.code, tt.detail)
		})
	}
	noPingsLeft(t)
}

// TestPingLinkLocal asks a neighbour whose address needs a zone.
func TestPingLinkLocal(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	shell(t, `ip link add v0 type veth peer name v1 && ip link set v1 up && ip link set v0 up && ip -6 addr add fe80::77/64 dev v0 nodad && ip link set lo up`)
	wantCode(t, ask(t, pingTarget("fe80::77%v0")), true, core.PingOK, "echo reply from fe80::77%v0")
}

// TestPingUnprivileged runs this test again as nobody in a namespace, where the
// kernel first forbids ping sockets and then allows them.
func TestPingUnprivileged(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	if how := os.Getenv("SY_NOBODY"); how != "" {
		pingAsNobody(t, how)
		return
	}
	refusePings(t)
	shell(t, "ip route add prohibit 192.0.2.1 && ip route add unreachable 192.0.2.2")
	// nobody must be able to run the test binary, which lies in root's build folder.
	self, err := os.Open(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close() //nolint:errcheck // read only
	for _, step := range []struct{ name, groups string }{{"forbidden", "1 0"}, {"allowed", "0 65534"}} {
		shell(t, "echo '"+step.groups+"' > /proc/sys/net/ipv4/ping_group_range")
		cmd := exec.Command("/proc/self/fd/3", "-test.run", "^TestPingUnprivileged$", "-test.v")
		cmd.ExtraFiles = []*os.File{self}
		cmd.Dir = "/"
		cmd.Env = append(os.Environ(), "SY_NOBODY="+step.name, "SY_IN_NETNS=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", step.name, err, out)
		}
	}
}

// pingAsNobody is the part of TestPingUnprivileged without capabilities. Targets that
// are refused must not disturb those beside them on the same socket.
func pingAsNobody(t *testing.T, how string) {
	if how == "forbidden" {
		wantCode(t, ask(t, pingTarget("127.0.0.1")), false, core.Internal, "net.ipv4.ping_group_range")
		noPingsLeft(t)
		return
	}
	wantCode(t, ask(t, pingTarget("127.0.0.1")), true, core.PingOK, "echo reply")
	wantCode(t, ask(t, pingTarget("::1")), true, core.PingOK, "echo reply")
	wantCode(t, ask(t, pingTarget("192.0.2.1")), false, core.L4Unreach, "no way to 192.0.2.1")
	wantCode(t, ask(t, pingTarget("192.0.2.2")), false, core.L4Unreach, "no way to 192.0.2.2")
	targets := append(pingTargets("10.9.1.0", 300, 5*time.Second), pingTargets("fd00:9::100", 300, 5*time.Second)...)
	for _, tt := range pingRefusals {
		wantCode(t, ask(t, pingTarget(tt.addr)), false, core.L4Unreach, "no way to "+tt.addr+": "+tt.reason+", says ")
		for range 100 {
			targets = append(targets, pingTargets(tt.addr, 1, 5*time.Second)...)
		}
	}
	for i, r := range pingAll(t, targets) {
		if want := i < 600; r.ok != want {
			t.Fatalf("%s: %+v", targets[i].Addr, r)
		}
	}
	noPingsLeft(t)
}

// TestPingBroken: a prohibit route, a blackhole, a filter and a broadcast address
// end a run at once.
func TestPingBroken(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	shell(t, pingFleetLines+` && ip addr add 10.7.0.1/24 brd + dev lo && ip route add prohibit 192.0.2.1 && ip route add unreachable 192.0.2.2 && ip route add blackhole 192.0.2.3 &&
		nft 'add table inet f; add chain inet f out { type filter hook output priority 0; }; add rule inet f out ip daddr 10.9.0.9 drop'`)
	for _, tt := range []struct {
		addr   string
		code   core.Code
		detail string
	}{
		{"192.0.2.1", core.L4Unreach, "permission denied"},
		{"192.0.2.2", core.L4Unreach, "no route to host"},
		{"192.0.2.3", core.L4Unreach, "invalid argument"},
		{"192.0.2.4", core.L4Unreach, "network is unreachable"},
		{"2001:db8::1", core.L4Unreach, "no way to 2001:db8::1"},
		{"10.7.0.255", core.L4Unreach, "permission denied"},
		{"10.9.0.9", core.Internal, "filter rules"},
	} {
		t.Run(tt.addr, func(t *testing.T) {
			wantCode(t, ask(t, pingTarget(tt.addr)), false, tt.code, tt.detail)
		})
	}
}

// TestPingSocketAges: a socket is not given out for ever, however busy it is.
func TestPingSocketAges(t *testing.T) {
	need(t, os.Getuid() == 0, "root")
	var h pingHub
	get := func() *pingSocket {
		s, err := h.acquire(pingKey{})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	first := get()
	if second := get(); second != first {
		t.Error("two who use it at the same time have a socket each")
	}
	h.mu.Lock()
	first.born = first.born.Add(-2 * maxPingSocketAge)
	h.mu.Unlock()
	third := get()
	if third == first {
		t.Error("an old socket is given out")
	}
	h.release(first)
	h.release(first)
	<-first.ended
	if fourth := get(); fourth != third {
		t.Error("the end of the old one took the new one along")
	}
	h.release(third)
	h.release(third)
	<-third.ended
	if len(h.sockets) > 0 {
		t.Errorf("%d sockets are left", len(h.sockets))
	}
}

// TestPingHammer opens and closes shared sockets while others use them.
func TestPingHammer(t *testing.T) {
	need(t, os.Getuid() == 0, "root")
	var wg sync.WaitGroup
	for worker := range 20 {
		wg.Go(func() {
			for i := range 30 {
				target := pingTarget([]string{"127.0.0.1", "::1"}[(worker+i)%2])
				target.Spec.Timeout = 5 * time.Second
				target.Spec.Ping.Count, target.Spec.Way.Mark = 1, uint32(i%3)
				ctx, cancel := context.WithTimeout(t.Context(), target.Spec.Timeout)
				if r := newPing(target).probe(ctx); !r.ok {
					t.Errorf("%+v", r)
				}
				cancel()
			}
		})
	}
	wg.Wait()
	noPingsLeft(t)
}
