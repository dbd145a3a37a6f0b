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

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/lab/labtest"
)

// inBalancer runs steelyard in the namespace of the daemon, as an operator there
// would.
func (r *rig) inBalancer(args ...string) (string, int) {
	r.t.Helper()
	var out labtest.Log
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
	t.Parallel()
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

// everyWay are services that find their backends in every way that a table tells
// another way back, with these weights each.
func (r *rig) everyWay(weights ...int) string {
	text := "services:\n"
	for i, line := range []string{
		"dsr: {forwarding: dsr, interfaces: [client]", "stateless: {forwarding: stateless, interfaces: [client]",
		"web: {distribution: random, persistence: {timeout: 5m}, pins: {198.51.100.9: b2}",
		"turn: {distribution: roundrobin", "hash: {distribution: hash", "sym: {distribution: symhash",
	} {
		backends := r.backends(false, weights...)
		if i == 0 { // dsr keeps the port
			backends = strings.ReplaceAll(backends, " port: 80,", "")
		}
		text += fmt.Sprintf("  %s, vip: %s, port: %d, policy: weighted, every: 200ms, probes: [alive], backends: %s}\n",
			line, r.lab.VIP4, 80+i, backends)
	}
	return text
}

// Without a daemon a plan is compared with the table and with the commands that are
// kept beside it: the file in force changes nothing, whatever is drained, pinned,
// weighed or down.
// A service of which only the kernel's side says that it cannot be is refused by
// plan as by the reload after it.
func TestPlanForetellsAMissingInterface(t *testing.T) {
	r := newRig(t, 2)
	r.write(r.web(1, 1))
	r.start()
	r.untilShares("web", 50, 50)
	r.write(r.web(1, 1) + fmt.Sprintf("  far: {vip: %s, port: 99, forwarding: stateless, interfaces: [eth9], policy: weighted, probes: [alive], backends: %s}\n",
		r.lab.VIP4, r.backends(false, 1, 1)))
	const why = "interface eth9 is not there"
	foretold := func() {
		t.Helper()
		out, code := r.inBalancer("plan", "-c", r.config)
		if code != exitChanges || !strings.Contains(out, why) || strings.Contains(out, "far made") {
			t.Errorf("plan: %d\n%s", code, out)
		}
	}
	foretold()
	if out, code := r.steelyard("reload"); code == 0 || !strings.Contains(out, why) {
		t.Errorf("reload: %d\n%s", code, out)
	}
	r.kill()
	foretold()
}

func TestPlanWithoutADaemon(t *testing.T) {
	t.Parallel()
	r := newRig(t, 4)
	r.write(r.everyWay(10, 30, 70, 50))
	r.start()
	names := []string{"web", "turn", "hash", "sym", "stateless", "dsr"}
	for _, name := range names {
		r.untilShares(name, 6.25, 18.75, 43.75, 31.25)
	}
	must := func(line string) {
		t.Helper()
		if out, code := r.steelyard(strings.Fields(line + " --author alice")...); code != 0 {
			t.Fatalf("%s: %d\n%s", line, code, out)
		}
	}
	for _, name := range names {
		must("backend weight " + name + "/b3 35")
		r.wantShares(name, 100*10./125, 100*30./125, 100*35./125, 100*50./125) // at once
		must("backend drain " + name + "/b2")
		r.wantShares(name, 100*10./95, 0, 100*35./95, 100*50./95)
	}
	must("session pin web 192.0.2.77 b2")
	must("session pin web 192.0.2.78 b3 --for 30m")
	r.worlds[0].down()
	for _, name := range names {
		r.untilShares(name, 0, 0, 100*35./85, 100*50./85)
	}
	r.kill()
	for _, format := range []string{"table", "json"} {
		out, code := r.inBalancer("plan", "-c", r.config, "--nft", "-o", format)
		want := "nothing would change"
		if format == "json" {
			want = `"changed": false`
		}
		if code != exitOK || !strings.Contains(out, want) || strings.Contains(out, "null") {
			t.Errorf("the file in force: exit code %d:\n%s", code, out)
		}
	}
	// One backend less: its commands end, and the others' stay.
	r.write(r.everyWay(10, 30))
	out, code := r.inBalancer("plan", "-c", r.config)
	for _, want := range []string{"! weight 35 by alice dropped: dsr/b3 is not in the configuration any more", "! pin of 192.0.2.78 to b3 by alice dropped: web/b3 is not"} {
		if code != exitChanges || !strings.Contains(out, want) || strings.Contains(out, "drain by alice dropped") {
			t.Errorf("two backends less: exit code %d, want %q:\n%s", code, want, out)
		}
	}
}

// A reload says what it changes and which commands it ends, as the plan has said
// before.
func TestReloadTellsWhatItChanges(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	r.write(r.web(1, 1))
	r.start()
	r.untilShares("web", 50, 50)
	reload := func(wants ...string) {
		t.Helper()
		plan, _ := r.inBalancer("plan", "-c", r.config)
		out, code := r.steelyard("reload")
		for _, want := range wants {
			if code != 0 || !strings.Contains(out, want) {
				t.Errorf("reload: exit code %d, want %q:\n%s", code, want, out)
			}
			if text, ok := strings.CutPrefix(want, "steelyard: warning: "); ok && !strings.Contains(plan, text) {
				t.Errorf("the plan does not say %q:\n%s", text, plan)
			}
		}
	}
	reload("reloaded: nothing changed\n")
	if out, code := r.steelyard("backend", "drain", "web/b2", "--author", "alice"); code != 0 {
		t.Fatalf("drain: %d\n%s", code, out)
	}
	r.write(r.web(1) + fmt.Sprintf("  api: {vip: %s, port: 81, backends: %s}\n", r.lab.VIP4, r.backends(false, 1)))
	const dropped = "drain by alice dropped: web/b2 is not in the configuration any more"
	reload("reloaded: 1 service added (api), 1 changed (web)\n", "steelyard: warning: "+dropped)
	r.until("the log tells of it", func() error {
		for _, text := range []string{`command="drain by alice" why="web/b2 is not in the configuration any more"`, `changed="1 service added (api), 1 changed (web)"`} {
			if !strings.Contains(r.log.String(), text) {
				return fmt.Errorf("no %s", text)
			}
		}
		return nil
	})
	reload("reloaded: nothing changed\n")
	r.write(r.web(1))
	out, code := r.steelyard("reload", "-o", "json")
	var res core.ReloadResult
	if err := json.Unmarshal([]byte(out), &res); err != nil || code != 0 || len(res.Changes) != 1 || res.Changes[0].Name != "api" || res.Dropped == nil {
		t.Errorf("reload -o json: %d, %v:\n%s", code, err, out)
	}
}
