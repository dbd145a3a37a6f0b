// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// followerSaysWhy drains a backend of web0 on its leader, has a follower tell the reason, and
// another one for the same slots, and makes it ready again.
func (g *group) followerSaysWhy(leader string) {
	g.t.Helper()
	var lead, follower *rig
	for _, n := range g.nodes {
		if filepath.Base(n.dir) == leader {
			lead = n
		} else {
			follower = n
		}
	}
	for _, who := range []string{"alice", "bob"} {
		if out, code := lead.steelyard("backend", "drain", "web0/b1", "--author", who, "--reason", "disk swap"); code != 0 {
			g.t.Fatalf("drain by %s: exit code %d: %s", who, code, out)
		}
		want := fmt.Sprintf("%s gives 0.0 %%: drained by %s, disk swap (decision ", leader, who)
		follower.until("the follower says "+want, func() error {
			s, err := follower.service("web0")
			if err == nil && (!strings.HasPrefix(s.Backends[0].Why, want) || s.Backends[0].Slots != 0) {
				err = fmt.Errorf("%d slots, %q", s.Backends[0].Slots, s.Backends[0].Why)
			}
			return err
		})
	}
	g.steadyTrace(follower, leader)
	if out, code := lead.steelyard("backend", "ready", "web0/b1"); code != 0 {
		g.t.Fatalf("ready: exit code %d: %s", code, out)
	}
}

// steadyTrace has the trace of a backend whose shares rest end by itself on a follower.
func (g *group) steadyTrace(follower *rig, leader string) {
	g.t.Helper()
	out, code := follower.steelyard("trace", "web0/b2", "--timeout", "5m")
	for _, want := range []string{"web0 is decided by " + leader + ": vector ", " is in force since ", "\n  = nothing to commit, so it ends at step 4: the sample changed nothing here, and web0/b2 has 100.0% "} {
		if code != 0 || !strings.Contains(out, want) {
			g.t.Errorf("trace on a follower: exit code %d, want %q in it:\n%s", code, want, out)
		}
	}
}

// A node whose NATS does not let it say that it is there says so, with the remedy.
func TestDeniedNodeEndToEnd(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	nats := filepath.Join(r.dir, "nats.conf")
	if err := os.WriteFile(nats, []byte(`authorization { users: [ {user: test, password: secret, permissions: {publish: {allow: ">", deny: ["steelyard.v1.node.>", "steelyard.v1.metric.>"]}, subscribe: ">"}} ] }`), 0o600); err != nil {
		t.Fatal(err)
	}
	startNATS(t, r, "-c", nats)
	password := filepath.Join(r.dir, "password")
	if err := os.WriteFile(password, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.write(fmt.Sprintf(`roles: [probe, schedule]
bus: {servers: ['nats://%s'], login: {user: test, password_file: %s}}
cluster: {group: edge, probers: 2, quorum: 2}
services:
  web: {vip: %s, port: 80, policy: weighted, probes: [alive], backends: %s}
`, clusterBus, password, r.lab.VIP4, r.backends(false, 1)))
	r.start()
	for _, command := range [][]string{{"status"}, {"show", "nodes"}} {
		r.until("it says that it is denied", func() error {
			out, code := r.steelyard(command...)
			for _, want := range []string{
				"0 of 1 node live, 1 denied", "1 of 1 to agree (2 of 2 with all nodes)",
				"NATS denies this node what it needs (publish steelyard.v1.node.edge.test), so that no other node knows of it: give its user what `steelyard bus permissions --role prober,scheduler --node test --group edge` prints",
			} {
				if code != 0 || !strings.Contains(out, want) {
					return fmt.Errorf("%s: exit code %d, want %q in it:\n%s", command, code, want, out)
				}
			}
			return nil
		})
	}
	// The first number that is handed in is answered so already.
	const warning = "what was pushed is known to test only: NATS denies this node to hand it on (publish steelyard.v1.metric."
	const remedy = "give its user what `steelyard bus permissions --role prober,scheduler,ingest --node test --group edge` prints"
	if out, code := r.steelyard("metric", "push", "web/b1", "queue", "3"); code != 0 || !strings.Contains(out, warning) || !strings.Contains(out, remedy) {
		t.Errorf("metric push: exit code %d, want %q and %q in it:\n%s", code, warning, remedy, out)
	}
}
