// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"context"
	"math"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/gosnmp/gosnmp"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/probes/probestest"
)

// These tests ask Debian's snmpd instead of our own idea of an agent.

const (
	authPassword = "s3cret-auth"
	privPassword = "s3cret-priv"
)

func snmpdConfig(t *testing.T) probestest.SnmpdConfig {
	t.Helper()
	_, err := exec.LookPath("snmpd")
	need(t, err == nil && os.Getuid() == 0, "snmpd and root")
	conn, err := net.ListenPacket("udp", "127.0.0.1:0") // for a free port
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // it has served
	return probestest.SnmpdConfig{
		Dir:       t.TempDir(),
		Addr:      netip.MustParseAddrPort(conn.LocalAddr().String()),
		Community: community,
		User:      "steelyard", AuthPassword: authPassword, PrivPassword: privPassword,
	}
}

func startSnmpd(t *testing.T, c probestest.SnmpdConfig) *probestest.Snmpd {
	t.Helper()
	s, err := probestest.StartSnmpd(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Stop() }) // a test may have stopped it already
	return s
}

func v3Target(addr netip.AddrPort) Target {
	target := snmpTarget(addr)
	target.Spec.SNMP = core.SNMPSpec{
		Version: "3", User: "steelyard",
		AuthProtocol: "SHA256", AuthPassword: authPassword,
		PrivProtocol: "AES", PrivPassword: privPassword,
	}
	return target
}

// TestSnmpdCPU moves the counters of a real agent and expects the busy share
// that they mean, over v2c and over v3 with SHA-256 and AES.
func TestSnmpdCPU(t *testing.T) {
	c := snmpdConfig(t)
	agent := startSnmpd(t, c)
	for version, target := range map[string]Target{"v2c": snmpTarget(c.Addr), "v3": v3Target(c.Addr)} {
		t.Run(version, func(t *testing.T) {
			p := newProber(target)
			show := func(cpu probestest.CPU) core.Sample {
				t.Helper()
				if err := agent.SetCounters(cpu); err != nil {
					t.Fatal(err)
				}
				s := askWith(t, target, p)
				noSecret(t, s)
				return s
			}
			wantCode(t, show(probestest.CPU{}), true, core.SNMPWait, "zeros")
			wantCode(t, show(probestest.CPU{User: 4_294_967_000, System: 50, Idle: 1000}), true, core.SNMPWait, "one answer")
			// User wraps: 296 + 4 ticks; busy 300+100 of 1000.
			s := show(probestest.CPU{User: 4, System: 150, Idle: 1500, Wait: 100})
			wantCode(t, s, true, core.SNMPOK, "cpu 40.0%")
			wantMetrics(t, s, core.MetricCPU, core.MetricRefresh)
			if m, _ := s.Metric(core.MetricCPU); math.Abs(m.Value-0.4) > 1e-9 {
				t.Errorf("cpu %g, want 0.4", m.Value)
			}
			s = show(probestest.CPU{User: 4, System: 150, Idle: 1500, Wait: 100})
			wantCode(t, s, true, core.SNMPOK, "unchanged")
		})
	}
}

// TestSnmpdProtocols: every pair of protocols must mean the same key here and
// there. net-snmp spells the Cisco way of extending a key as AES-256-C.
func TestSnmpdProtocols(t *testing.T) {
	for _, tt := range []struct{ ours, theirs, priv, theirPriv string }{
		{"MD5", "MD5", "DES", "DES"},
		{"SHA", "SHA", "AES", "AES"},
		{"SHA224", "SHA-224", "AES192", "AES-192"},
		{"SHA256", "SHA-256", "AES192C", "AES-192-C"},
		{"SHA384", "SHA-384", "AES256", "AES-256"},
		{"SHA512", "SHA-512", "AES256", "AES-256"},
		{"SHA512", "SHA-512", "AES256C", "AES-256-C"},
		{"SHA", "SHA", "AES256C", "AES-256-C"},
		{"SHA", "SHA", "AES256", "AES-256"},
	} {
		t.Run(tt.ours+" "+tt.priv, func(t *testing.T) {
			c := snmpdConfig(t)
			c.AuthProtocol, c.PrivProtocol = tt.theirs, tt.theirPriv
			startSnmpd(t, c)
			target := v3Target(c.Addr)
			target.Spec.SNMP.AuthProtocol, target.Spec.SNMP.PrivProtocol = tt.ours, tt.priv
			wantCode(t, ask(t, target), true, core.SNMPWait, "zeros")
		})
	}
}

