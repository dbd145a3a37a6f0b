// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/core"
)

// wayChild is set in the process that has namespaces of its own.
const wayChild = "STEELYARD_WAY_CHILD"

// wayNet is what the tests of ways need. Here: a0 and b0 to the peer, which has
// 192.0.2.50 and 2001:db8:50::1 behind both; a0 is the way there unless something
// is said. d0 is in the VRF blue, its networks are not in the main table. The namespace other has a link of its own to the peer.
const wayNet = `
set -e
mkdir -p /run/netns
mount -t tmpfs none /run/netns
ip link set lo up
ip netns add peer
ip netns add other
touch /run/netns/broken
ip -n peer link set lo up
link() { # name, name at the peer, network, where
	ip link add $1 type veth peer name $2
	ip link set $2 netns peer
	[ -z "$4" ] || ip link set $1 netns $4
	ip ${4:+-n $4} address add 198.18.$3.1/24 dev $1
	ip ${4:+-n $4} address add 2001:db8:$3::1/64 dev $1 nodad
	ip -n peer address add 198.18.$3.2/24 dev $2
	ip -n peer address add 2001:db8:$3::2/64 dev $2 nodad
	ip ${4:+-n $4} link set $1 up
	ip -n peer link set $2 up
}
link a0 a1 1
link b0 b1 2
link d0 d1 3
if ip link add blue type vrf table 10 2>/dev/null; then
	ip link set blue up
	ip link set d0 master blue
	ip -6 address replace 2001:db8:3::1/64 dev d0 nodad
else # this kernel has none: rules that do the same
	ip rule add oif d0 lookup 10
	ip -6 rule add oif d0 lookup 10
	ip route flush dev d0
	ip -6 route flush dev d0
	ip route add 198.18.3.0/24 dev d0 table 10
	ip -6 route add 2001:db8:3::/64 dev d0 table 10
fi
link o0 o1 4 other
ip address add 198.18.1.9/24 dev a0
ip address add 2001:db8:1::9/64 dev a0 nodad
ip -n peer address add 192.0.2.50/32 dev lo
ip -n peer address add 2001:db8:50::1/128 dev lo nodad
ip route add 192.0.2.50 via 198.18.1.2 metric 1
ip route add 192.0.2.50 via 198.18.2.2 metric 9
ip route add 2001:db8:50::1 via 2001:db8:1::2 metric 1
ip route add 2001:db8:50::1 via 2001:db8:2::2 metric 9
ip rule add fwmark 0x2a lookup 42
ip -6 rule add fwmark 0x2a lookup 42
ip route add 192.0.2.50 via 198.18.2.2 table 42
ip route add 2001:db8:50::1 via 2001:db8:2::2 table 42
nft -f - << 'END'
table inet seen {
	chain out {
		type filter hook output priority 0
		meta mark 0x2a ip daddr 192.0.2.50 meta l4proto tcp counter
		meta mark 0x2a ip daddr 192.0.2.50 meta l4proto udp counter
		meta mark 0x2a ip6 daddr 2001:db8:50::1 meta l4proto tcp counter
		meta mark 0x2a ip6 daddr 2001:db8:50::1 meta l4proto udp counter
	}
}
END
`

// TestWays runs the tests below in a process with a network of its own.
func TestWays(t *testing.T) {
	if os.Getenv(wayChild) == "" {
		need(t, os.Geteuid() == 0, "root, to make network namespaces")
		for _, program := range []string{"ip", "nft", "mount"} {
			_, err := exec.LookPath(program)
			need(t, err == nil, program)
		}
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestWays$", "-test.v")
		cmd.Env = append(os.Environ(), wayChild+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET}
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "--- PASS: TestWays/Source") {
			t.Fatalf("in a network of its own: %v\n%s", err, out)
		}
		return
	}
	if out, err := exec.CommandContext(t.Context(), "sh", "-c", wayNet).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	servePeer(t)
	t.Run("Source", testWaySource)
	t.Run("Device", testWayDevice)
	t.Run("Mark", testWayMark)
	t.Run("Netns", testWayNetns)
	t.Run("Together", testWaysTogether)
	t.Run("Errors", testWayErrors)
	t.Run("NoFiles", testNoFiles)
	t.Run("NotPermitted", testWayNotPermitted)
	t.Run("HoldsNoThread", testWayHoldsNoThread)
	t.Run("ThreadDies", testThreadDies)
}

