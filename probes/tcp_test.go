// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"context"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/probes/probestest"
)

func tcpTarget(addr netip.AddrPort) Target {
	return Target{
		ID:   core.BackendID{Service: "web", Backend: "web1"},
		Addr: addr,
		Spec: &core.ProbeSpec{Name: "alive", Type: core.ProbeTCP, Role: core.HealthRole, Timeout: ample},
	}
}

func TestTCP(t *testing.T) {
	listening := probestest.Mute(t)
	tests := []struct {
		name   string
		addr   netip.AddrPort
		ok     bool
		code   core.Code
		detail string
	}{
		{"accepted", listening, true, core.L4OK, "connected to " + listening.String()},
		{"refused", probestest.Refused(t), false, core.L4Refused, "refused"},
		{"silent", probestest.Full(t), false, core.L4Timeout, "no answer"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := ask(t, inVain(tcpTarget(tt.addr), tt.code))
			wantCode(t, s, tt.ok, tt.code, tt.detail)
			if tt.ok {
				wantMetrics(t, s, core.MetricConnect)
			}
		})
	}
}

func TestSampleIsFilledIn(t *testing.T) {
	before := time.Now()
	s := runOnce(t, tcpTarget(probestest.Mute(t)))
	if s.Backend.String() != "web/web1" || s.Probe != "alive" || s.Type != core.ProbeTCP || s.Role != core.HealthRole || s.Node != "test" || s.Seq != 1 {
		t.Errorf("got %+v", s)
	}
	if s.TakenAt.Location() != time.UTC || s.TakenAt.Before(before.Add(-time.Millisecond)) || s.Took <= 0 {
		t.Errorf("taken at %s, took %s", s.TakenAt, s.Took)
	}
}

// runOnce has a Runner probe until there is a sample.
func runOnce(t *testing.T, target Target) core.Sample {
	t.Helper()
	samples := make(chan core.Sample, 1) // the first; the others are dropped
	r := &Runner{Node: "test", Out: func(s core.Sample) {
		select {
		case samples <- s:
		default:
		}
	}}
	r.SetTargets([]Target{target})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	s := <-samples
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	return s
}

func TestPortOfSpecWins(t *testing.T) {
	target := tcpTarget(probestest.Mute(t))
	target.Spec.Port, target.Addr = target.Addr.Port(), netip.AddrPortFrom(target.Addr.Addr(), 1)
	wantCode(t, ask(t, target), true, core.L4OK, "")
}

// inNamespace runs f of this test binary alone in a network namespace of its
// own, where it may break the routes.
func inNamespace(t *testing.T) bool {
	t.Helper()
	if os.Getenv("SY_IN_NETNS") != "" {
		return true
	}
	need(t, os.Getuid() == 0, "root")
	cmd := exec.Command("unshare", "-n", os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), "SY_IN_NETNS=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("in a namespace: %v\n%s", err, out)
	}
	return false
}

func shell(t *testing.T, line string) {
	t.Helper()
	if out, err := exec.Command("sh", "-c", line).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", line, err, out)
	}
}

// TestNoWayOut covers what only a broken host shows: no route, a forbidden
// route, a filter. The prohibit route once made the ping spin for ever.
func TestNoWayOut(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	shell(t, `ip link set lo up && ip route add prohibit 192.0.2.1 && ip route add unreachable 192.0.2.2 &&
		nft 'add table inet f; add chain inet f out { type filter hook output priority 0; }; add rule inet f out ip daddr 127.0.0.9 drop'`)
	ping := func(a string) Target {
		target := tcpTarget(netip.MustParseAddrPort(a))
		target.Spec.Type, target.Spec.Ping = core.ProbePing, core.PingSpec{Count: 2}
		return target
	}
	tcp := func(a string) Target { return tcpTarget(netip.MustParseAddrPort(a)) }
	snmp := func(a string) Target {
		target := tcp(a)
		target.Spec.Type, target.Spec.Port = core.ProbeSNMPCPU, 161
		target.Spec.SNMP = core.SNMPSpec{Version: "2c", Community: "x"}
		return target
	}
	tests := []struct {
		name   string
		target Target
		code   core.Code
		detail string
	}{
		{"tcp, no route", tcp("198.51.100.1:80"), core.L4Unreach, "unreachable"},
		{"tcp, unreachable", tcp("192.0.2.2:80"), core.L4Unreach, "no route to host"},
		{"tcp, prohibited", tcp("192.0.2.1:80"), core.L4Unreach, "permission denied"},
		{"tcp, filtered here", tcp("127.0.0.9:80"), core.L4Timeout, "no answer"},
		{"ping, no route", ping("198.51.100.1:80"), core.L4Unreach, "unreachable"},
		{"ping, prohibited", ping("192.0.2.1:80"), core.L4Unreach, "permission denied"},
		{"ping, filtered here", ping("127.0.0.9:80"), core.Internal, "filter rules"},
		{"snmp, no route", snmp("198.51.100.1:80"), core.SNMPTime, "unreachable"},
		{"snmp, prohibited", snmp("192.0.2.1:80"), core.SNMPTime, "permission denied"},
		{"snmp, filtered here", snmp("127.0.0.9:80"), core.Internal, "filter rules"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.code == core.L4Timeout { // the others are told at once
				tt.target = inVain(tt.target, tt.code)
			}
			wantCode(t, ask(t, tt.target), false, tt.code, tt.detail)
		})
	}
}

// hangUp is a server that resets every connection when it is asked something.
func hangUp(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			// Not before the request: a reset in the handshake is a refusal.
			_, _ = c.Read(make([]byte, 1))
			if tcp, ok := c.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0)
			}
			_ = c.Close()
		}
	}()
	return netip.MustParseAddrPort(l.Addr().String())
}