// TestSnmpdLevels: a user that signs only, and one that has no password.
func TestSnmpdLevels(t *testing.T) {
	c := snmpdConfig(t)
	c.Lines = []string{"createUser plain", "rouser plain noauth -V seen", `createUser signs SHA-256 "s3cret-sign"`, "rouser signs auth -V seen"}
	startSnmpd(t, c)
	for _, s := range []core.SNMPSpec{
		{Version: "3", User: "plain"},
		{Version: "3", User: "signs", AuthPassword: "s3cret-sign"},
	} {
		target := v3Target(c.Addr)
		target.Spec.SNMP = s
		p := newProber(target)
		wantCode(t, askWith(t, target, p), true, core.SNMPWait, "zeros")
		wantCode(t, askWith(t, target, p), true, core.SNMPWait, "zeros") // with the engine of before
	}
}

func TestSnmpdRefusals(t *testing.T) {
	c := snmpdConfig(t)
	startSnmpd(t, c)
	tests := []struct {
		name   string
		change func(*core.SNMPSpec)
		code   core.Code
		detail string
		soon   bool // without waiting for the timeout
	}{
		{"wrong auth password", func(s *core.SNMPSpec) { s.AuthPassword = "s3cret-wrong" }, core.SNMPAuth, "wrong auth password", true},
		{"wrong auth protocol", func(s *core.SNMPSpec) { s.AuthProtocol = "SHA512" }, core.SNMPAuth, "wrong auth password or auth protocol", true},
		{"wrong privacy password", func(s *core.SNMPSpec) { s.PrivPassword = "s3cret-wrong" }, core.SNMPAuth, "wrong privacy password", false},
		{"unknown user", func(s *core.SNMPSpec) { s.User = "nobody" }, core.SNMPAuth, "does not know the user", true},
		{"signed only, where privacy is asked for", func(s *core.SNMPSpec) { s.PrivProtocol, s.PrivPassword = "", "" }, core.SNMPAuth, "does not let this user", true},
		{"no password, where one is asked for", func(s *core.SNMPSpec) { *s = core.SNMPSpec{Version: "3", User: "steelyard"} }, core.SNMPAuth, "does not let this user", true},
		{"wrong community", func(s *core.SNMPSpec) { *s = core.SNMPSpec{Version: "2c", Community: "s3cret-wrong"} }, core.SNMPTime, "wrong community", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			target := v3Target(c.Addr)
			if !tt.soon {
				target.Spec.Timeout = 3 * time.Second
			}
			tt.change(&target.Spec.SNMP)
			s := ask(t, target)
			wantCode(t, s, false, tt.code, tt.detail)
			noSecret(t, s)
			if tt.soon && s.Took > target.Spec.Timeout/2 {
				t.Errorf("took %s of %s: a refusal comes at once", s.Took, target.Spec.Timeout)
			}
		})
	}
}

// TestSnmpdHidden is Debian's default: the agent answers, but the view leaves
// the counters out.
func TestSnmpdHidden(t *testing.T) {
	c := snmpdConfig(t)
	c.Hide = true
	startSnmpd(t, c)
	wantCode(t, ask(t, v3Target(c.Addr)), false, core.SNMPValue, "view systemonly included")
}

// TestSnmpdRestart: the same prober gets through a restart of the agent, whose
// boot count and clock are new then, and does not compute across it.
func TestSnmpdRestart(t *testing.T) {
	c := snmpdConfig(t)
	c.Counters = probestest.CPU{User: 100, Idle: 100}
	agent := startSnmpd(t, c)
	target := v3Target(c.Addr)
	p := newProber(target)
	wantCode(t, askWith(t, target, p), true, core.SNMPWait, "one answer")
	set := func(cpu probestest.CPU) {
		t.Helper()
		if err := agent.SetCounters(cpu); err != nil {
			t.Fatal(err)
		}
	}
	set(probestest.CPU{User: 200, Idle: 200})
	wantCode(t, askWith(t, target, p), true, core.SNMPOK, "cpu 50.0%")

	waitUptime(t, target, p)
	if err := agent.Stop(); err != nil {
		t.Fatal(err)
	}
	wantCode(t, askWith(t, target, p), false, core.SNMPTime, "nothing listens")
	c.Counters = probestest.CPU{User: 300, Idle: 300}
	agent = startSnmpd(t, c)
	wantCode(t, askWith(t, target, p), true, core.SNMPWait, "restarted")
	set(probestest.CPU{User: 400, Idle: 600})
	wantCode(t, askWith(t, target, p), true, core.SNMPOK, "cpu 25.0%")
}

