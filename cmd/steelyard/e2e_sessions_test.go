// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
	"testing"
)

func (r *rig) askOne() string {
	r.t.Helper()
	who, err := r.ask("tcp", r.vip4(80))
	if err != nil {
		r.t.Fatal(err)
	}
	return who
}

// TestSessions follows one client: remembered, forgotten, pinned by command over a
// kill of the daemon, and free again.
func TestSessions(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	r.write(fmt.Sprintf(`services:
  web: {vip: %s, port: 80, policy: weighted, every: 200ms, probes: [alive], persistence: {timeout: 5m, size: 4}, pins: {192.0.2.99: b2}, backends: %s}
  plain: {vip: %s, port: 81, policy: weighted, backends: %s}
`, r.lab.VIP4, r.backends(false, 100, 100), r.lab.VIP4, r.backends(false, 100, 100)))
	r.start()
	r.untilShares("web", 50, 50)
	client := r.lab.Client.Addr4.String()
	run := func(wantCode int, line string, parts ...string) string {
		t.Helper()
		out, code := r.steelyard(strings.Fields(line)...)
		for _, part := range parts {
			if !strings.Contains(out, part) {
				t.Errorf("it does not say %q", part)
			}
		}
		if code != wantCode || t.Failed() {
			t.Fatalf("%s: exit code %d, want %d:\n%s", line, code, wantCode, out)
		}
		t.Logf("%s: exit code %d:\n%s", line, code, out)
		return out
	}
	stays := func(want string) {
		t.Helper()
		for range 20 {
			if got := r.askOne(); got != want {
				t.Fatalf("the client got %s: want %s", got, want)
			}
		}
	}
	run(0, "show sessions", "ipv4 0 of 4", "192.0.2.99", "pinned, configuration")
	first := r.askOne()
	other := map[string]string{"b1": "b2", "b2": "b1"}[first]
	stays(first)
	run(0, "show sessions web", "ipv4 1 of 4", client+"  ", first, "remembered")
	run(0, "show sessions web --backend "+other, "ipv4 1 of 4")

	run(0, "session pin web "+client+" "+other+" --for 30m --author alice --reason test", "pinned to "+other+", alice, 30 min left: test")
	stays(other)
	run(0, "show sessions web --client "+client, other, "pinned, alice: test", "30 min")
	run(0, "explain web/"+other, "pinned by command", client, "alice: test")
	r.kill()
	r.start()
	r.untilShares("web", 50, 50)
	stays(other)

	// Unpinned it goes back to where persistence had it before: an entry keeps its
	// backend, and the connections to the pin's only kept it from expiring.
	run(0, "session unpin web "+client+" --author alice", "unpinned; ended: pin of "+client+" to "+other+" by alice: test")
	stays(first)
	run(0, "session forget web --backend "+other+" --author alice", "0 sessions forgotten")
	run(0, "session forget web "+client+" --author alice", "1 session forgotten")
	run(0, "show sessions web --limit 1", "ipv4 0 of 4")

	run(1, "session pin web "+client+" b9", `no backend "b9"`)
	run(1, "session forget plain --all", "service plain has no persistence")
	run(64, "session forget web", "want a CLIENT, --backend, or --all alone")
	run(64, "session pin web 192.0.2.7/24 b1", "write it as 192.0.2.0/24")
}
