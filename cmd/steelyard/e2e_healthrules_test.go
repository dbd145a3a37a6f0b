// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/core"
)

// untilWhy waits for the words that the backend of web has beside it.
func (r *rig) untilWhy(name, words string) {
	r.t.Helper()
	r.until(fmt.Sprintf("%s says %q", name, words), func() error {
		s, err := r.service("web")
		if err != nil {
			return err
		}
		for _, b := range s.Backends {
			if b.Name == name && !strings.Contains(b.Why, words) {
				return fmt.Errorf("it is %s and says %q", b.State, b.Why)
			}
		}
		return nil
	})
}

// reload writes the services part and has the daemon read it.
func (r *rig) reload(services string) {
	r.t.Helper()
	r.write(services)
	if out, code := r.steelyard("reload"); code != 0 {
		r.t.Fatal(out)
	}
}

// Who goes down too often is held down, over a reload, too; but not when nobody else is
// left, and not without the rule.
func TestFlapDamping(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	service := func(limit int) string {
		return fmt.Sprintf("  steady: {type: tcp, port: 80, interval: 500ms, timeout: 490ms, rise: 1, fall: 2}\nservices:\n  web: {vip: %s, port: 80, policy: weighted, every: 200ms, probes: [steady], health: {flap_limit: %d, flap_window: 10m, flap_hold: 10m, flap_max: 30m}, backends: %s}\n",
			r.lab.VIP4, limit, r.backends(false, 50, 50))
	}
	r.write(service(2))
	r.start()
	r.untilShares("web", 50, 50)
	flap := func() {
		t.Helper()
		r.worlds[0].down()
		r.untilWhy("b1", "L4CON")
		r.worlds[0].up(t)
	}
	flap()
	r.untilState("b1", core.StateUp)
	flap()
	r.untilWhy("b1", "held down: went down 2 times in 10m")
	r.wantShares("web", 0, 100)
	if out, _ := r.steelyard("show"); !strings.Contains(out, "without a bad sample, 10 min left") {
		t.Errorf("show does not say for how long b1 is held:\n%s", out)
	}
	r.reload(service(2))
	r.untilWhy("b1", "held down")
	r.wantShares("web", 0, 100)

	r.worlds[1].down()
	r.untilState("b1", core.StateUp)
	r.untilShares("web", 100, 0)
	r.worlds[1].up(t)
	r.untilShares("web", 50, 50)
	flap()
	r.untilWhy("b1", "held down")
	r.reload(service(0))
	r.untilState("b1", core.StateUp)
	r.untilShares("web", 50, 50)
}

// One of two probes goes down: whether the backend does depends on need and critical.
func TestHealthNeedsFollow(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	other := r.echoes() // on port 81
	r.writeNeeds()
	r.start()
	for _, name := range []string{"web", "two", "one"} {
		r.untilShares(name, 50, 50)
	}
	_ = other[0].Close()
	r.untilShares("two", 0, 100)
	r.untilShares("one", 0, 100)
	r.wantShares("web", 50, 50)
	r.worlds[0].down()
	r.untilShares("web", 0, 100)
	again, err := r.lab.Backends[0].Listen("tcp", net.JoinHostPort(r.lab.Backends[0].Addr4.String(), "81"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = again.Close() })
	r.untilShares("web", 50, 50)
	r.untilShares("one", 50, 50)
	r.wantShares("two", 0, 100)
}

