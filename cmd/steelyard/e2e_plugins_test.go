// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// With --watch the weights follow the file of a policy; one that is broken is told
// of, and the version before goes on.
func TestPolicyFileIsWatched(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	path := filepath.Join(r.dir, "mine.lua")
	r.save(path, script("3, 1"))
	r.args = []string{"--watch"}
	r.write(fmt.Sprintf("policies: {mine: {path: %s}}\nservices:\n  web: {vip: %s, port: 80, policy: mine, every: 200ms, probes: [alive], backends: %s}\n",
		path, r.lab.VIP4, r.backends(false, 50, 50)))
	r.start()
	r.untilShares("web", 75, 25)
	events := r.events()

	r.save(path, script("1, 3"))
	r.untilShares("web", 25, 75)
	r.until("the swap is told", contains(events, ".event.info.policy", "mine"))

	if err := os.WriteFile(path, []byte("function schedule(s)\n  return {1,\nend\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.says("show plugins", "file refused", "policy.lua:3:")
	r.says("status", "policy mine: its file has changed and was refused")
	r.until("the refusal is told", contains(events, ".event.error.policy", "policy.lua:3:", "the version before stays in force"))
	r.wantShares("web", 25, 75)

	r.save(path, script("1, 1"))
	r.untilShares("web", 50, 50)
	r.until("nothing is refused", func() error {
		if out, code := r.steelyard("show", "plugins"); code != 0 || strings.Contains(out, "refused") {
			return fmt.Errorf("exit %d:\n%s", code, out)
		}
		return nil
	})
	// What was not watched does not change without a reload: the YAML.
	r.write(fmt.Sprintf("policies: {mine: {path: %s}}\nservices:\n  web: {vip: %s, port: 80, policy: weighted, every: 200ms, probes: [alive], backends: %s}\n",
		path, r.lab.VIP4, r.backends(false, 80, 20)))
	r.save(path, script("3, 2"))
	r.untilShares("web", 60, 40)
	if out, code := r.steelyard("reload"); code != 0 {
		t.Fatalf("reload: exit %d: %s", code, out)
	}
	r.untilShares("web", 80, 20)
}

const queuePolicy = `
policy = {metrics = {"queue_depth", "evil"}, params = {{name = "gain", default = 1}}}
function schedule(s)
  local w = {}
  for i = 1, s.n do
    while s.metric.evil[i] == 1 do end
    local depth = s.metric.queue_depth[i]
    if depth then w[i] = s.param.gain / (1 + depth) else w[i] = hold end
  end
  return w
end
`

// A monitor's own metric reaches a script, its unit and age reach explain, and a
// shadow is shown with what it would do; then the script turns hostile: its last
// good weights hold, and after that the configured ones.
func TestCustomMetricShadowAndHostileScript(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	path := filepath.Join(r.dir, "queue.lua")
	r.save(path, queuePolicy)
	write := func(hold string) {
		r.write(fmt.Sprintf("bus: {listen: 127.0.0.1:4222, users: {zabbix: {password: secret}}}\npolicies:\n  queue: {path: %s}\n  even: {lua: \"%s\"}\nservices:\n",
			path, strings.ReplaceAll(script("1, 1"), "\n", " ")) +
			fmt.Sprintf("  web: {vip: %s, port: 80, policy: queue, shadow: even, params: {gain: 4}, every: 200ms, shaping: {hold: %s, stale_after: 1h, step: 0, dead_band: 0}, probes: [alive], backends: %s}\n",
				r.lab.VIP4, hold, r.backends(false, 90, 10)) +
			fmt.Sprintf("  other: {vip: %s, port: 81, policy: weighted, shadow: queue, every: 200ms, shaping: {stale_after: 1h}, probes: [alive], backends: %s}\n", r.lab.VIP4, r.backends(false, 67, 33)))
	}
	write("1h")
	r.start()
	send := r.monitor(t)
	send("b1", map[string]float64{"queue_depth": 0})
	send("b2", map[string]float64{"queue_depth": 3})
	r.untilShares("web", 80, 20)
	r.says("explain web/b2", "queue_depth", "3 jobs", "shadow    even", "would give 50.0% (now 20.0%)")
	r.says("explain web", "SHADOW", "moves 30.0% of new connections")
	r.says("show", "queue, shadow even moves 30.0%")
	r.says("show plugins", "in the configuration", path, "lua", "MB")
	for _, command := range []string{"show web", "explain web", "explain web/b2", "show plugins"} {
		out, _ := r.steelyard(strings.Fields(command)...)
		t.Logf("%s\n%s", command, out)
	}
	r.recorded(t)
	events := r.events()

	send("b1", map[string]float64{"evil": 1})
	r.says("show", "policy queue: ", "the last good weights hold")
	r.wantShares("web", 80, 20)
	r.says("explain web", "CPU time")
	r.says("show plugins", "queue", "last fault", "CPU time")
	out, _ := r.steelyard("show", "plugins")
	t.Logf("show plugins\n%s", out)
	r.until("the quarantine is told", contains(events, ".policy", "queue", "CPU time"))
	write("1s")
	if out, code := r.steelyard("reload"); code != 0 {
		t.Fatalf("reload: exit %d: %s", code, out)
	}
	r.untilShares("web", 90, 10) // hold is over
	r.wantShares("other", 67, 33)
	r.untilDecided("other")
	r.says("explain other", "shadow    queue", "the service is not concerned")
}

// untilDecided waits for the next good decision of a service.
func (r *rig) untilDecided(service string) {
	r.t.Helper()
	asked := time.Now()
	r.until(service+" is decided", func() error {
		s, err := r.service(service)
		if err == nil && (s.PolicyError != "" || !s.DecidedAt.After(asked)) {
			err = fmt.Errorf("the last decision was at %v, %q", s.DecidedAt, s.PolicyError)
		}
		return err
	})
}

// recorded checks that the calls can be had for a replay, of the service and its
// shadow.
func (r *rig) recorded(t *testing.T) {
	t.Helper()
	enough := errors.New("enough")
	seen := map[string]int{}
	err := r.client.Recordings(t.Context(), []string{"web"}, true, func(c core.Recorded) error {
		if c.Snapshot.Service != "web" || len(c.Snapshot.Backends) != 2 {
			t.Errorf("recorded: %+v", c)
		}
		if c.Err == "" && len(c.Weights) == 2 && c.Shadow == (c.Policy == "even") {
			seen[c.Policy]++
		}
		if seen["queue"] > 3 && seen["even"] > 3 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		t.Errorf("recordings: %v, seen %v", err, seen)
	}
}

// A module that loops when it is called leaves in the kernel what the policy before
// it said, until hold is over; then come the configured weights.
func TestLoopingModuleHoldsThenConfigured(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	module, err := filepath.Abs("../../plugins/testdata/loop.wasm")
	if err != nil {
		t.Fatal(err)
	}
	write := func(policy, hold string) {
		r.write(fmt.Sprintf("policies: {loop: {path: %s}}\nservices:\n", module) +
			fmt.Sprintf("  web: {vip: %s, port: 80, policy: %s, every: 200ms, shaping: {hold: %s, step: 0, dead_band: 0}, probes: [alive], backends: %s}\n", r.lab.VIP4, policy, hold, r.backends(false, 75, 25)) +
			fmt.Sprintf("  other: {vip: %s, port: 81, policy: weighted, every: 200ms, probes: [alive], backends: %s}\n", r.lab.VIP4, r.backends(false, 67, 33)))
	}
	kernel := func(last string) func() error {
		return func() error {
			first := regexp.MustCompile(`map w-web \{[^}]*\{ 0-` + last + `( comment "b1")? : `)
			if text := r.ruleset(t); !first.MatchString(text) {
				return fmt.Errorf("no slots 0 to %s of b1 in\n%s", last, text)
			}
			return nil
		}
	}
	write("rr", "1h")
	r.start()
	r.until("the kernel has what rr says", kernel("32767"))
	events := r.events()
	write("loop", "1h")
	if out, code := r.steelyard("reload"); code != 0 {
		t.Fatalf("reload: exit %d: %s", code, out)
	}
	r.says("show", "policy loop: ", "CPU time", "the last good weights hold")
	r.says("explain web/b1", "CPU time", "the last good weights hold", "share held")
	r.says("status", "policy loop: quarantined")
	r.until("the quarantine is told", contains(events, ".policy", "loop", "CPU time"))
	if err := kernel("32767")(); err != nil {
		t.Error(err)
	}
	r.untilDecided("other")
	write("loop", "1s")
	if out, code := r.steelyard("reload"); code != 0 {
		t.Fatalf("reload: exit %d: %s", code, out)
	}
	r.untilShares("web", 75, 25)
	r.until("the kernel has the configured weights", kernel("49151"))
}
