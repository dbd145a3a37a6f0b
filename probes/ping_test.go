// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"net/netip"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

func pingTarget(addr string) Target {
	target := tcpTarget(netip.AddrPortFrom(netip.MustParseAddr(addr), 80))
	target.Spec.Type, target.Spec.Ping = core.ProbePing, core.PingSpec{Count: 3, Size: 56}
	target.Spec.Timeout = 500 * time.Millisecond
	return target
}

func TestPing(t *testing.T) {
	need(t, os.Getuid() == 0, "root")
	for _, addr := range []string{"127.0.0.1", "::1"} {
		s := ask(t, pingTarget(addr))
		wantCode(t, s, true, core.PingOK, "echo reply from "+addr)
		wantMetrics(t, s, core.MetricRTT, core.MetricLoss)
		rtt, _ := s.Metric(core.MetricRTT)
		loss, _ := s.Metric(core.MetricLoss)
		if rtt.Value <= 0 || rtt.Value > 0.2 || loss.Value != 0 {
			t.Errorf("%s: rtt %g s, loss %g", addr, rtt.Value, loss.Value)
		}
	}
}

// TestPingLost asks an address whose answers are dropped.
func TestPingLost(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	shell(t, `ip link set lo up && nft 'add table inet f; add chain inet f in { type filter hook input priority 0; }; add rule inet f in ip saddr 127.0.0.9 drop'`)
	wantCode(t, ask(t, pingTarget("127.0.0.9")), false, core.PingLost, "no echo reply from 127.0.0.9 to 3 requests")
}

// TestPingUnprivileged runs this test again as nobody in a namespace, where the
// kernel first forbids ping sockets and then allows them.
func TestPingUnprivileged(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	if os.Getenv("SY_NOBODY") != "" {
		s := ask(t, pingTarget("127.0.0.1"))
		if os.Getenv("SY_NOBODY") == "allowed" {
			wantCode(t, s, true, core.PingOK, "echo reply")
		} else {
			wantCode(t, s, false, core.Internal, "net.ipv4.ping_group_range")
		}
		return
	}
	shell(t, "ip link set lo up")
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
