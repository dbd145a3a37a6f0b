// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/lab"
)

// untilState waits for the state of one backend of web and returns how it is shown.
func (r *rig) untilState(name string, want core.BackendState) core.BackendView {
	r.t.Helper()
	var found core.BackendView
	r.until(fmt.Sprintf("%s is %s", name, want), func() error {
		s, err := r.service("web")
		if err != nil {
			return err
		}
		for _, b := range s.Backends {
			if b.Name == name {
				if found = b; b.State == want {
					return nil
				}
				return fmt.Errorf("it is %s (%s)", b.State, b.Why)
			}
		}
		return fmt.Errorf("there is no backend %s", name)
	})
	return found
}

// nft runs nft in a node of the lab.
func (r *rig) nft(n *lab.Node, rules ...string) {
	r.t.Helper()
	for _, rule := range rules {
		if _, err := n.Command(r.t.Context(), "nft", rule); err != nil {
			r.t.Fatal(err)
		}
	}
}

// What clients meet and probes do not: a backend that answers the balancer and not
// its clients is ejected by what conntrack sees, for a time, and comes back.
func TestPassiveHealth(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, verdict, why string }{
		{"unanswered", "drop", "unanswered"},
		{"refused", "reject with tcp reset", "refused"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 3)
			r.patience = 3 * time.Second // some wait in vain
			r.write(fmt.Sprintf(`services:
  web:
    vip: %s
    port: 80
    policy: weighted
    every: 200ms
    probes: [alive]
    passive: {unanswered: 3, resets: 3, eject: 4s, max: 8s}
    backends: %s
`, r.lab.VIP4, r.backends(false, 50, 50, 50)))
			r.start()
			r.untilShares("web", 33.3, 33.3, 33.3)
			bad := r.lab.Backends[0]
			r.nft(bad, "add table ip ill", "add chain ip ill in { type filter hook input priority 0; }",
				fmt.Sprintf("add rule ip ill in ip saddr %s tcp dport 80 tcp flags syn %s", r.lab.Client.Addr4, tt.verdict))
			stop := r.background("tcp", r.vip4(80))
			b := r.untilState("b1", core.StateEjected)
			if !strings.Contains(b.Why, tt.why) {
				t.Errorf("why is %q, want the cause %q in it", b.Why, tt.why)
			}
			out, _ := r.steelyard("show")
			t.Logf("%s", out)
			r.untilShares("web", 0, 50, 50)
			r.nft(bad, "delete table ip ill")
			r.untilState("b1", core.StateUp)
			stop()
		})
	}
}

// More than four in five probes fail at once: that is us, and nobody goes down.
// One in two is not us.
func TestWeSuspectOurselves(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	r.alive = "interval: 100ms, timeout: 90ms, rise: 2, fall: 2" // some go down before it is clear that all do
	var services strings.Builder
	services.WriteString("probing: {suspect_min: 10, suspect_for: 1m}\nservices:\n")
	for i := range 8 {
		fmt.Fprintf(&services, "  s%d: {vip: %s, port: %d, policy: weighted, every: 200ms, probes: [alive], backends: %s}\n",
			i, r.lab.VIP4, 1000+i, r.backends(false, 50, 50))
	}
	services.WriteString(fmt.Sprintf("  web: {vip: %s, port: 80, policy: weighted, every: 200ms, probes: [alive], backends: %s}\n", r.lab.VIP4, r.backends(false, 50, 50)))
	r.write(services.String())
	r.start()
	r.untilShares("web", 50, 50)

	r.worlds[0].down()
	r.untilState("b1", core.StateDown)
	r.untilShares("web", 0, 100)
	r.worlds[0].up(t)
	r.untilState("b1", core.StateUp)
	r.untilShares("web", 50, 50)

	// The network behind the balancer goes away, for longer than it takes to be down.
	set := func(state string) {
		if _, err := r.lab.Balancer.Command(t.Context(), "ip", "link", "set", "backends", state); err != nil {
			t.Fatal(err)
		}
	}
	set("down")
	r.until("the node suspects itself", func() error {
		v, err := r.client.Node(t.Context())
		if err == nil && v.Probing.Suspect == "" {
			err = fmt.Errorf("it does not")
		}
		return err
	})
	shown, _ := r.steelyard("status")
	t.Log(shown)
	if !strings.Contains(shown, "suspect") {
		t.Error("status does not say so")
	}
	wait(time.Second) // ten intervals
	if b := r.untilState("b2", core.StateUp); b.Share == 0 {
		t.Error("b2 is up and gets nothing")
	}
	set("up")
	r.until("it trusts its probes again", func() error {
		v, err := r.client.Node(t.Context())
		if err == nil && v.Probing.Suspect != "" {
			err = fmt.Errorf("it does not: %s", v.Probing.Suspect)
		}
		return err
	})
}

