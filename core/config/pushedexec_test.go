// SPDX-License-Identifier: Apache-2.0

package config

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/steelyard-lb/steelyard/core"
)

const (
	following = "node: lb7\ncluster: {group: edge, definitions: bus}\n" + servers
	allowing  = "node: lb7\ncluster: {group: edge, definitions: bus, definitions_exec: allow}\n" + servers
	localRun  = "probes: {disk: {type: exec, command: [/bin/own, '{address}'], env: {A: x, B: y}}}\n"
)

// TestPushedCommands: what runs on a node says the node.
func TestPushedCommands(t *testing.T) {
	tests := []struct {
		name, own, pushed string
		at                string // where it is refused; empty: it is not
	}{
		{"a command", following, "probes: {disk: {type: exec, command: [/bin/evil]}}", "/l.yaml:1:38: "},
		{"a command, and the node takes them", allowing, "probes: {disk: {type: exec, command: [/bin/evil]}}", ""},
		{"the node's own alone", following + localRun, "services: {}", ""},
		{"the node's own, named by pushed services", following + localRun, strings.Replace(web, "backends:", "probes: [disk]\n    backends:", 1), ""},
		{"the same again", following + localRun, localRun, ""},
		{"the same and when", following + localRun, "probes: {disk: {type: exec, interval: 7s, user: '', env: {B: y}, command: [/bin/own, '{address}']}}", ""},
		{"another program", following + localRun, "probes: {disk: {command: [/bin/evil]}}", "/l.yaml:1:26: "},
		{"another argument", following + localRun, "probes: {disk: {command: [/bin/own, '{port}']}}", "/l.yaml:1:26: "},
		{"another user", following + localRun, "probes: {disk: {user: root}}", "/l.yaml:1:23: "},
		{"another network namespace", following + localRun, "probes: {disk: {netns: mine}}", "/l.yaml:1:24: "},
		{"one more variable", following + localRun, "probes: {disk: {env: {LD_PRELOAD: /tmp/x}}}", "probe disk runs a command"},
		{"another value", following + localRun, "probes: {disk: {env: {B: z}}}", "probe disk runs a command"},
		{"a type that makes a command of it", following + "probes: {disk: {type: tcp}}\n", "probes: {disk: {type: exec, command: [/bin/evil]}}", "/l.yaml:1:38: "},
		{"no command any more", following + localRun, "probes: {disk: {type: tcp}}", "no \"command\""},
		{"the switch itself", following, "cluster: {definitions_exec: allow}\nprobes: {disk: {type: exec, command: [/bin/evil]}}", "/l.yaml:1:1: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := elsewhere(files{"/etc/s.yaml": tt.own, "/l.yaml": tt.pushed})
			o.Layers = []string{"/l.yaml"}
			cfg, err := Load(o)
			switch {
			case tt.at == "" && err != nil:
				t.Error(err)
			case tt.at == "" && len(cfg.Probes) > 0 && cfg.Probes["disk"].Exec.Command == nil:
				t.Errorf("the probe is %+v", cfg.Probes["disk"])
			case tt.at != "" && (err == nil || !strings.Contains(err.Error(), tt.at)):
				t.Errorf("%v, want %q in it", err, tt.at)
			}
		})
	}
}

// The refusal says what, why and what to do; so does the switch where it means nothing.
func TestPushedCommandIsExplained(t *testing.T) {
	o := elsewhere(files{"/etc/s.yaml": following, "/l.yaml": "probes: {disk: {type: exec, command: [/bin/evil], env: {PASSWORD: hunter2}}}"})
	o.Layers = []string{"/l.yaml"}
	const want = "/l.yaml:1:38: probe disk runs a command, and this node takes none from pushed definitions (set cluster.definitions_exec: allow in the file of this node, or write the probe there with the same command)"
	if _, err := Load(o); err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	cfg := mustLoad(t, elsewhere(files{"/etc/s.yaml": "cluster: {definitions_exec: allow}\n" + web}))
	if got := cfg.Warnings.Error(); !strings.Contains(got, "cluster.definitions_exec means nothing unless this node follows pushed definitions") {
		t.Errorf("warned %q", got)
	}
}

// TestLocalOf: what is of the node alone is as it was, and what services name as it is.
func TestLocalOf(t *testing.T) {
	disk := files{
		"/etc/s.yaml":        following + "bus: {login: {user: lb, password_file: pw}}\nservices: {web: {deny_file: deny.list}}\n",
		"/etc/conf.d/a.yaml": "log: {level: warn}\n", "/etc/pw": "old\n", "/etc/deny.list": "192.0.2.7\n", "/l.yaml": web,
	}
	disk["/etc/s.yaml"] = strings.Replace(disk["/etc/s.yaml"], servers+"bus: {login", "bus: {servers: ['nats://192.0.2.53:4222'], login", 1)
	o := elsewhere(disk)
	o.Layers = []string{"/l.yaml"}
	before := mustLoad(t, o)
	disk["/etc/s.yaml"] = "node: other\n{ this is not even YAML"
	disk["/etc/conf.d/a.yaml"], disk["/etc/conf.d/b.yaml"], disk["/etc/pw"] = "log: {level: error}\n", "node: third\n", "new\n"
	disk["/etc/deny.list"], disk["/l.yaml"] = "192.0.2.7\n192.0.2.8\n", strings.Replace(web, "weight: 50", "weight: 60", 1)
	o.LocalOf = before
	for range 2 { // the second is of what the first kept
		after := mustLoad(t, o)
		if after.Node != "lb7" || after.Log.Level != "warn" || after.Bus.Login.Password != "old" {
			t.Errorf("node %q, log %+v, another password: %t; want them as they were", after.Node, after.Log, after.Bus.Login.Password != "old")
		}
		if s := after.Services[0]; len(s.Deny) != 2 || s.Backends[1].Weight != 60 {
			t.Errorf("denied %v, backends %+v; want them as they are", s.Deny, s.Backends)
		}
		o.LocalOf = after
	}
}

// FuzzPushedCommands: whatever is pushed, what runs on a node that takes no commands is
// what runs there without it.
func FuzzPushedCommands(f *testing.F) {
	for _, pushed := range []string{localRun, "probes: {disk: {command: [/bin/evil]}}", "probes: {disk: {env: {B: z}, interval: 7s}}",
		"probes: {disk: {type: tcp}, tcp: {type: exec, command: [/bin/evil]}}", "probes: {disk: {user: '', netns: ''}}", "x: &x {command: [/bin/evil]}\nprobes: {disk: {<<: *x}}"} {
		f.Add(following+localRun, pushed)
		f.Add(following, pushed)
	}
	f.Fuzz(func(t *testing.T, own, pushed string) {
		disk := files{"/etc/s.yaml": own, "/l.yaml": pushed}
		before, err := Load(elsewhere(disk))
		if err != nil || strings.Contains(own, execAllow) {
			return
		}
		o := elsewhere(disk)
		o.Layers = []string{"/l.yaml"}
		after, err := Load(o)
		if err != nil {
			return
		}
		for name, p := range after.Probes {
			was := before.Probes[name]
			if p.Type != core.ProbeExec {
				continue
			}
			if was.Type != p.Type || p.Exec.User != was.Exec.User || p.Way.Netns != was.Way.Netns ||
				!slices.Equal(p.Exec.Command, was.Exec.Command) || !maps.Equal(p.Exec.Env, was.Exec.Env) {
				t.Fatalf("probe %s runs %+v, want %+v", name, p, was)
			}
		}
	})
}
