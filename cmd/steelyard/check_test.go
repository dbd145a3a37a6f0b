// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
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
