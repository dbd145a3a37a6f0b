// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"context"
	"fmt"
	"math"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gosnmp/gosnmp"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/probes/probestest"
)

const community = "s3cret-community"

func snmpTarget(addr netip.AddrPort) Target {
	return Target{
		ID:   core.BackendID{Service: "web", Backend: "web1"},
		Addr: netip.AddrPortFrom(addr.Addr(), 80),
		Spec: &core.ProbeSpec{
			Name: "cpu", Type: core.ProbeSNMPCPU, Role: core.MetricRole,
			Interval: 5 * time.Second, Timeout: ample, Port: addr.Port(),
			SNMP: core.SNMPSpec{Version: "2c", Community: community},
			CPU:  core.CPUSpec{Window: 10 * time.Second},
		},
	}
}

// startAgent runs the in-process agent until the test ends.
func startAgent(t *testing.T, listen string, objects func() map[string]probestest.Value) netip.AddrPort {
	t.Helper()
	conn, err := net.ListenPacket("udp", listen)
	if err != nil {
		t.Fatal(err)
	}
	agent := &probestest.Agent{Conn: conn, Community: community, Objects: objects}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1) // holds the one result until the cleanup takes it
	go func() { ended <- agent.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("agent: %v", err)
		}
	})
	return netip.MustParseAddrPort(conn.LocalAddr().String())
}

func TestSNMPCPU(t *testing.T) {
	for _, listen := range []string{"127.0.0.1:0", "[::1]:0"} {
		t.Run(listen, func(t *testing.T) {
			var cpu atomic.Pointer[probestest.CPU]
			addr := startAgent(t, listen, func() map[string]probestest.Value { return cpu.Load().Objects() })
			target := snmpTarget(addr)
			p := newProber(target)

			cpu.Store(&probestest.CPU{})
			wantCode(t, askWith(t, target, p), true, core.SNMPWait, "zeros")
			cpu.Store(&probestest.CPU{User: 1000, Idle: math.MaxUint32 - 99, Nice: 5})
			wantCode(t, askWith(t, target, p), true, core.SNMPWait, "one answer")
			cpu.Store(&probestest.CPU{User: 1100, Idle: 500, Nice: 55, System: 20, Interrupt: 10, SoftIRQ: 10, Steal: 10, Wait: 200})
			fresh := askWith(t, target, p)
			wantCode(t, fresh, true, core.SNMPOK, "cpu 20.0% over")
			wantMetrics(t, fresh, core.MetricCPU, core.MetricRefresh)
			m, _ := fresh.Metric(core.MetricCPU)
			if math.Abs(m.Value-0.2) > 1e-9 || m.Unit != "ratio" || m.Window <= 0 || m.At.Location() != time.UTC {
				t.Errorf("cpu metric %+v, want 0.2", m)
			}
			again := askWith(t, target, p)
			wantCode(t, again, true, core.SNMPOK, "unchanged for")
			if n, _ := again.Metric(core.MetricCPU); n != m {
				t.Errorf("unchanged counters gave %+v, want %+v again", n, m)
			}
		})
	}
}

func TestSNMPAgentWithoutCounters(t *testing.T) {
	addr := startAgent(t, "127.0.0.1:0", func() map[string]probestest.Value { return map[string]probestest.Value{} })
	wantCode(t, ask(t, snmpTarget(addr)), false, core.SNMPValue, "view systemonly included")
}

// TestSNMPSilence covers everything that a v2c agent meets with silence, and a
// closed port, which the kernel tells of at once.
func TestSNMPSilence(t *testing.T) {
	addr := startAgent(t, "127.0.0.1:0", probestest.CPU{User: 1, Idle: 1}.Objects)
	target := inVain(snmpTarget(addr), core.SNMPTime)
	target.Spec.SNMP.Community = "wrong-one"
	s := ask(t, target)
	wantCode(t, s, false, core.SNMPTime, "wrong community")
	if s.Took < target.Spec.Timeout/2 {
		t.Errorf("took %s, want two tries in %s", s.Took, target.Spec.Timeout)
	}

	for _, listen := range []string{"127.0.0.1:0", "[::1]:0"} {
		conn, err := net.ListenPacket("udp", listen)
		if err != nil {
			t.Fatal(err)
		}
		closed := snmpTarget(netip.MustParseAddrPort(conn.LocalAddr().String()))
		_ = conn.Close()
		closed.Spec.Timeout = ample
		s = ask(t, closed)
		wantCode(t, s, false, core.SNMPTime, "nothing listens on UDP")
		if s.Took > closed.Spec.Timeout/2 {
			t.Errorf("a closed port at %s took %s to notice", listen, s.Took)
		}
	}
}

// TestSNMPComesBack: after failures the same prober works again, with its
// history.
func TestSNMPComesBack(t *testing.T) {
	var deaf atomic.Bool
	var cpu atomic.Pointer[probestest.CPU]
	cpu.Store(&probestest.CPU{User: 100, Idle: 100})
	addr := startAgent(t, "127.0.0.1:0", func() map[string]probestest.Value {
		if deaf.Load() {
			return map[string]probestest.Value{".1.3.6.1.4.1.2021.11.50.0": {Type: gosnmp.Null}} // cannot be sent
		}
		return cpu.Load().Objects()
	})
	target := snmpTarget(addr)
	p := newProber(target)
	wantCode(t, askWith(t, target, p), true, core.SNMPWait, "one answer")
	deaf.Store(true)
	if s := askWith(t, target, p); s.OK {
		t.Errorf("got %s from an agent that cannot answer", s.Code)
	}
	deaf.Store(false)
	cpu.Store(&probestest.CPU{User: 200, Idle: 200})
	wantCode(t, askWith(t, target, p), true, core.SNMPOK, "cpu 50.0%")
}

