// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// inBalancer runs steelyard in the namespace of the daemon, as an operator there
// would.
func (r *rig) inBalancer(args ...string) (string, int) {
	r.t.Helper()
	var out syncBuffer
	cmd := exec.Command("/proc/self/exe", append(args, "--socket", filepath.Join(r.dir, "control.sock"))...)
	cmd.Stdout, cmd.Stderr = &out, &out
	p, err := r.lab.Balancer.Start(cmd)
	if err != nil {
		r.t.Fatal(err)
	}
	<-p.Done()
	var exit *exec.ExitError
	if err := p.Err(); errors.As(err, &exit) {
		return out.String(), exit.ExitCode()
	} else if err != nil {
		r.t.Fatal(err)
	}
	return out.String(), exitOK
}

// planConfig is a service with persistence.
func (r *rig) planConfig(policy string, size, weight int) {
	r.write(fmt.Sprintf(`services:
  web:
    vip: %s
    port: 80
    policy: %s
    every: 200ms
    probes: [alive]
    persistence: {timeout: 5m, size: %d}
    pins: {198.51.100.9: b2}
    backends: %s
`, r.lab.VIP4, policy, size, r.backends(false, weight, 100)))
}

// TestPlanOfADaemon asks what the configuration in force would change, then an edited one,
// and asks again once that is in force; then without a daemon.
func TestPlanOfADaemon(t *testing.T) {
	r := newRig(t, 2)
	r.planConfig("weighted", 1000, 100)
	r.start()
	r.untilShares("web", 50, 50)
	want := func(wantCode int, parts ...string) {
		t.Helper()
		out, code := r.inBalancer("plan", "-c", r.config, "--nft")
		for _, part := range parts {
			if !strings.Contains(out, part) {
				t.Errorf("plan does not say %q", part)
			}
		}
		if wantCode == exitOK && strings.Contains(out, "@@") {
			t.Error("nothing would change, and there is a diff")
		}
		if code != wantCode || t.Failed() {
			t.Fatalf("plan: exit code %d, want %d:\n%s", code, wantCode, out)
		}
		t.Logf("plan: exit code %d:\n%s", code, out)
	}
	want(exitOK, "nothing would change")

	r.planConfig("weighted", 2000, 300)
	want(exitChanges, "~ service web", "persistence.size: 1000 → 2000", "backends.b1.weight: 100 → 300",
		"set sticky-web remade", "the clients that persistence has bound, in map sticky-web", "chain svc-web",
		"-		size 1000\n+		size 2000\n", "+		elements = { 0-49151 comment \"b1\"")
	if out, code := r.steelyard("reload"); code != 0 {
		t.Fatalf("reload: %d\n%s", code, out)
	}
	r.untilShares("web", 75, 25)
	want(exitOK, "nothing would change")

	// A command is no drift: what it changed is in force.
	if out, code := r.steelyard("backend", "drain", "web/b1", "--author", "alice"); code != 0 {
		t.Fatalf("drain: %d\n%s", code, out)
	}
	want(exitOK, "nothing would change")

	text, err := os.ReadFile(r.config)
	if err != nil {
		t.Fatal(err)
	}
	r.kill()
	want(exitOK, "compared with the table in the kernel", "nothing would change", "no daemon answers")
	r.planConfig("weighted", 3000, 300)
	want(exitChanges, "set sticky-web remade", "+		size 3000\n")

	// Looking has left the table to its next owner.
	if err := os.WriteFile(r.config, text, 0o600); err != nil {
		t.Fatal(err)
	}
	r.start()
	r.untilShares("web", 0, 100)
	out, code := r.steelyard("plan", "-c", r.config, "-o", "json")
	var res planResult
	if err := json.Unmarshal([]byte(out), &res); err != nil || code != 0 || res.Changed || res.Against != againstDaemon {
		t.Errorf("plan -o json: %d, %v:\n%s", code, err, out)
	}
	if out, code := r.steelyard("stop", "--flush"); code != 0 {
		t.Fatalf("stop: %d\n%s", code, out)
	}
	<-r.proc.Done()
	want(exitChanges, "nothing is in force: everything is new", "+ service web: ", "+table inet steelyard {")
}