// servePeer tells whoever connects to port 7 of an address of the peer, or sends it
// a datagram, from which address he comes.
func servePeer(t *testing.T) {
	t.Helper()
	for _, addr := range []string{peer4, peer6, "198.18.3.2", "2001:db8:3::2", "198.18.4.2", "2001:db8:4::2"} {
		var ln net.Listener
		var pc net.PacketConn
		err := way{Netns: "peer"}.inside(func() (err error) {
			if ln, err = net.Listen("tcp", net.JoinHostPort(addr, "7")); err == nil {
				pc, err = net.ListenPacket("udp", net.JoinHostPort(addr, "7"))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				wg.Go(func() { // unread bytes at the close would take the answer with them
					_, _ = c.Read(make([]byte, 1))
					_, _ = fmt.Fprintln(c, c.RemoteAddr())
					_ = c.Close()
				})
			}
		})
		wg.Go(func() {
			for {
				_, from, err := pc.ReadFrom(make([]byte, 64))
				if err != nil {
					return
				}
				_, _ = pc.WriteTo([]byte(from.String()+"\n"), from)
			}
		})
		t.Cleanup(func() { _ = ln.Close(); _ = pc.Close(); wg.Wait() })
	}
}

// seenFrom asks the peer over a way from which address we come: over TCP, over a
// connected UDP socket and over an unconnected one.
func seenFrom(t *testing.T, w way, network string, to string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), ample)
	defer cancel()
	addr := netip.AddrPortFrom(netip.MustParseAddr(to), 7)
	if network == "unconnected" {
		c, err := w.listen(ctx, addr.Addr())
		if err != nil {
			return "", err
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(ample))
		if _, err := c.WriteToUDPAddrPort([]byte("?"), addr); err != nil {
			return "", err
		}
		return said(c)
	}
	c, err := w.dial(ctx, network, addr)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(ample))
	if _, err := c.Write([]byte("?")); err != nil {
		return "", err
	}
	return said(c)
}

func said(c net.Conn) (string, error) {
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return "", err
	}
	from, err := netip.ParseAddrPort(strings.TrimSpace(line))
	return from.Addr().Unmap().String(), err
}

var wayNetworks = []string{"tcp", "udp", "unconnected"}

// wantFrom asks in each way that there is, and wants the peer to see these addresses.
func wantFrom(t *testing.T, w way, to4, from4, to6, from6 string) {
	t.Helper()
	for _, network := range wayNetworks {
		for _, x := range [][2]string{{to4, from4}, {to6, from6}} {
			v := w
			if v.Source.Is6() != strings.Contains(x[0], ":") && v.Source.IsValid() {
				v.Source = netip.MustParseAddr(x[1])
			}
			got, err := seenFrom(t, v, network, x[0])
			if err != nil || got != x[1] {
				t.Errorf("%s to %s over %+v: the peer sees %q (%v), want %s", network, x[0], v, got, err, x[1])
			}
		}
	}
}

const peer4, peer6 = "192.0.2.50", "2001:db8:50::1"

