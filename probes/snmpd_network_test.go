// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/probes/probestest"
)

// A snmpNet is two network namespaces: that of the probe, with two addresses, and
// that of a machine with two addresses.
type snmpNet struct {
	here, there   string // names
	first, second netip.Addr
	source        netip.Addr // the probe's second address
}

func newSNMPNet(t *testing.T) snmpNet {
	t.Helper()
	_, err := exec.LookPath("ip")
	_, err2 := exec.LookPath("nft")
	need(t, err == nil && err2 == nil && os.Getuid() == 0, "ip, nft and root")
	n := snmpNet{
		here: fmt.Sprintf("sysnmp-h-%d", os.Getpid()), there: fmt.Sprintf("sysnmp-t-%d", os.Getpid()),
		first: netip.MustParseAddr("198.51.100.2"), second: netip.MustParseAddr("203.0.113.2"),
		source: netip.MustParseAddr("198.51.100.3"),
	}
	for _, name := range []string{n.here, n.there} {
		command(t, "ip", "netns", "add", name)
		t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", name).Run() })
		command(t, "ip", "-n", name, "link", "set", "lo", "up")
	}
	command(t, "ip", "-n", n.here, "link", "add", "name", "snmp0", "type", "veth", "peer", "name", "snmp0", "netns", n.there)
	for _, args := range [][]string{
		{n.here, "addr", "add", "198.51.100.1/24", "dev", "snmp0"},
		{n.here, "addr", "add", "198.51.100.3/24", "dev", "snmp0"},
		{n.there, "addr", "add", "198.51.100.2/24", "dev", "snmp0"},
		{n.there, "addr", "add", "203.0.113.2/32", "dev", "lo"},
		{n.here, "link", "set", "snmp0", "up"},
		{n.there, "link", "set", "snmp0", "up"},
		{n.here, "route", "add", "203.0.113.0/24", "via", "198.51.100.2"},
	} {
		command(t, "ip", append([]string{"-n"}, args...)...)
	}
	waitLink(t, n.here)
	waitLink(t, n.there)
	return n
}

// waitLink waits until the kernel has noticed that the link is up: it drops what is sent
// before, which may be for a second.
func waitLink(t *testing.T, netns string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		out, err := exec.Command("ip", "-n", netns, "-o", "link", "show", "snmp0").Output()
		if err == nil && strings.Contains(string(out), "state UP") {
			return
		}
	}
	t.Fatalf("the link in %s does not come up", netns)
}

func command(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

// nft loads rules into the other machine, in place of those before.
func (n snmpNet) nft(t *testing.T, rules string) {
	t.Helper()
	script := "flush ruleset\ntable inet t { chain in {\ntype filter hook input priority 0\n" + rules + "\n}\n}\n"
	cmd := exec.Command("ip", "netns", "exec", n.there, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("nft: %v: %s", err, out)
	}
}

func (n snmpNet) target(at netip.Addr, port uint16) Target {
	target := snmpTarget(netip.AddrPortFrom(at, port))
	target.Spec.Way.Netns = n.here
	return target
}

// TestSnmpdMistakes provokes each mistake that people make with a real agent and a
// real filter, and reads what the probe says. The words are those of the table in
// the documentation.
func TestSnmpdMistakes(t *testing.T) {
	n := newSNMPNet(t)
	c := snmpdConfig(t)
	c.Addr, c.Exec = netip.AddrPortFrom(n.first, 161), []string{"ip", "netns", "exec", n.there}
	c.Lines = []string{"agentaddress udp:127.0.0.1:1610", "rocommunity limited " + n.source.String()}
	startSnmpd(t, c)
	set := func(change func(*core.ProbeSpec)) Target {
		target := n.target(n.first, 161)
		change(target.Spec)
		return target
	}
	plain := set(func(*core.ProbeSpec) {})
	wantCode(t, ask(t, plain), true, core.SNMPWait, "zeros")

	tests := []struct {
		name   string
		rules  string
		target Target
		code   core.Code
		want   string
		soon   bool // there is an answer, and no silence
	}{
		{"wrong community, v2c", "", set(func(s *core.ProbeSpec) { s.SNMP.Community = "wrong" }), core.SNMPTime, "wrong community (a v2c agent is silent then)", false},
		{"wrong community, v1", "", set(func(s *core.ProbeSpec) { s.SNMP.Version, s.SNMP.Community = "1", "wrong" }), core.SNMPTime, "wrong community (a v1 agent is silent then)", false},
		{"a community for another address", "", set(func(s *core.ProbeSpec) { s.SNMP.Community = "limited" }), core.SNMPTime, "wrong community", false},
		{"wrong port", "", n.target(n.first, 162), core.SNMPTime, "nothing listens on UDP", true},
		{"agent on the loopback only", "", n.target(n.first, 1610), core.SNMPTime, "snmpd's default agentaddress is the loopback only", true},
		{"a filter that drops", "udp dport 161 drop", plain, core.SNMPTime, "unreachable, filtered or wrong community", false},
		{"a filter that rejects", "udp dport 161 reject", plain, core.SNMPTime, "or a filter rejects it", true},
		{"a filter that says so", "udp dport 161 reject with icmpx admin-prohibited", plain, core.SNMPTime, "no way to agent", true},
		{"no such machine", "", n.target(netip.MustParseAddr("198.51.100.99"), 161), core.SNMPTime, "agent 198.51.100.99:161", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n.nft(t, tt.rules)
			spec := *tt.target.Spec
			if tt.target.Spec = &spec; !tt.soon {
				spec.Timeout = 500 * time.Millisecond
			}
			s := ask(t, tt.target)
			wantCode(t, s, false, tt.code, tt.want)
			if s.Code.Remedy() == "" {
				t.Errorf("%s has no remedy", s.Code)
			}
			t.Log(s.Detail)
		})
	}
	n.nft(t, "")
	wantCode(t, ask(t, plain), true, core.SNMPWait, "zeros")
	// From the address that the agent knows.
	limited := set(func(s *core.ProbeSpec) { s.SNMP.Community, s.Way.Source = "limited", n.source })
	wantCode(t, ask(t, limited), true, core.SNMPWait, "zeros")
	device := set(func(s *core.ProbeSpec) { s.Way.Device = "snmp0" })
	wantCode(t, ask(t, device), true, core.SNMPWait, "zeros")
	gone := set(func(s *core.ProbeSpec) { s.Way.Device = "nosuch0" })
	wantCode(t, ask(t, gone), false, core.Internal, "nosuch0")
}

