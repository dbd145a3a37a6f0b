// SPDX-License-Identifier: Apache-2.0

package examples_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/bus"
	"github.com/steelyard-lb/steelyard/bus/bustest"
	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/config"
	"github.com/steelyard-lb/steelyard/plugins"
	"github.com/steelyard-lb/steelyard/plugins/plugintest"
	"github.com/steelyard-lb/steelyard/plugins/plugintest/tools"
)

// loaded is the configuration of an example, as the daemon reads it.
func loaded(t testing.TB, example string) *config.Config {
	t.Helper()
	shipped := map[string][]string{}
	for _, p := range plugins.ShippedPolicies() {
		shipped[p.Name] = nil
	}
	cfg, err := config.Load(config.Options{Path: filepath.Join(example, "steelyard.yaml"), Hostname: "lb1",
		Env: []string{"SNMP_AUTH=an example", "SNMP_PRIV=an example"}, ShippedPolicies: shipped})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// only is the policy of an example that has one, loaded.
func only(t testing.TB, example string) *keeper {
	t.Helper()
	cfg := loaded(t, example)
	if len(cfg.Policies) != 1 {
		t.Fatalf("%s has %d policies", example, len(cfg.Policies))
	}
	file := cfg.Policies[0].Path
	if file == "" {
		file = filepath.Join(t.TempDir(), "inline.lua")
		if err := os.WriteFile(file, []byte(cfg.Policies[0].Lua), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	k := load(t, cfg.Policies[0].Name, file)
	for _, s := range cfg.Services {
		if s.Policy == k.name {
			k.params = s.Params
		}
	}
	return k
}

// TestConfigured: the policies of every example's configuration load, take the
// parameters that its services give them, and pass the conformance suite.
func TestConfigured(t *testing.T) {
	files, err := filepath.Glob("*/steelyard.yaml")
	if err != nil || len(files) < 6 {
		t.Fatalf("%d examples, %v", len(files), err)
	}
	for _, file := range files {
		example := filepath.Dir(file)
		cfg := loaded(t, example)
		if len(cfg.Policies) == 0 {
			continue
		}
		t.Run(example, func(t *testing.T) {
			h := plugintest.NewHost(t, cfg.Policies...)
			for _, p := range cfg.Policies {
				if fiveWays[p.Name] == "" { // those are put through it in TestFiveLanguages
					plugintest.Run(t, h, p.Name)
				}
			}
			for _, s := range cfg.Services {
				snap := plugintest.Snapshot(s.Name, 3)
				snap.Params = s.Params
				plugintest.Schedule(t, h, s.Policy, snap)
			}
		})
	}
}

// TestPublish runs the script of the queue example against a real bus with the
// user of its configuration, and wants its sample.
func TestPublish(t *testing.T) {
	tools.Need(t, "bash")
	const example = "22-queue-depth"
	cfg := loaded(t, example)
	b := bustest.StartWith(t, bus.Options{Node: bustest.Node, Listen: "127.0.0.1:0", Users: users(cfg)})
	samples := make(chan core.Sample, 16)
	cancel, err := b.SubscribeSamples(func(s core.Sample) { samples <- s })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cancel)
	password := filepath.Join(example, "queues.password")
	publish := func(worker string) error {
		out, err := exec.Command(filepath.Join(example, "publish"), b.ListenAddr().String(),
			password, worker, "37").CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}
	if err := publish("w1"); err != nil {
		t.Fatal(err)
	}
	select {
	case s := <-samples:
		m, ok := s.Metric("queue_depth")
		if !ok || m.Value != 37 || s.Backend != (core.BackendID{Service: "jobs", Backend: "w1"}) || s.Node != "queues" {
			t.Errorf("got %+v", s)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the sample did not come")
	}
	password = filepath.Join(t.TempDir(), "wrong")
	if err := os.WriteFile(password, []byte("wrong"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := publish("w1"); err == nil || !strings.Contains(err.Error(), "Authorization Violation") {
		t.Errorf("with a wrong password: %v", err)
	}
	if out, err := exec.Command(filepath.Join(example, "publish")).CombinedOutput(); err == nil || !strings.HasPrefix(string(out), "usage: publish ADDRESS:PORT ") {
		t.Errorf("without arguments: %v, %s", err, out)
	}
}

func users(cfg *config.Config) []bus.User {
	var out []bus.User
	for _, u := range cfg.Bus.Users {
		out = append(out, bus.User{Name: u.Name, Password: u.Password, Publish: u.Publish, Subscribe: u.Subscribe})
	}
	return out
}
