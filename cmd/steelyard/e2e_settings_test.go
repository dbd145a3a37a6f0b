// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestExplainInForce: explain shows what is configured, what a limit has turned
// away and how many clients are remembered, and follows a reload.
func TestExplainInForce(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	deny := filepath.Join(r.dir, "deny.list")
	if err := os.WriteFile(deny, []byte("198.18.0.0/15\n203.0.113.128/25\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	services := func(limits string) string {
		return fmt.Sprintf(`services:
  web:
    vip: %s
    port: 80
    probes: [alive]
    on_down: reset
    hairpin: true
    persistence: {timeout: 5m, prefix4: 24, size: 1000}
    deny_file: %s
    log: {per_second: 5}
    limits: {%s}
    backends: {b1: {address: %s, max_connections: 500}, b2: {address: %s, forwarding: masquerade}}
`, r.lab.VIP4, deny, limits, r.lab.Backends[0].Addr4, r.lab.Backends[1].Addr4)
	}
	r.write(services("new_per_second: 2, new_burst: 2, answer: reject"))
	r.start()
	r.untilShares("web", 50, 50)
	// More than the burst: some get through, and some do not.
	for range 10 {
		_, _ = r.ask("tcp", r.vip4(80))
	}
	r.untilPrints("explain web", "hairpin       connections of the service's own backends are masqueraded",
		"on_down       reset: ", "a client is a /24 of IPv4", "clients remembered now: 1 of 1000 ipv4",
		"no clients of 2 networks, with those of "+deny, "2 new connections/s, 2 at once; turned away: ", `as "steelyard web"`)
	r.untilPrints("explain web/b1", "max_connections  500 open connections")
	r.untilPrints("explain web/b2", "forwarding  masquerade: ")
	r.untilPrints("explain web/b1 -o json", `"timeout_ns": 300000000000`, `"deny_prefixes": 2`, `"max_connections": 500`, `"family": "ipv4"`)
	r.untilPrints("show", "persistence 5 min, deny, limits, hairpin", "turned away: ")

	r.write(services("connections: 7"))
	if out, code := r.steelyard("reload"); code != 0 {
		t.Fatalf("reload: %s", out)
	}
	r.untilPrints("explain web", "limits        7 open connections\n")
}

// untilPrints runs a command until all of want is in what it prints.
func (r *rig) untilPrints(line string, want ...string) {
	r.t.Helper()
	r.until(line, func() error {
		out, code := r.steelyard(strings.Fields(line)...)
		for _, w := range want {
			if code != 0 || !strings.Contains(out, w) {
				return fmt.Errorf("exit code %d, and no %q in\n%s", code, w, out)
			}
		}
		return nil
	})
}