func testWaySource(t *testing.T) {
	wantFrom(t, way{}, peer4, "198.18.1.1", peer6, "2001:db8:1::9") // the kernel's choice
	wantFrom(t, way{Source: netip.MustParseAddr("198.18.1.9")}, peer4, "198.18.1.9", peer6, "2001:db8:1::1")
	// Without IP_BIND_ADDRESS_NO_PORT two sockets bound to one source never have one port.
	w := way{Source: netip.MustParseAddr("198.18.1.9")}
	c, err := w.dial(t.Context(), "tcp", netip.MustParseAddrPort("192.0.2.50:7"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	raw, _ := c.(*net.TCPConn).SyscallConn()
	_ = raw.Control(func(fd uintptr) {
		if on, err := unix.GetsockoptInt(int(fd), unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT); on != 1 {
			t.Errorf("IP_BIND_ADDRESS_NO_PORT is %d (%v)", on, err)
		}
	})
}

func testWayDevice(t *testing.T) {
	wantFrom(t, way{Device: "b0"}, peer4, "198.18.2.1", peer6, "2001:db8:2::1")
	if from, err := seenFrom(t, way{}, "tcp", "198.18.3.2"); !unreachable(err) {
		t.Errorf("without the VRF: %q, %v", from, err)
	}
	wantFrom(t, way{Device: blue(t)}, "198.18.3.2", "198.18.3.1", "2001:db8:3::2", "2001:db8:3::1")
}

// blue is the VRF, or what stands for it.
func blue(t *testing.T) string {
	t.Helper()
	if _, err := net.InterfaceByName("blue"); err != nil {
		t.Log("this kernel has no VRF: d0 with rules of its own stands for it")
		return "d0"
	}
	return "blue"
}

func testWayMark(t *testing.T) {
	// The rule for the mark routes through b0, and nft counts what has it.
	wantFrom(t, way{Mark: 0x2a}, peer4, "198.18.2.1", peer6, "2001:db8:2::1")
	out, err := exec.CommandContext(t.Context(), "nft", "list", "chain", "inet", "seen", "out").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if n := strings.Count(string(out), "counter packets"); n != 4 || strings.Contains(string(out), "counter packets 0 ") {
		t.Errorf("want packets at each of 4 counters:\n%s", out)
	}
}

func testWayNetns(t *testing.T) {
	if from, err := seenFrom(t, way{}, "tcp", "198.18.4.2"); err == nil {
		t.Errorf("the network of the namespace is reached from here: %q", from)
	}
	wantFrom(t, way{Netns: "other"}, "198.18.4.2", "198.18.4.1", "2001:db8:4::2", "2001:db8:4::1")
	wantFrom(t, way{Netns: "/run/netns/other"}, "198.18.4.2", "198.18.4.1", "2001:db8:4::2", "2001:db8:4::1")
	s := ask(t, Target{
		Addr: netip.MustParseAddrPort("198.18.4.2:7"),
		Spec: &core.ProbeSpec{Type: core.ProbeTCP, Timeout: ample, Way: core.Way{Netns: "other"}},
	})
	wantCode(t, s, true, core.L4OK, "198.18.4.2:7")
	s = ask(t, Target{
		Addr: netip.MustParseAddrPort("198.18.4.2:8"),
		Spec: &core.ProbeSpec{Type: core.ProbeTCP, Timeout: ample, Way: core.Way{Netns: "other"}},
	})
	wantCode(t, s, false, core.L4Refused, "198.18.4.2:8")
}

func testWaysTogether(t *testing.T) {
	w := way{Netns: "other", Device: "o0", Mark: 7, Source: netip.MustParseAddr("198.18.4.1")}
	wantFrom(t, w, "198.18.4.2", "198.18.4.1", "2001:db8:4::2", "2001:db8:4::1")
	wantFrom(t, way{Device: blue(t), Source: netip.MustParseAddr("198.18.3.1")}, "198.18.3.2", "198.18.3.1", "2001:db8:3::2", "2001:db8:3::1")
}

func testWayErrors(t *testing.T) {
	tests := []struct {
		name string
		way  way
		want string
	}{
		{"namespace", way{Netns: "nowhere"}, "network namespace nowhere: no file /run/netns/nowhere: make it with `ip netns add`"},
		{"not a namespace", way{Netns: "broken"}, "network namespace broken: /run/netns/broken is not a network namespace"},
		{"path", way{Netns: "/tmp/nowhere"}, "network namespace /tmp/nowhere: no file /tmp/nowhere"},
		{"device", way{Device: "eth7"}, "device eth7 is not in this machine: compare with `ip -br link`"},
		{"device of here, there", way{Device: "a0", Netns: "other"}, "device a0 is not in network namespace other: compare with `ip -n other -br link`"},
		{"source", way{Source: netip.MustParseAddr("203.0.113.9")}, "source 203.0.113.9 is not an address of this machine: compare with `ip -br address`"},
		{"source of here, there", way{Source: netip.MustParseAddr("198.18.1.9"), Netns: "other"}, "source 198.18.1.9 is not an address of network namespace other: compare with `ip -n other -br address`"},
		{"source of the other family", way{Source: netip.MustParseAddr("2001:db8:1::9")}, "source 2001:db8:1::9 and backend 192.0.2.50 are not of one address family"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, network := range wayNetworks {
				_, err := seenFrom(t, tt.way, network, peer4)
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("%s: %v\nwant %s", network, err, tt.want)
				}
				var ours wayError
				if !errors.As(err, &ours) || timedOut(err) || unreachable(err) {
					t.Errorf("%s: %v does not tell that it is ours", network, err)
				}
			}
			s := ask(t, Target{
				Addr: netip.MustParseAddrPort("192.0.2.50:7"),
				Spec: &core.ProbeSpec{Type: core.ProbeTCP, Timeout: ample, Way: core.Way(tt.way)},
			})
			wantCode(t, s, false, core.Internal, tt.want)
		})
	}
}

// testNoFiles lets the files run out.
func testNoFiles(t *testing.T) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	none := limit
	none.Cur = 4
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Setrlimit(unix.RLIMIT_NOFILE, &limit) }()
	for _, network := range wayNetworks {
		if _, err := seenFrom(t, way{}, network, peer4); err == nil || !strings.Contains(err.Error(), "too many open files: raise LimitNOFILE") {
			t.Errorf("%s: %v", network, err)
		}
	}
}