// TestSNMPOtherAddress: an agent with two addresses is asked at one and answers from
// the other.
func TestSNMPOtherAddress(t *testing.T) {
	n := newSNMPNet(t)
	conn, err := way{Netns: n.there}.listen(context.Background(), n.first)
	if err != nil {
		t.Fatal(err)
	}
	addr := startAgentOn(t, conn)
	target := n.target(n.second, addr.Port())
	wantCode(t, ask(t, target), true, core.SNMPWait, "one answer")
	var steps watchedRun
	newProber(target).probe(steps.ctx(t))
	steps.want(t, "from its other address "+n.first.String())
	if _, kept := spareSockets.Load(spareKey{way: way(target.Spec.Way)}); kept {
		t.Error("a socket in a network namespace was kept: its name may stand for another one tomorrow")
	}
}

// TestSNMPSpareSocketGoesBad: a spare socket that is of no use any more is replaced
// within the run.
func TestSNMPSpareSocketGoesBad(t *testing.T) {
	need(t, os.Getuid() == 0, "root, for a mark")
	target := snmpTarget(startAgent(t, "127.0.0.1:0", probestest.CPU{User: 1, Idle: 1}.Objects))
	target.Spec.Way.Mark = 7352 // a pool of its own
	dead, err := way(target.Spec.Way).listen(context.Background(), target.Addr.Addr())
	if err != nil {
		t.Fatal(err)
	}
	_ = dead.Close()
	pool := new(sync.Pool)
	pool.Put(dead)
	spareSockets.Store(spareKey{way: way(target.Spec.Way)}, pool)
	wantCode(t, ask(t, target), true, core.SNMPWait, "one answer")
}

// TestSNMPSpareSockets: a socket is used again after a good run, and not after one
// that asked twice, failed or was in a namespace.
func TestSNMPSpareSockets(t *testing.T) {
	addr := startAgent(t, "127.0.0.1:0", probestest.CPU{User: 1, Idle: 1}.Objects)
	target := snmpTarget(addr)
	target.Spec.Way.Mark = 7351 // a pool of its own
	key := spareKey{way: way(target.Spec.Way)}
	spareSockets.Delete(key) // of a run before
	need(t, os.Getuid() == 0, "root, for a mark")
	p := newProber(target)
	spares := func() bool {
		pool, ok := spareSockets.Load(key)
		return ok && pool != nil
	}
	target.Spec.SNMP.Community, target.Spec.Timeout = "wrong-one", 100*time.Millisecond
	wantCode(t, askWith(t, target, p), false, core.SNMPTime, "wrong community")
	if spares() {
		t.Error("the socket of a silent run was kept")
	}
	target.Spec.SNMP.Community, target.Spec.Timeout = community, ample
	wantCode(t, askWith(t, target, p), true, core.SNMPWait, "one answer")
	if !spares() {
		t.Error("no socket was kept")
	}
}
