// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// A node begins without services, follows what is pushed, and begins with that again
// when JetStream is away.
func TestFollowsPushedDefinitions(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	nats := startNATS(t, r, "-js", "-sd", filepath.Join(r.dir, "jetstream"))
	r.write(fmt.Sprintf("bus: {servers: ['nats://%s']}\ncluster: {group: edge, definitions: bus}\n", clusterBus))
	r.start()
	r.push(50, 50)
	r.untilShares("web", 50, 50)
	r.push(25, 75)
	r.untilShares("web", 25, 75)
	if out, code := r.steelyard("show", "nodes"); code != 0 || !strings.Contains(out, "revision 2") {
		t.Errorf("exit code %d: show nodes does not tell the revision\n%s", code, out)
	}
	if out, code := r.inBalancer("plan", "-c", r.config); code != 0 {
		t.Errorf("exit code %d: what is in force would be changed by itself\n%s", code, out)
	}

	nats.Kill()
	r.kill()
	r.start()
	r.untilShares("web", 25, 75)
	if v, err := r.client.Node(t.Context()); err != nil || v.Revision != 2 {
		t.Errorf("after a start without JetStream revision %d is in force (%v), want 2", v.Revision, err)
	}
}

// push pushes a service of two backends with these weights.
func (r *rig) push(weights ...int) {
	r.t.Helper()
	doc := fmt.Sprintf(`probes:
  alive: {type: tcp, interval: 100ms, timeout: 90ms, rise: 1, fall: 2}
services:
  web: {vip: %s, port: 80, policy: weighted, every: 200ms, probes: [alive], backends: %s}
`, r.lab.VIP4, r.backends(false, weights...))
	path := filepath.Join(r.dir, "pushed.yaml")
	r.save(path, doc)
	out, code := r.inBalancer("push", "-c", path, "--server", "nats://"+clusterBus, "--group", "edge", "--message", "test")
	if code != 0 {
		r.t.Fatalf("push: exit code %d\n%s", code, out)
	}
}