// testWayNotPermitted asks on a thread without a capability, which ends with it.
func testWayNotPermitted(t *testing.T) {
	onThreadThatEnds(func() {
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err := unix.Capset(&header, &none[0]); err != nil {
			t.Error(err)
			return
		}
		_, err := seenFrom(t, way{Mark: 0x2a}, "tcp", peer4)
		if err == nil || !strings.Contains(err.Error(), "mark 0x2a: not permitted: give the process CAP_NET_ADMIN") {
			t.Errorf("mark: %v", err)
		}
		there, err := os.Open("/run/netns/other")
		if err != nil {
			t.Error(err)
			return
		}
		defer there.Close()
		v := visit{there: int(there.Fd()), f: func() error { t.Error("got in"); return nil }}
		v.make()
		err = way{Netns: "other"}.badNetns(v.refused)
		if !strings.Contains(err.Error(), "network namespace other: not permitted: give the process CAP_SYS_ADMIN") {
			t.Errorf("namespace: %v", err)
		}
	})
}

// onThreadThatEnds calls f on a thread that ends with it; the first one of a process
// cannot.
func onThreadThatEnds(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			onThreadThatEnds(f)
			runtime.UnlockOSThread()
			return
		}
		f()
	}()
	<-done
}

// testWayHoldsNoThread lets 300 connections wait in a namespace for an address that
// nobody has.
func testWayHoldsNoThread(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	before := len(threads(t))
	var wg sync.WaitGroup
	for range 300 {
		wg.Go(func() {
			_, err := way{Netns: "other"}.dial(ctx, "tcp", netip.MustParseAddrPort("198.18.4.77:7"))
			if !timedOut(err) {
				t.Errorf("%v, want a time-out", err)
			}
		})
	}
	time.Sleep(time.Second)
	if n := len(threads(t)); n > before+50 {
		t.Errorf("%d threads while 300 connections wait, %d before", n, before)
	}
	wg.Wait()
}

// testThreadDies: a thread that does not come back, or whose visit panics, is gone, and
// nothing runs in the namespace afterwards.
func testThreadDies(t *testing.T) {
	home := threads(t)[strconv.Itoa(os.Getpid())]
	t.Cleanup(func() { setns = unix.Setns })
	ways := map[string]func(){
		"no way back": func() {
			calls := 0
			setns = func(fd, kind int) error {
				if calls++; calls == 2 {
					return syscall.EINVAL
				}
				return unix.Setns(fd, kind)
			}
			called := false
			if err := (way{Netns: "other"}).inside(func() error { called = true; return nil }); err != nil || !called {
				t.Errorf("%v, called: %t; the work inside was done", err, called)
			}
			setns = unix.Setns
		},
		"panic": func() {
			defer func() {
				if got := recover(); got != "inside" {
					t.Errorf("recovered %v", got)
				}
			}()
			_ = way{Netns: "other"}.inside(func() error { panic("inside") })
			t.Error("no panic came out")
		},
	}
	for name, stray := range ways {
		t.Run(name, func(t *testing.T) {
			for range 20 {
				stray()
			}
			var wg sync.WaitGroup
			for range 100 { // each on a thread of its own, so that all are used
				wg.Go(func() {
					runtime.LockOSThread()
					defer runtime.UnlockOSThread()
					if at, err := os.Readlink("/proc/thread-self/ns/net"); at != home {
						t.Errorf("a goroutine runs in %s (%v), not in %s", at, err, home)
					}
				})
			}
			wg.Wait()
			for range 100 {
				if allAt(threads(t), home) {
					return
				}
				time.Sleep(50 * time.Millisecond) // the kernel takes its time to bury it
			}
			t.Errorf("threads stay away: %v", threads(t))
		})
	}
}

func allAt(threads map[string]string, home string) bool {
	for _, at := range threads {
		if at != home {
			return false
		}
	}
	return true
}

// threads lists the threads of this process, and the namespace of each.
func threads(t *testing.T) map[string]string {
	t.Helper()
	tasks, err := filepath.Glob("/proc/self/task/*")
	if err != nil || len(tasks) == 0 {
		t.Fatalf("%d threads, %v", len(tasks), err)
	}
	all := make(map[string]string)
	for _, task := range tasks {
		if at, err := os.Readlink(task + "/ns/net"); err == nil { // else it is just gone
			all[filepath.Base(task)] = at
		}
	}
	return all
}

// BenchmarkInside is what a namespace costs a probe: there and back.
func BenchmarkInside(b *testing.B) {
	w := way{Netns: "/proc/self/ns/net"} // entering one's own namespace is as dear, but needs root, too
	if os.Geteuid() != 0 {
		b.Skip("needs root")
	}
	for b.Loop() {
		if err := w.inside(func() error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
