// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/plugins"
	"github.com/steelyard-lb/steelyard/plugins/plugintest/suite"
	"github.com/steelyard-lb/steelyard/plugins/plugintest/tools"
)

// invoke executes one command line in this process.
func invoke(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	code = execute(t.Context(), args, &out, &errs)
	return out.String(), errs.String(), code
}

// TestPluginNew is the way from nothing to a running policy in each language:
// new, make, make test, and the policy answers in the worker of a host.
func TestPluginNew(t *testing.T) {
	t.Parallel()
	needPlainWorker(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range languages {
		t.Run(l.name, func(t *testing.T) {
			tools.Need(t, "make")
			flags := []string{"STEELYARD=" + exe}
			switch l.name {
			case "c":
				tools.Need(t, "clang", "wasm-ld")
			case "assemblyscript":
				tools.Need(t, "node", "npm")
			case "rust":
				flags = append(flags, "RUSTC="+tools.Rustc(t))
			}
			dir := filepath.Join(t.TempDir(), "my policy")
			out, errs, code := invoke(t, "plugin", "new", "idle", "--lang", l.name, "--dir", dir)
			if code != 0 || !strings.Contains(out, "make test") {
				t.Fatalf("code %d\n%s%s", code, out, errs)
			}
			for _, target := range []string{"build", "test"} {
				cmd := exec.Command("make", append([]string{"-C", dir, target}, flags...)...)
				text, err := cmd.CombinedOutput()
				if err != nil && l.name == "assemblyscript" && strings.Contains(string(text), "npm error") {
					tools.Missing(t, "the compiler from npm: "+string(text))
				}
				if err != nil {
					t.Fatalf("make %s: %v\n%s", target, err, text)
				}
				for line := range strings.Lines(string(text)) { // of its time a slow machine may say what it likes
					if strings.HasPrefix(line, "  note") && !strings.Contains(line, "time of a call") {
						t.Errorf("a new policy gives a note: %s\n%s", line, text)
					}
				}
				if target == "test" && !strings.Contains(string(text), "ok    b is down") {
					t.Errorf("make test: no scenario was run\n%s", text)
				}
			}
			answers(t, filepath.Join(dir, strings.ReplaceAll(l.output, "NAME", "idle")))
			_, errs, code = invoke(t, "plugin", "new", "idle", "--lang", l.name, "--dir", dir)
			if code != exitFailure || !strings.Contains(errs, "exists") {
				t.Errorf("over what exists: code %d, %s", code, errs)
			}
		})
	}
}

// answers loads a policy as the daemon does, and asks it.
func answers(t *testing.T, path string) {
	t.Helper()
	h := plugins.NewHost(plugins.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = h.Run(ctx) }) // it has no error to tell
	defer wg.Wait()
	defer cancel()
	if err := h.Load(ctx, []core.PolicySpec{{Name: "mine", Path: path}}); err != nil {
		t.Fatal(err)
	}
	s := suite.Snapshot("web", 4)
	r := h.Schedule(ctx, []core.Call{{Policy: "mine", Snapshot: s}})[0]
	if r.Err != nil || len(r.Weights) != 4 {
		t.Errorf("weights %v, error %v", r.Weights, r.Err)
	}
}

func TestPluginNewRefuses(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, tt := range []struct{ args, want string }{
		{"idle", "no language"},
		{"idle --lang perl", `no language "perl"`},
		{"Idle --lang go", `no name for a policy: "Idle"`},
		{"../idle --lang go", "no name for a policy"},
		{"least-cpu --lang go", "steelyard ships a policy least-cpu"},
		{"--lang go", "accepts 1 arg"},
	} {
		_, errs, code := invoke(t, append([]string{"plugin", "new"}, strings.Fields(tt.args)...)...)
		if code != exitUsage || !strings.Contains(errs, tt.want) {
			t.Errorf("%s: code %d, %q: want %d and %q in it", tt.args, code, errs, exitUsage, tt.want)
		}
	}
	if list, err := os.ReadDir("."); err != nil || len(list) > 0 {
		t.Errorf("something was written: %v, %v", list, err)
	}
}

// idleLua is a small policy for tests of commands.
const idleLua = `policy = {name = "idle", about = "shares follow idle CPU", reads = {"cpu"},
  params = {{name = "floor", default = 0.1, min = 0.01, max = 1, unit = "ratio"}}}
function schedule(s)
  local w = {}
  for i = 1, s.n do
    if s.cpu[i] then w[i] = math.max(1 - s.cpu[i], s.param.floor) else w[i] = hold end
  end
  return w
end
`