// What an agent says of maxconn is the limit, until it says another one.
func TestAgentLimitsConnections(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	r.echoes()
	var agent sayings
	agent.say("up ready 100%")
	l, err := r.lab.Backends[0].Listen("tcp", net.JoinHostPort(r.lab.Backends[0].Addr4.String(), "9999"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go agent.serve(l)
	backends := strings.ReplaceAll(r.backends(false, 50, 50), "port: 80", "port: 81")
	r.write(fmt.Sprintf(`  says: {type: agent, port: 9999, interval: 100ms, timeout: 90ms, rise: 1, fall: 1}
services:
  web: {vip: %s, port: 81, policy: weighted, every: 200ms, probes: [alive, says], backends: %s}
`, r.lab.VIP4, backends))
	r.start()
	r.untilShares("web", 50, 50)
	if by := r.hold(40); len(by["b1"]) < 3 {
		t.Fatalf("b1 has %d of 40 connections", len(by["b1"]))
	}
	agent.say("maxconn:3")
	r.untilState("b1", core.StateFull)
	r.untilShares("web", 0, 100)
	if out, _ := r.steelyard("show", "web"); !strings.Contains(out, "/3 ") {
		t.Errorf("the limit is not shown:\n%s", out)
	}
	agent.say("maxconn:0") // no limit
	r.untilState("b1", core.StateUp)
	r.untilShares("web", 50, 50)
}

// idlePolicy weighs by idle CPU, and has no opinion where that is not known.
const idlePolicy = `
policy = { reads = { "cpu" } }
function schedule(s)
  local w = {}
  for i = 1, s.n do
    w[i] = s.cpu[i] and s.weight[i] * math.max(1 - s.cpu[i], 0.1) or hold
  end
  return w
end
`

// An SNMP agent that is silent takes nothing out: its backend's share is held, and
// goes to that of the configured weight in time.
func TestSilentSNMPAgent(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	var busy [2]atomic.Uint64 // percent
	busy[0].Store(80)
	busy[1].Store(20)
	for i := range 2 {
		r.drive(t, i, &busy[i])
	}
	path := filepath.Join(r.dir, "idle.lua")
	r.save(path, idlePolicy)
	r.write(fmt.Sprintf(`  cpu: {type: snmp_cpu, interval: 500ms, timeout: 400ms, window: 1s, community: public}
policies:
  idle: {path: %s}
services:
  web: {vip: %s, port: 80, policy: idle, every: 200ms, probes: [alive, cpu], shaping: {stale_after: 3s, hold: 3s, dead_band: 0}, backends: %s}
`, path, r.lab.VIP4, r.backends(false, 50, 50)))
	r.start()
	r.untilWithin(startPatience, "the idle backend has most of the shares", func() error { return r.leads("web", 1, &busy) })
	for _, n := range r.lab.Backends {
		r.nft(n, "add table ip ill", "add chain ip ill in { type filter hook input priority 0; }", "add rule ip ill in udp dport 161 drop")
	}
	r.untilWhy("b1", "no cpu: SNMPTOUT, share held")
	r.untilWhy("b2", "decaying to the configured weight")
	r.until("the shares are those of the weights", func() error {
		s, err := r.service("web")
		if err == nil && (s.Backends[0].Share < 0.45 || s.Backends[0].State != core.StateUp) {
			err = fmt.Errorf("b1 is %s and has %.3f (%s)", s.Backends[0].State, s.Backends[0].Share, s.Backends[0].Why)
		}
		return err
	})
	for line := range strings.Lines(r.log.String()) {
		if strings.Contains(line, "to=down") && strings.Contains(line, "SNMP") {
			t.Errorf("a backend went down for it: %s", line)
		}
	}
	for _, n := range r.lab.Backends {
		r.nft(n, "delete table ip ill")
	}
	r.untilWithin(startPatience, "the idle backend has most of the shares again", func() error { return r.leads("web", 1, &busy) })
}

// What served before a restart serves on, whatever health: start says, and what did not
// does not; a drain by command stays.
func TestRestartKeepsStates(t *testing.T) {
	t.Parallel()
	r := newRig(t, 3)
	service := func(probe string) string {
		return fmt.Sprintf("  late: {type: tcp, port: 80, interval: 1h, timeout: 1s}\nservices:\n  web: {vip: %s, port: 80, policy: weighted, every: 200ms, probes: [%s], health: {start: down}, backends: %s}\n",
			r.lab.VIP4, probe, r.backends(false, 50, 50, 50))
	}
	r.write(service("alive"))
	r.start()
	r.untilShares("web", 33.3, 33.3, 33.3)
	r.worlds[0].down()
	r.untilState("b1", core.StateDown)
	if out, code := r.steelyard("backend", "drain", "web/b3"); code != 0 {
		t.Fatal(out)
	}
	r.untilShares("web", 0, 100, 0)
	r.kill()
	if who, err := r.ask("tcp", r.vip4(80)); err != nil || who != r.lab.Backends[1].Name {
		t.Errorf("while nobody watches %q answers, %v", who, err)
	}
	r.write(service("late")) // whose first sample comes within an hour
	r.start()
	r.wantShares("web", 0, 100, 0)
	r.untilState("b1", core.StateDown)
	r.untilState("b2", core.StateUp)
	r.untilState("b3", core.StateDrain)
}

// A flood of SYNs from clients that do not exist ejects nobody who answers them; and a
// backend that takes its time answers, too.
func TestPassiveSparesWhoAnswers(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	r.write(fmt.Sprintf(`services:
  web:
    vip: %s
    port: 80
    policy: weighted
    every: 200ms
    probes: [alive]
    passive: {unanswered: 3, resets: 3, eject: 1m, max: 2m, max_ratio: 1}
    backends: %s
`, r.lab.VIP4, r.backends(false, 50, 50)))
	r.start()
	r.untilShares("web", 50, 50)
	err := r.lab.Client.Do(func() error { return spoof(netip.AddrPortFrom(r.lab.VIP4, 80), r.lab.Client.Addr4, 400) })
	if err != nil {
		t.Fatal(err)
	}
	r.until("the flood is counted", func() error {
		s, err := r.service("web")
		if err != nil {
			return err
		}
		open := 0.0
		for _, b := range s.Backends {
			if b.Connections != nil {
				open += float64(*b.Connections)
			}
		}
		if open < 300 {
			return fmt.Errorf("%.0f connections are open", open)
		}
		return nil
	})
	slow := r.lab.Backends[0] // each SYN a second time, after 1 s
	r.nft(slow, "add table ip ill", "add chain ip ill in { type filter hook input priority 0; }",
		"add rule ip ill in tcp dport 80 ip saddr "+r.lab.Client.Addr4.String()+" tcp flags syn / syn,ack meter seen { tcp sport limit rate over 1/hour burst 1 packets } accept",
		"add rule ip ill in tcp dport 80 ip saddr "+r.lab.Client.Addr4.String()+" tcp flags syn / syn,ack drop")
	c := r.askMany("tcp", r.vip4(80), 24, nil)
	t.Logf("%v answered, %v failed", c.by, c.failed)
	wait(5 * time.Second) // until the last of them would be given up
	r.wantShares("web", 50, 50)
	if strings.Contains(r.log.String(), "SYNLOST") || strings.Contains(r.log.String(), "SYNRST") {
		t.Error("a backend was ejected")
	}
}

// spoof sends n SYNs to an address, each from another port, of neighbours of a client
// that do not exist.
func spoof(to netip.AddrPort, client netip.Addr, n int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	dst := to.Addr().As4()
	for i := range n {
		src := client.As4()
		src[3] = byte(100 + i%100)
		if err := unix.Sendto(fd, synFrom(src, uint16(1024+i), dst, to.Port()), 0, &unix.SockaddrInet4{Addr: dst}); err != nil {
			return err
		}
	}
	return nil
}

// synFrom is an IPv4 packet with a SYN. The kernel fills in the length and the checksum
// of its header.
func synFrom(src [4]byte, from uint16, dst [4]byte, to uint16) []byte {
	tcp := binary.BigEndian.AppendUint16(nil, from)
	tcp = binary.BigEndian.AppendUint16(tcp, to)
	tcp = append(tcp, 0, 0, 0, 7, 0, 0, 0, 0, 5<<4, 2, 0xff, 0xff, 0, 0, 0, 0)
	sum := uint32(unix.IPPROTO_TCP + len(tcp))
	for _, part := range [][]byte{src[:], dst[:], tcp} {
		for i := 0; i < len(part); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(part[i:]))
		}
	}
	for sum>>16 > 0 {
		sum = sum&0xffff + sum>>16
	}
	binary.BigEndian.PutUint16(tcp[16:], ^uint16(sum))
	ip := []byte{0x45, 0, 0, 0, 0, 0, 0, 0, 64, unix.IPPROTO_TCP, 0, 0}
	return append(append(append(ip, src[:]...), dst[:]...), tcp...)
}