// sayings is an agent whose answer a test changes.
type sayings struct{ line atomic.Pointer[string] }

func (s *sayings) say(line string) { s.line.Store(&line) }

func (s *sayings) serve(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = fmt.Fprintf(c, "%s\n", *s.line.Load())
		_ = c.Close()
	}
}

// What HAProxy's agents ask for is done, and undone.
func TestAgentAsks(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	var agent sayings
	agent.say("up ready 100%")
	l, err := r.lab.Backends[0].Listen("tcp", net.JoinHostPort(r.lab.Backends[0].Addr4.String(), "9999"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go agent.serve(l)
	r.write(fmt.Sprintf(`  says: {type: agent, port: 9999, interval: 100ms, timeout: 90ms, rise: 1, fall: 1}
services:
  web: {vip: %s, port: 80, policy: weighted, every: 200ms, probes: [alive, says], shaping: {step: 0, dead_band: 0}, backends: %s}
`, r.lab.VIP4, r.backends(false, 60, 60)))
	r.start()
	r.untilShares("web", 50, 50) // b2 has no agent, from which nothing follows
	agent.say("50%")
	r.untilShares("web", 33.33, 66.67)
	agent.say("drain")
	r.untilState("b1", core.StateDrain)
	r.untilShares("web", 0, 100)
	agent.say("maint")
	r.untilState("b1", core.StateMaint)
	agent.say("ready 100%")
	r.untilShares("web", 50, 50)
	agent.say("down #disk full")
	if b := r.untilState("b1", core.StateDown); !strings.Contains(b.Why, "disk full") {
		t.Errorf("why is %q, want the agent's own words", b.Why)
	}
	agent.say("up")
	r.untilShares("web", 50, 50)
}

// writeNeeds makes three services whose backends have a probe of port 81 beside that of
// port 80: any of them is enough for web, two needs both, and one needs that of 81.
func (r *rig) writeNeeds() {
	service := func(name, rule string, port int) string {
		return fmt.Sprintf("  %s: {vip: %s, port: %d, policy: weighted, every: 200ms, probes: [alive, other], health: {%s}, backends: %s}\n",
			name, r.lab.VIP4, port, rule, r.backends(false, 50, 50))
	}
	r.write(`  other: {type: tcp, port: 81, ` + r.aliveKeys() + `}
probing: {suspect_ratio: 0}
services:
` + service("web", "need: any", 80) + service("two", "need: 2", 82) + service("one", "need: 1, critical: [other]", 83))
}

// any, at least n, and critical: two probes of which one always fails.
func TestHealthNeeds(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	r.writeNeeds()
	r.start()
	r.untilShares("web", 50, 50)
	r.untilShares("two", 0, 0)
	r.untilShares("one", 0, 0)
	r.until("the probe that fails is shown", func() error {
		out, code := r.steelyard("show", "probes", "web")
		if code != 0 || !strings.Contains(out, "L4CON") {
			return fmt.Errorf("exit code %d\n%s", code, out)
		}
		return nil
	})
}

// A window of the configuration drains, with its reason, and ends with it.
func TestMaintenanceWindow(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	service := fmt.Sprintf("services:\n  web: {vip: %s, port: 80, policy: weighted, every: 200ms, probes: [alive], backends: %s}\n", r.lab.VIP4, r.backends(false, 50, 50))
	now := time.Now().UTC()
	r.write(fmt.Sprintf("maintenance:\n  move: {start: %s, end: %s, backends: [web/b1], reason: new rack}\n",
		now.Add(-time.Minute).Format(time.RFC3339), now.Add(time.Hour).Format(time.RFC3339)) + service)
	r.start()
	if b := r.untilState("b1", core.StateMaint); !strings.Contains(b.Why, "new rack") {
		t.Errorf("why is %q, want the reason", b.Why)
	}
	r.untilShares("web", 0, 100)
	r.write(service)
	if out, code := r.steelyard("reload"); code != 0 {
		t.Fatal(out)
	}
	r.untilState("b1", core.StateUp)
	r.untilShares("web", 50, 50)
}
