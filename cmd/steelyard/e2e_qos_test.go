// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/steelyard-lb/steelyard/core/lab"
)

// A watch counts packets in a node by what an administrator would match them with.
type watch struct {
	rig  *rig
	node *lab.Node
	name []string
}

// watch counts what comes in, per match of nft. A packet counts for each.
func (r *rig) watch(n *lab.Node, matches ...string) *watch {
	r.t.Helper()
	w := &watch{rig: r, node: n, name: matches}
	rules := "table inet watch { chain in { type filter hook input priority 0; }; }\n"
	for i, match := range matches {
		rules += fmt.Sprintf("add counter inet watch c%d\nadd rule inet watch in %s counter name c%d\n", i, match, i)
	}
	r.run(n, "nft", rules)
	return w
}

// seen are the packets since it was last called, per match.
func (w *watch) seen() map[string]int {
	w.rig.t.Helper()
	out := map[string]int{}
	for i, match := range w.name {
		out[match] = number(w.rig.t, `packets (\d+)`, w.rig.run(w.node, "nft", fmt.Sprintf("reset counter inet watch c%d", i)))
	}
	return out
}

// number is what a pattern finds in a text.
func number(t *testing.T, pattern, text string) int {
	t.Helper()
	m := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("%s is not in:\n%s", pattern, text)
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (r *rig) run(n *lab.Node, name string, args ...string) string {
	r.t.Helper()
	out, err := n.Command(r.t.Context(), name, args...)
	if err != nil {
		r.t.Fatal(err)
	}
	return string(out)
}

// TestQoS is what an operator does with it: a DSCP and a mark for a service, and
// others for one of its backends; a policy route by the mark, over a link of its
// own; and a class of tc. What has no QoS beside it is as it was, and a reload
// changes all of it.
func TestQoS(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	b1, b2, lb := r.lab.Backends[0], r.lab.Backends[1], r.lab.Balancer
	// A second way to b1, for packets with a mark of 0x10.
	r.run(lb, "sh", "-ec", fmt.Sprintf(`ip link add gold type veth peer name gold netns %[1]s
		ip addr add 10.99.0.1/24 dev gold; ip link set gold up
		ip netns exec %[1]s ip addr add 10.99.0.2/24 dev gold; ip netns exec %[1]s ip link set gold up
		ip rule add fwmark 0x10/0xf0 iif client table 100; ip route add %[2]s via 10.99.0.2 dev gold table 100`, b1.Namespace, b1.Addr4))
	// And a class for what leaves to the other backend.
	r.run(lb, "sh", "-ec", `tc qdisc add dev backends root handle 1: htb default 99
		for c in 20 99; do tc class add dev backends parent 1: classid 1:$c htb rate 1gbit; done`)
	inClass := func() int {
		return number(t, `Sent \d+ bytes (\d+) pkt`, r.run(lb, "tc", "-s", "class", "show", "dev", "backends", "classid", "1:20"))
	}
	config := func(qos, b2qos string) {
		r.write(fmt.Sprintf(`services:
  web: {vip: %[1]s, port: 80, policy: weighted, every: 200ms, probes: [alive], %[2]s backends: {b1: {address: %[4]s}, b2: {address: %[5]s, %[3]s}}}
  plain: {vip: %[1]s, port: 81, policy: weighted, every: 200ms, probes: [alive], backends: {b1: {address: %[4]s, port: 80}, b2: {address: %[5]s, port: 80}}}
`, r.lab.VIP4, qos, b2qos, b1.Addr4, b2.Addr4))
	}
	// Health probes come from the balancer and reach the backends, too: clients' packets are told by their source.
	from := "ip saddr " + r.lab.Client.Addr4.String()
	const dscp = " ip dscp "
	watch1 := r.watch(b1, from+" iifname gold"+dscp+"ef", from+" iifname gold"+dscp+"!= ef", from+" iifname eth0"+dscp+"cs0", from+" iifname eth0"+dscp+"!= cs0")
	watch2 := r.watch(b2, from+dscp+"af41", from+dscp+"cs0", from+dscp+"!= { af41, cs0 }")
	watchC := r.watch(r.lab.Client, "tcp sport 80"+dscp+"ef", "tcp sport 80"+dscp+"af41", "tcp sport 80"+dscp+"cs0", "tcp sport 81"+dscp+"!= cs0")
	look := func(when, addr string, class bool, want ...string) {
		t.Helper()
		watch1.seen()
		watch2.seen()
		watchC.seen()
		before := inClass()
		got := r.askMany("tcp", addr, 40, nil)
		if len(got.failed) > 0 || got.by["b1"] == 0 || got.by["b2"] == 0 {
			t.Fatalf("%s: answers %v, failed %v", when, got.by, got.failed)
		}
		for _, w := range []*watch{watch1, watch2, watchC} {
			for match, n := range w.seen() {
				wanted := false
				for _, text := range want {
					wanted = wanted || w.node.Name+": "+match == text
				}
				if (n > 0) != wanted {
					t.Errorf("%s: %s got %d packets of %s; want some: %v", when, w.node.Name, n, match, wanted)
				}
			}
		}
		// A connection is four packets to the backend at least.
		if n := inClass() - before; class && n < 4*got.by["b2"] || !class && n > 0 {
			t.Errorf("%s: %d packets in the class, of %d connections; want some: %v", when, n, got.by["b2"], class)
		}
	}

	config("qos: {dscp: ef, mark: 0x10, mask: 0xf0},", `qos: {dscp: af41, priority: "1:20", mark: 0x20, mask: 0xf0}`)
	r.start()
	r.untilShares("web", 50, 50)
	r.untilShares("plain", 50, 50)
	marked := []string{"b1: " + from + " iifname gold ip dscp ef", "b2: " + from + " ip dscp af41", "client: tcp sport 80 ip dscp ef", "client: tcp sport 80 ip dscp af41"}
	asItWas := []string{"b1: " + from + " iifname eth0 ip dscp cs0", "b2: " + from + " ip dscp cs0"}
	look("with QoS", r.vip4(80), true, marked...)
	look("plain", r.vip4(81), false, asItWas...)
	if out, code := r.steelyard("backend", "weight", "web/b1", "50", "--author", "alice"); code != 0 {
		t.Fatalf("exit code %d:\n%s", code, out)
	}
	look("after a re-weight", r.vip4(80), true, marked...)

	config("", "")
	if out, code := r.steelyard("reload"); code != 0 {
		t.Fatalf("reload: exit code %d:\n%s", code, out)
	}
	look("without QoS", r.vip4(80), false, append(asItWas, "client: tcp sport 80 ip dscp cs0")...)
	if text := r.ruleset(t); strings.Contains(text, "dscp") || strings.Contains(text, "meta mark") {
		t.Errorf("after QoS was switched off:\n%s", text)
	}
}
