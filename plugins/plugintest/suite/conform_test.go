// SPDX-License-Identifier: Apache-2.0

package suite_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/plugins/plugintest"
	"github.com/steelyard-lb/steelyard/plugins/plugintest/suite"
)

func TestMain(m *testing.M) { plugintest.Main(m) }

// lua is a policy whose schedule is this, with w to fill and return.
func lua(t *testing.T, body string) suite.Subject {
	t.Helper()
	return suite.Subject{Command: plugintest.Worker(t), Code: []byte("policy = {name = 'guest', params = {{name = 'p', default = 1, min = 0, max = 2}}, service_state = {'n'}}\n" +
		"local kept = {}\nfunction schedule(s)\n  local w = {}\n  for i = 1, s.n do w[i] = s.weight[i] end\n" + body + "\n  return w\nend\n")}
}

// found are the names of the results of a status.
func found(results []suite.Result, status suite.Status) []string {
	var names []string
	for _, r := range results {
		if r.Status == status {
			names = append(names, r.Name)
		}
	}
	return names
}

// TestConformFinds gives the suite policies that each break one rule, and expects
// it to find that and nothing else.
func TestConformFinds(t *testing.T) {
	tests := []struct {
		name, body  string
		allow       []string
		fail, note  []string
		cause, cure string
	}{
		{name: "nothing", body: ""},
		{name: "order", body: "for i = 1, s.n do w[i] = i end", fail: []string{"order of backends"}, cause: "in one order of the backends", cure: "--allow order"},
		{name: "order that is meant", body: "for i = 1, s.n do w[i] = i end", allow: []string{suite.AllowOrder}, note: []string{"order of backends"}},
		{name: "scale", body: "for i = 1, s.n do w[i] = w[i] + 50 end", fail: []string{"scale of configured weights"}, cause: "three times as large"},
		{name: "memory of its own", body: "kept.n = (kept.n or 0) + 1; for i = 1, s.n do w[i] = w[i] + kept.n % 7 * i end", allow: suite.Allowed,
			fail: []string{"the same in two workers", "keeps to its own service", "memory of its own is not needed", "a newer host's snapshot"}, note: []string{"order of backends", "scale of configured weights"}},
		{name: "one backend", body: "if s.n == 1 then error('two at least') end", fail: []string{"one backend"}, cause: "two at least", cure: "hold"},
		{name: "a parameter", body: "if s.param.p == 0 then error('division') end", fail: []string{"parameters at their ends"}, cause: "p: 0: "},
		{name: "all down", body: "for i = 1, s.n do if s.down[i] then w[i] = nil end end",
			fail: []string{"all down", "one up", "backends come and go", "the same in two workers", "keeps to its own service", "memory of its own is not needed", "a newer host's snapshot"}},
		{name: "state", body: "if not (s.service.n < 1e9) then error('state') end; s.service.n = s.service.n + 1", note: []string{"state of another origin"}, cure: "state_version"},
		{name: "a leak", body: "for k = 1, 5 do kept[#kept + 1] = string.rep('x', 1000) .. #kept end", fail: []string{"memory"}},
		{name: "10,000 backends", body: "if s.n > 5000 then while true do end end", fail: []string{"10,000 backends", "time of a call"}, cause: "CPU time"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			results, err := suite.Conform(t.Context(), lua(t, tt.body), suite.Options{Allow: tt.allow})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.fail, found(results, suite.Fail)); diff != "" {
				t.Errorf("failed (-want +got):\n%s\n%+v", diff, results)
			}
			// What a slow machine is told about its time is no matter.
			notes := slices.DeleteFunc(found(results, suite.Note), func(n string) bool { return n == "time of a call" })
			if diff := cmp.Diff(tt.note, notes); diff != "" && (len(tt.note) > 0 || len(notes) > 0) {
				t.Errorf("noted (-want +got):\n%s\n%+v", diff, results)
			}
			for _, r := range results {
				if r.Status != suite.Pass && !(r.Name == "time of a call" && r.Status == suite.Note) && (!strings.Contains(r.Cause, tt.cause) || !strings.Contains(r.Remedy, tt.cure)) {
					t.Errorf("%s: cause %q, remedy %q: want %q and %q in them", r.Name, r.Cause, r.Remedy, tt.cause, tt.cure)
				}
			}
		})
	}
}

// A module that does not load is one result.
func TestConformRefused(t *testing.T) {
	results, err := suite.Conform(t.Context(), suite.Subject{Command: plugintest.Worker(t), Code: []byte("policy = {")}, suite.Options{})
	if err != nil || len(results) != 1 || results[0].Status != suite.Fail || results[0].Name != "contract" {
		t.Errorf("results %+v, error %v", results, err)
	}
}

// What only a guest of raw memory can do wrong: sizes that it knows by heart, and
// a crash on a number of its state.
func TestConformFindsInC(t *testing.T) {
	tests := []struct{ name, body, fail, cause string }{
		{"sizes by heart", "sy_set_weight(s, i, ((const sy_backend *)((const char *)s + 128))[i].weight);", "a newer host's snapshot", ""},
		{"a crash on its state", "double *st = sy_backend_state(s, i); if (!(*st < 1e9)) __builtin_trap(); *st += 1; sy_set_weight(s, i, sy_at(s, i)->weight);",
			"state of another origin", "unreachable"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code := clang(t, `#include "steelyard.h"
SY_POLICY({"name": "guest", "backend_slots": 1})
SY_SCHEDULE(s) { for (uint32_t i = 0; i < s->n; i++) { `+tt.body+` } return SY_OK; }
`)
			results, err := suite.Conform(t.Context(), suite.Subject{Command: plugintest.Worker(t), Code: code}, suite.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if got := found(results, suite.Fail); !slices.Equal(got, []string{tt.fail}) {
				t.Errorf("failed: %q, want %q\n%+v", got, tt.fail, results)
			}
			for _, r := range results {
				if r.Status == suite.Fail && !strings.Contains(r.Cause, tt.cause) {
					t.Errorf("cause %q: want %q in it", r.Cause, tt.cause)
				}
			}
		})
	}
}

// clang compiles a policy in C.
func clang(t *testing.T, source string) []byte {
	t.Helper()
	for _, tool := range []string{"clang", "wasm-ld"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
	dir := t.TempDir()
	in, out := filepath.Join(dir, "guest.c"), filepath.Join(dir, "guest.wasm")
	if err := os.WriteFile(in, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("clang", "--target=wasm32", "-O2", "-nostdlib", "-ffreestanding", "-I", "../../../sdk/c", "-Wl,--no-entry,--strip-all", "-o", out, in)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("clang: %v\n%s", err, text)
	}
	code, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return code
}

// TestLoadingHasALimit: a script that is never read to its end costs a second.
func TestLoadingHasALimit(t *testing.T) {
	s := suite.Subject{Command: plugintest.Worker(t), Code: []byte("while true do end\n")}
	if _, err := s.Open(t.Context()); err == nil || !strings.Contains(err.Error(), "more than 1s of CPU time") {
		t.Errorf("got %v", err)
	}
}