// waitUptime asks until the agent has been up for a second: the restarted one
// will be younger for sure.
func waitUptime(t *testing.T, target Target, p prober) {
	t.Helper()
	cpu, ok := p.(*snmpCPU)
	if !ok {
		t.Fatalf("got a %T", p)
	}
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		if s := askWith(t, target, p); !s.OK {
			t.Fatalf("%s %q", s.Code, s.Detail)
		}
		if h := cpu.window.history; len(h) > 0 && h[len(h)-1].uptime > 100 {
			return
		}
	}
	t.Fatal("the agent's uptime does not move")
}

// TestSnmpdRestartUnnoticed keeps the engine across a restart. The same agent
// reports that the message is not in its time window; one set up anew, that it
// does not know the engine. The run succeeds none the less.
func TestSnmpdRestartUnnoticed(t *testing.T) {
	for name, anew := range map[string]bool{"the same engine": false, "a new engine": true} {
		t.Run(name, func(t *testing.T) {
			c := snmpdConfig(t)
			c.Counters = probestest.CPU{User: 100, Idle: 100}
			agent := startSnmpd(t, c)
			target := v3Target(c.Addr)
			p := newProber(target)
			wantCode(t, askWith(t, target, p), true, core.SNMPWait, "one answer")
			before := engineOf(t, p)
			if err := agent.Stop(); err != nil {
				t.Fatal(err)
			}
			if anew {
				c.Dir = t.TempDir()
			}
			startSnmpd(t, c)
			if s := askWith(t, target, p); !s.OK {
				t.Errorf("first run after a restart: %s %q", s.Code, s.Detail)
			}
			if got := engineOf(t, p) != before; got != anew {
				t.Errorf("new engine: %t, want %t", got, anew)
			}
		})
	}
}

// engineOf is the engine id that a prober keeps between its runs.
func engineOf(t *testing.T, p prober) string {
	t.Helper()
	cpu, ok := p.(*snmpCPU)
	if !ok || cpu.client.engine == nil {
		t.Fatal("the prober keeps no engine")
	}
	usm, ok := cpu.client.engine.security.(*gosnmp.UsmSecurityParameters)
	if !ok || usm.AuthoritativeEngineID == "" {
		t.Fatal("the engine has no id")
	}
	return usm.AuthoritativeEngineID
}

func TestSnmpdHangs(t *testing.T) {
	c := snmpdConfig(t)
	agent := startSnmpd(t, c)
	target := v3Target(c.Addr)
	p := newProber(target)
	if s := askWith(t, target, p); !s.OK {
		t.Fatalf("%s %q", s.Code, s.Detail)
	}
	if err := agent.Pause(); err != nil {
		t.Fatal(err)
	}
	wantCode(t, askWith(t, inVain(target, core.SNMPTime), p), false, core.SNMPTime, "unreachable or filtered")
	if err := agent.Resume(); err != nil {
		t.Fatal(err)
	}
	target.Spec.Timeout = ample
	if s := askWith(t, target, p); !s.OK {
		t.Errorf("after the pause: %s %q", s.Code, s.Detail)
	}
}

// TestSnmpdNative reads this machine's own counters: their order, their sum
// and the core count are net-snmp's, not ours.
func TestSnmpdNative(t *testing.T) {
	c := snmpdConfig(t)
	c.NativeCounters = true
	startSnmpd(t, c)
	s := ask(t, v3Target(c.Addr))
	if !s.OK || s.Code != core.SNMPWait {
		t.Fatalf("%s %q", s.Code, s.Detail)
	}
}
