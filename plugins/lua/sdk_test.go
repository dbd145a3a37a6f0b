// SPDX-License-Identifier: Apache-2.0

package lua_test

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/steelyard-lb/steelyard/core"
)

const sdk = "../../sdk/lua/steelyard.lua"

// plainLua is the Lua of the operating system.
func plainLua(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("lua5.1")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("lua5.1 is missing: install the package lua5.1")
		}
		t.Skip("lua5.1 is missing")
	}
	return path
}

// scenario is a snapshot as the author of a policy writes it for steelyard.lua.
func scenario(s *core.Snapshot) string {
	var b strings.Builder
	seconds := func(r core.Reading) float64 { return r.Age.Seconds() }
	fmt.Fprintf(&b, "{ seconds = %g, now = %d, backends = {\n", s.Since.Seconds(), s.Now.Unix())
	for _, in := range s.Backends {
		fmt.Fprintf(&b, "  { id = '%016x', weight = %d, share = %g, up = %t, health_seconds = %g", in.ID, in.Weight, in.Share, in.Health == core.Up, in.Since.Seconds())
		if in.CPU.Known {
			fmt.Fprintf(&b, ", cpu = %g, cpu_age = %g, cpu_window = %g, cpu_seq = %d, cores = %g, response = %g, response_age = %g",
				in.CPU.Value, seconds(in.CPU), in.CPU.Window.Seconds(), in.CPUSeq, in.Cores.Value, in.Response.Value, seconds(in.Response))
			fmt.Fprintf(&b, ", connections = %g, connections_age = %g, opened = %g, closed = %g, metric = { queue_depth = %g }",
				in.Conns.Value, seconds(in.Conns), in.New.Value, in.Done.Value, in.Custom[0].Value)
		}
		b.WriteString(" },\n")
	}
	return b.String() + "} }"
}

// try runs a script with steelyard.lua and returns the weights of each step, the
// largest of which is 1.
func try(t *testing.T, script string, steps []string) [][]float64 {
	t.Helper()
	dir := t.TempDir()
	policy, scene := filepath.Join(dir, "policy.lua"), filepath.Join(dir, "scenario.lua")
	for file, text := range map[string]string{policy: script, scene: "return { " + strings.Join(steps, ", ") + " }"} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.CommandContext(t.Context(), plainLua(t), sdk, policy, scene).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var all [][]float64
	for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		var weights []float64
		for _, field := range strings.Fields(line) {
			_, text, _ := strings.Cut(field, "=")
			w := float64(core.Hold)
			if text != "hold" {
				if w, err = strconv.ParseFloat(text, 64); err != nil {
					t.Fatalf("%q: %v", line, err)
				}
			}
			weights = append(weights, w)
		}
		all = append(all, relative(weights))
	}
	return all
}

// relative divides by the largest weight.
func relative(weights []float64) []float64 {
	top := 0.0
	for _, w := range weights {
		top = max(top, w)
	}
	out := make([]float64, len(weights))
	for i, w := range weights {
		if out[i] = w; w > 0 {
			out[i] = w / top
		}
	}
	return out
}

// TestPlainLuaAgrees runs policies in the Lua of the operating system and in
// ours: the same scenario gives the same weights.
func TestPlainLuaAgrees(t *testing.T) {
	scripts, err := filepath.Glob("../../examples/*/*.lua")
	if err != nil {
		t.Fatal(err)
	}
	more, err := filepath.Glob("../../examples/*/lua/*.lua")
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{"two-pass": twoPass}
	for _, file := range append(scripts, more...) {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		texts[filepath.Base(file)] = string(b)
	}
	for name, script := range texts {
		t.Run(name, func(t *testing.T) {
			b := load(t, script)
			b.metrics = b.info.Metrics
			b.s = service(5)
			var steps []string
			var want [][]float64
			for k := range 4 {
				for i := range b.s.Backends {
					in := &b.s.Backends[i]
					in.CPUSeq += 1
					in.CPU.Value, in.Done.Value = 0.25+float64(i*k%5)/8, float64(10*(i+1))
				}
				steps = append(steps, scenario(b.s))
				want = append(want, relative(b.must()))
			}
			got := try(t, script, steps)
			if len(got) != len(want) {
				t.Fatalf("%d steps, want %d", len(got), len(want))
			}
			for k := range want {
				for i, w := range want[k] {
					if !(math.Abs(got[k][i]-w) <= 1e-5) {
						t.Errorf("step %d: lua5.1 gives %v, steelyard %v", k+1, got[k], want[k])
						break
					}
				}
			}
		})
	}
}

// TestPlainLuaRefuses: what steelyard refuses is told by the quick try as well.
func TestPlainLuaRefuses(t *testing.T) {
	lua := plainLua(t)
	for _, tt := range []struct{ name, script, want string }{
		{"negative", "function schedule(s) return {1, -1, 1} end", "the weight of backend 2 is -1"},
		{"string", "function schedule(s) return {1, '1', 1} end", "the weight of backend 2 is 1"},
		{"long", "function schedule(s) return {1, 1, 1, 1} end", "more weights"},
		{"no list", "function schedule(s) end", "no list"},
		{"none", "", "there is no function schedule(s)"},
		{"column", "function schedule(s) return {s.conns[1]} end", "policy.lua:1: there is no s.conns"},
		{"reads", "policy = {reads = {}}\nfunction schedule(s) return {s.cpu[1]} end", "policy.lua:2: there is no s.cpu"},
		{"kept in s", "function schedule(s) s.x = 1 end", "policy.lua:1: s.x cannot be set"},
		{"global", "function schedule(s) x = 1 end", "policy.lua:1: a function sets the global x"},
		{"os", "function schedule(s) return os.time() end", "'os' (a nil value)"},
		{"syntax", "function schedule(s", "policy.lua:1: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "policy.lua")
			if err := os.WriteFile(file, []byte(tt.script), 0o644); err != nil {
				t.Fatal(err)
			}
			out, err := exec.CommandContext(t.Context(), lua, sdk, file).CombinedOutput()
			if err == nil || !strings.Contains(string(out), tt.want) {
				t.Errorf("got %v, %s\nwant %s", err, out, tt.want)
			}
		})
	}
}
