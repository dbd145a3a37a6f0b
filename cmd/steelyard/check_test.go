// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/steelyard-lb/steelyard/core/config"
)

// TestCheckWarns: what may be, and was probably not meant, is said and stops
// nothing; what was certainly not meant does.
func TestCheckWarns(t *testing.T) {
	const none = "warning: there are no services: this node balances nothing\n      = services: {web: "
	tests := []struct {
		name, text, line string
		code             int
		out, errs        string
	}{
		{"no services", "node: lb1\n", "", 0, "ok: 0 services", none},
		{"quiet", "node: lb1\n", "-q", 0, "", none},
		{"JSON", "node: lb1\n", "-o json", 0, `"message": "there are no services`, ""},
		{"an empty file", "# services:\n", "", exitConfig, "", "error: the file is empty"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "s.yaml")
			if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			out, errs, code := run(t, t.Context(), nil, strings.Fields("check -c "+path+" "+tt.line)...)
			if code != tt.code || !strings.Contains(out, tt.out) || !strings.Contains(errs, tt.errs) || tt.out == "" && out != "" || tt.errs == "" && errs != "" {
				t.Errorf("exit code %d, stdout %q, stderr %q", code, out, errs)
			}
		})
	}
}

// TestCheckLoadsPolicies: what only loading a policy can find is told at its place.
func TestCheckLoadsPolicies(t *testing.T) {
	needPlainWorker(t)
	module := func(name string) string {
		path, err := filepath.Abs("../../plugins/testdata/" + name + ".wasm")
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	const services = "services:\n  web: {vip: 192.0.2.10, port: 80, policy: %s, shadow: %s, params: {%s}, backends: {web1: {address: 10.0.0.11}}}\n"
	tests := []struct {
		name, policies, policy, shadow, params string
		want                                   []string // of stderr; none: all is well
	}{
		{"module", "{mine: {path: " + module("count") + "}}", "mine", "rr", "", nil},
		{"no memory", "{mine: {path: " + module("memless") + "}}", "mine", "rr", "", []string{"s.yaml:1:25: error: load policy mine", "memory"}},
		{"unknown parameter", "{mine: {path: " + module("count") + "}}", "mine", "rr", "gain: 2", []string{"s.yaml:3:71: error: policy mine", "gain"}},
		{"parameter of the shadow", "{}", "weighted", "least-cpu", "alpha: 0.2", nil},
		{"parameter out of its bounds", "{}", "weighted", "least-cpu", "alpha: 7", []string{"s.yaml:3:82: error: parameter alpha of policy least-cpu", "alpha"}},
		{"script", "\n  mine:\n    lua: |\n      function schedule(s)\n        return s.weight\n      end", "mine", "rr", "", nil},
		{"script with a mistake", "\n  mine:\n    lua: |\n      function schedule(s)\n        return s.weight +\n      end", "mine", "rr", "", []string{"s.yaml:6:", "error: load policy mine"}},
		{"script that fails where it runs", "\n  mine:\n    lua: |\n      function schedule(s)\n        return s.wait\n      end", "mine", "rr", "", []string{"s.yaml:5:9: error: run policy mine on a service of two backends: there is no s.wait"}},
		{"module that traps", "{mine: {path: " + module("trap") + "}}", "mine", "rr", "", []string{"s.yaml:1:25: error: run policy mine on a service of two backends: "}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "s.yaml")
			if err := os.WriteFile(path, fmt.Appendf(nil, "policies: %s\n"+services, tt.policies, tt.policy, tt.shadow, tt.params), 0o600); err != nil {
				t.Fatal(err)
			}
			out, errs, code := run(t, t.Context(), nil, "check", "-c", path)
			if (code == 0) != (tt.want == nil) {
				t.Errorf("exit code %d, stdout %q", code, out)
			}
			for _, text := range tt.want {
				if !strings.Contains(errs, text) {
					t.Errorf("stderr has not %q:\n%s", text, errs)
				}
			}
		})
	}
}

// TestCheckSaysThatServicesArePushed: a file without services is no mistake where they come
// from the bus, and what this machine has of them is checked with it.
func TestCheckSaysThatServicesArePushed(t *testing.T) {
	dir := t.TempDir()
	path := write(t, dir, "s.yaml", "node: lb1\nstate_dir: "+dir+"\nbus: {servers: ['nats://127.0.0.1:1']}\ncluster: {group: edge, definitions: bus}\n")
	check := func(want, errs string, line ...string) {
		t.Helper()
		out, stderr, code := run(t, t.Context(), nil, append([]string{"check", "-c", path}, line...)...)
		if code != 0 || !strings.Contains(out, want) || stderr != errs {
			t.Errorf("code %d, %q, %q; want %q in it and %q", code, out, stderr, want, errs)
		}
	}
	check("ok: 0 services, 0 backends, 0 probes; services come from the bus, and none has come to this machine yet\n", "")
	check(`"from_bus": true`, "", "-o", "json")
	pushed := config.LayerDir{Path: filepath.Join(dir, "definitions")}
	layer, err := pushed.Write(7, []byte("services:\n  web: {vip: 192.0.2.10, port: 80, backends: {web1: {address: 10.0.0.11}}}\n"), nil)
	if err == nil {
		err = pushed.Accept(layer)
	}
	if err != nil {
		t.Fatal(err)
	}
	check("ok: 1 service, 1 backend, 0 probes, with revision 7 from the bus\n", "")
	check(`"revision": 7`, "", "-o", "json")
	if err := os.Chmod(pushed.Path, 0); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.Chmod(pushed.Path, 0o700) }() // to be cleared away
	line := []string{os.Args[0], "check", "-c", path}
	if os.Geteuid() == 0 { // root without what makes it root
		line = append([]string{"setpriv", "--bounding-set=-all", "--inh-caps=-all"}, line...)
	}
	out, err := exec.CommandContext(t.Context(), line[0], line[1:]...).CombinedOutput()
	if want := "; services come from the bus, and what is on this machine of them is for root to read\n"; err != nil || !strings.HasSuffix(string(out), want) {
		t.Errorf("check of what may not be read: %v\n%s", err, out)
	}
}
