// SPDX-License-Identifier: Apache-2.0

package plugins_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/steelyard-lb/steelyard/plugins"
	"github.com/steelyard-lb/steelyard/plugins/wasm"
)

// TestInspect describes modules and scripts, good and refused ones.
func TestInspect(t *testing.T) {
	for _, tt := range []struct {
		file    string
		problem string // a part of one; empty if a daemon would take it
		check   func(plugins.Inspection) bool
	}{
		{"count.wasm", "", func(in plugins.Inspection) bool {
			return in.Manifest != nil && in.Manifest.Policies[0].Name == "count" && in.Memory.MinBytes >= 64<<10 && in.Functions > 2 &&
				slices.Contains(in.Exports, wasm.Symbol{Name: "sy_schedule", Kind: "function", Type: "(i32, i32) -> (i32)"})
		}},
		{"loop.wasm", "", func(in plugins.Inspection) bool { return in.Manifest == nil && in.CodeBytes > 0 }},
		{"escape.wasm", "imports env.open", func(in plugins.Inspection) bool {
			return slices.Contains(in.Imports, wasm.Symbol{Module: "env", Name: "open", Kind: "function", Type: "(i32) -> (i32)"})
		}},
		{"memless.wasm", "exports no memory", func(in plugins.Inspection) bool { return in.Memory == nil }},
		{"hostile/silent.wasm", "exports no function sy_schedule", func(in plugins.Inspection) bool { return len(in.Exports) == 1 }},
		{"hostile/compilebomb.wasm", "CPU time", func(in plugins.Inspection) bool { return in.Functions == 4 && in.CodeBytes > 10000 }},
		{"hostile/manifest-garbage.wasm", "its manifest is refused", func(in plugins.Inspection) bool { return in.Manifest == nil }},
		{"count.lua", "", func(in plugins.Inspection) bool {
			return in.Language == "lua" && in.Manifest != nil && in.Manifest.Policies[0].BackendSlots == 1
		}},
		{"hostile/escape.lua", "there is no _G", func(in plugins.Inspection) bool { return in.Language == "lua" }},
	} {
		if raceEnabled && tt.file == "hostile/compilebomb.wasm" {
			continue // it takes the CPU time that there is: make test runs this without the race detector, too
		}
		t.Run(tt.file, func(t *testing.T) {
			code, err := os.ReadFile(filepath.Join("testdata", tt.file))
			if err != nil {
				t.Fatal(err)
			}
			in, err := plugins.NewHost(plugins.Config{LoadCPU: loadCPU}).Inspect(t.Context(), code)
			if err != nil {
				t.Fatal(err)
			}
			if in.Bytes != len(code) || len(in.SHA256) != 64 || !tt.check(in) {
				t.Errorf("got %+v", in)
			}
			if tt.problem == "" && len(in.Problems) > 0 || !strings.Contains(strings.Join(in.Problems, "; "), tt.problem) {
				t.Errorf("problems %q, want one with %q", in.Problems, tt.problem)
			}
		})
	}
}