// writeFile puts a file into a new folder.
func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPluginValidateAndInspect(t *testing.T) {
	good, bad := writeFile(t, "idle.lua", idleLua), writeFile(t, "bad.lua", "policy = {")
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"validate", good}, 0, "good " + good + ": policy idle"},
		{[]string{"validate", bad}, exitFailure, "refused " + bad},
		{[]string{"validate", good, "-o", "json"}, 0, `"ok": true`},
		{[]string{"validate", "nothing.wasm"}, exitFailure, `no file and no shipped policy "nothing.wasm"`},
		{[]string{"inspect", good}, 0, "policy idle: shares follow idle CPU"},
		{[]string{"inspect", bad}, exitFailure, "refused"},
		{[]string{"inspect", bad, "-o", "json"}, exitFailure, `"problems": [`},
		{[]string{"inspect", "../../plugins/testdata/memless.wasm"}, exitFailure, "refused: not a module of ABI v1"},
		{[]string{"test", good, "--allow", "chaos"}, exitUsage, "want order or scale"},
		{[]string{"test", good, "--param", "floor"}, exitUsage, "want name=number"},
		{[]string{"test", good, "--param", "flour=0.1"}, exitUsage, "policy idle has no parameter flour: it has floor"},
		{[]string{"test", good, "--param", "floor=7"}, exitUsage, "parameter floor of policy idle is 7: want "},
		{[]string{"test", good, "--param", "floor=0.1", "--only-scenarios"}, exitUsage, "--param is for the suite"},
		{[]string{"replay", good, "--recorded", good, "--param", "flour=0.1"}, exitUsage, "policy idle has no parameter flour"},
	} {
		out, errs, code := invoke(t, append([]string{"plugin"}, tt.args...)...)
		if code != tt.code || !strings.Contains(out+errs, tt.want) {
			t.Errorf("%v: code %d, want %d\n%s%s\nwant %q in it", tt.args, code, tt.code, out, errs, tt.want)
		}
	}
}

// TestPluginTest runs checks and scenarios, good and broken, and mends the file.
func TestPluginTest(t *testing.T) {
	policy := writeFile(t, "idle.lua", idleLua)
	scenarios := filepath.Join(filepath.Dir(policy), "scenarios.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(scenarios, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want := func(code int, args ...string) string {
		t.Helper()
		out, errs, got := invoke(t, append([]string{"plugin", "test", policy}, args...)...)
		if got != code {
			t.Errorf("%v: code %d, want %d\n%s%s", args, got, code, out, errs)
		}
		return out + errs
	}
	// It follows idle CPU alone: a service whose backends are all saturated is one.
	write("scenarios:\n  - name: idle gets more\n    backends: {a: {cpu: 20%}, b: {cpu: 80%}}\n    expect: {a: 80%, b: 20%}\n")
	want(0)
	write("scenarios:\n  - name: idle gets more\n    backends: {a: {cpu: 20%}, b: {cpu: 80%}}\n    expect: {a: 50%, b: 20%}\n")
	if out := want(exitFailure, "--only-scenarios"); !strings.Contains(out, "scenarios.yaml:4: share of a is 80.00%, want 50.00%") {
		t.Errorf("the failure does not tell line and shares:\n%s", out)
	}
	var r testReport
	out, _, _ := invoke(t, "plugin", "test", policy, "--only-scenarios", "-o", "json")
	if err := json.Unmarshal([]byte(out), &r); err != nil || r.OK || len(r.Scenarios) != 1 || r.Scenarios[0].Status != suite.Fail {
		t.Errorf("report %+v, %v\n%s", r, err, out)
	}
	want(0, "--only-scenarios", "--update")
	if text, err := os.ReadFile(scenarios); err != nil || !strings.Contains(string(text), "expect: {a: 80%, b: 20%}") {
		t.Errorf("updated: %s, %v", text, err)
	}
	write("scenarios:\n  - name: x\n    bakends: {}\n")
	if out := want(exitConfig); !strings.Contains(out, `scenarios.yaml:3:5: unknown key "bakends" in a scenario (did you mean "backends"?)`) {
		t.Errorf("got %s", out)
	}
}
