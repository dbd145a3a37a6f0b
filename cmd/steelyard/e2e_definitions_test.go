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
	r.says("show nodes", "revision 2")
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

// What a node has in its own files holds up no revision, and no revision runs what the
// node does not want to run.
func TestRevisionsOverFilesOfTheNode(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	startNATS(t, r, "-js", "-sd", filepath.Join(r.dir, "jetstream"))
	write := func(exec, more string) {
		r.write(fmt.Sprintf("bus: {servers: ['nats://%s']}\ncluster: {group: edge, definitions: bus, definitions_exec: %s}\n%s", clusterBus, exec, more))
	}
	write("deny", "")
	r.start()
	r.push(50, 50)
	r.untilShares("web", 50, 50)

	events := r.events()

	write("deny", "http: {listen: '127.0.0.1:9190'}\n")
	if out, code := r.steelyard("reload"); code == 0 {
		t.Fatalf("a new listener was taken without a restart:\n%s", out)
	}
	r.push(25, 75)
	r.untilShares("web", 25, 75)
	r.says("status", "the last reload was refused", "http changed, which takes a restart")
	r.until("the refused file is told", contains(events, ".event.error.reload", "http changed"))
	write("deny", "{ no YAML any more")
	r.push(40, 60)
	r.untilShares("web", 40, 60)

	if out := r.pushed("  disk: {type: exec, command: [/bin/true]}\n", "alive, disk", 10, 90); !strings.Contains(out, "1 probe of type exec: disk; nodes refuse the revision unless") {
		t.Errorf("push does not warn:\n%s", out)
	}
	told := []string{"refused, the one before stays in force", "probe disk runs a command", "cluster.definitions_exec: allow"}
	r.says("status", append(told, "revision 4 by ", "http changed, which takes a restart")...)
	r.until("the refusal is told", contains(events, append(told, ".event.error.reload", "revision 4 by ")...))
	r.until("the refusal is in the log", contains(r.log.String, append(told, "revision=4")...))
	r.wantShares("web", 40, 60)
	if v, err := r.client.Node(t.Context()); err != nil || v.Revision != 3 {
		t.Errorf("revision %d is in force (%v), want 3", v.Revision, err)
	}

	// What the node refused for its own file it takes when that is another.
	write("allow", "")
	if out, code := r.steelyard("reload"); code != 0 {
		t.Fatalf("exit code %d\n%s", code, out)
	}
	r.untilShares("web", 10, 90)
	r.until("nothing is refused any more", func() error {
		if v, err := r.client.Node(t.Context()); err != nil || v.Revision != 4 || v.RevisionError+v.ReloadError != "" {
			return fmt.Errorf("revision %d, %q, %q, %v", v.Revision, v.RevisionError, v.ReloadError, err)
		}
		return nil
	})
}

// push pushes a service of two backends with these weights.
func (r *rig) push(weights ...int) {
	r.t.Helper()
	r.pushed("", "alive", weights...)
}

// pushed is push with more probes, and returns what it says.
func (r *rig) pushed(probes, used string, weights ...int) string {
	r.t.Helper()
	doc := fmt.Sprintf(`probes:
  alive: {type: tcp, %s}
%sservices:
  web: {vip: %s, port: 80, policy: weighted, every: 200ms, probes: [%s], backends: %s}
`, r.aliveKeys(), probes, r.lab.VIP4, used, r.backends(false, weights...))
	path := filepath.Join(r.dir, "pushed.yaml")
	r.save(path, doc)
	out, code := r.inBalancer("push", "-c", path, "--server", "nats://"+clusterBus, "--group", "edge", "--message", "test")
	if code != 0 {
		r.t.Fatalf("push: exit code %d\n%s", code, out)
	}
	return out
}