// TestSNMPMultiHomed has the answer come from another address than the one
// that was asked.
func TestSNMPMultiHomed(t *testing.T) {
	asked, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	other, err := net.ListenPacket("udp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := startAgentOn(t, &twoFaced{PacketConn: asked, out: other})
	wantCode(t, ask(t, snmpTarget(addr)), true, core.SNMPWait, "one answer")
}

// A twoFaced socket is asked at one address and answers from another.
type twoFaced struct {
	net.PacketConn
	out net.PacketConn
}

func (c *twoFaced) WriteTo(p []byte, to net.Addr) (int, error) { return c.out.WriteTo(p, to) }
func (c *twoFaced) Close() error                               { _ = c.out.Close(); return c.PacketConn.Close() }

func startAgentOn(t *testing.T, conn net.PacketConn) netip.AddrPort {
	t.Helper()
	agent := &probestest.Agent{Conn: conn, Community: community, Objects: probestest.CPU{User: 1, Idle: 1}.Objects}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = agent.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	return netip.MustParseAddrPort(conn.LocalAddr().String())
}

// TestSNMPEndsWithContext: a run in progress must not hold up a stop.
func TestSNMPEndsWithContext(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0") // never answers
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // ends with the test anyway
	target := snmpTarget(netip.MustParseAddrPort(conn.LocalAddr().String()))
	target.Spec.Timeout, target.Spec.Interval = time.Minute, time.Millisecond
	r := &Runner{Out: func(s core.Sample) { t.Errorf("a sample of a run that was broken off: %+v", s) }}
	r.SetTargets([]Target{target})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = r.Run(ctx) }()
	if _, _, err := conn.ReadFrom(make([]byte, 2048)); err != nil { // the question is out
		t.Fatal(err)
	}
	cancel()
	select {
	case <-ended:
	case <-time.After(ample):
		t.Fatal("the run did not end")
	}
}

// TestSNMPRunner has the whole of it in real time: an agent whose two cores
// are 25 % busy, refreshed every 200 ms, asked every 200 ms.
func TestSNMPRunner(t *testing.T) {
	start := time.Now()
	addr := startAgent(t, "127.0.0.1:0", func() map[string]probestest.Value {
		ticks := uint32(time.Since(start)/(200*time.Millisecond)) * 40 // 2 cores × 0.2 s
		return probestest.CPU{User: 100 + ticks/4, Idle: 100 + ticks*3/4, Cores: 2}.Objects()
	})
	target := snmpTarget(addr)
	target.Spec.Interval, target.Spec.Timeout, target.Spec.Jitter = 200*time.Millisecond, 190*time.Millisecond, 0.1
	target.Spec.CPU.Window = 400 * time.Millisecond
	samples := make(chan core.Sample, 1) // when full the newest is dropped: any later one will do
	r := &Runner{Out: func(s core.Sample) {
		select {
		case samples <- s:
		default:
		}
	}}
	r.SetTargets([]Target{target})
	ctx, cancel := context.WithTimeout(context.Background(), ample)
	defer cancel()
	ended := make(chan struct{})
	go func() { defer close(ended); _ = r.Run(ctx) }()
	for {
		select {
		case <-ctx.Done():
			t.Fatalf("no reading over a full window in %s", ample)
		case s := <-samples:
			if m, ok := s.Metric(core.MetricCPU); ok && m.Window >= 400*time.Millisecond {
				if math.Abs(m.Value-0.25) > 0.01 {
					t.Errorf("cpu %g, want 0.25", m.Value)
				}
				if cores, _ := s.Metric(core.MetricCores); cores.Value != 2 {
					t.Errorf("cores %g, want 2", cores.Value)
				}
				cancel()
				<-ended
				return
			}
		}
	}
}

func TestSNMPImpossibleSpecs(t *testing.T) {
	tests := []struct {
		name string
		spec core.SNMPSpec
		want string
	}{
		{"no version", core.SNMPSpec{}, "want 1, 2c or 3"},
		{"no community", core.SNMPSpec{Version: "2c"}, "community"},
		{"no user", core.SNMPSpec{Version: "3", AuthPassword: "s3cret-auth"}, "user"},
		{"privacy without auth", core.SNMPSpec{Version: "3", User: "u", PrivPassword: "s3cret-priv"}, "auth password"},
		{"odd auth", core.SNMPSpec{Version: "3", User: "u", AuthPassword: "s3cret-auth", AuthProtocol: "ROT13"}, "ROT13"},
		{"odd privacy", core.SNMPSpec{Version: "3", User: "u", AuthPassword: "s3cret-auth", PrivPassword: "s3cret-priv", PrivProtocol: "ROT13"}, "ROT13"},
		{"privacy without password", core.SNMPSpec{Version: "3", User: "u", AuthPassword: "s3cret-auth", PrivProtocol: "AES"}, "AES needs a password"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			target := snmpTarget(netip.MustParseAddrPort("127.0.0.1:161"))
			target.Spec.SNMP = tt.spec
			s := ask(t, target)
			wantCode(t, s, false, core.Internal, tt.want)
			noSecret(t, s)
		})
	}
}

// noSecret fails if anything of a sample shows a secret of these tests: they
// all begin alike.
func noSecret(t *testing.T, s core.Sample) {
	t.Helper()
	if all := fmt.Sprintf("%+v", s); strings.Contains(all, "s3cret") {
		t.Errorf("a secret shows in %s", all)
	}
}
