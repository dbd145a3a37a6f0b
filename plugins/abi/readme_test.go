// SPDX-License-Identifier: Apache-2.0

package abi_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/plugins/abi"
	"github.com/steelyard-lb/steelyard/plugins/plugintest/tools"
	"github.com/steelyard-lb/steelyard/plugins/wasm"
)

// TestReadmePolicies builds the policy in each SDK's README and asks it. The
// service grows from call to call, so that an SDK which takes new memory for each
// snapshot is out of it before the end.
func TestReadmePolicies(t *testing.T) {
	for _, l := range []struct {
		name, fence string
		build       func(t *testing.T, dir, source string)
	}{{"c", "```c\n", buildReadmeC}, {"rust", "```rust\n", buildReadmeRust},
		{"assemblyscript", "```ts\n", buildReadmeAssemblyScript}, {"go", "```go\n", buildReadmeGo}} {
		t.Run(l.name, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join(root, "sdk", l.name, "README.md"))
			if err != nil {
				t.Fatal(err)
			}
			_, rest, ok := strings.Cut(string(text), l.fence)
			source, _, ok2 := strings.Cut(rest, "```\n")
			if !ok || !ok2 {
				t.Fatalf("the README has no %q", l.fence)
			}
			dir := t.TempDir()
			l.build(t, dir, source)
			askIdle(t, filepath.Join(dir, "idle.wasm"))
		})
	}
}

// askIdle expects weights in proportion to idle CPU, and every third backend, of
// which the CPU is unknown, held.
func askIdle(t *testing.T, file string) {
	t.Helper()
	code, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	m, err := wasm.Load(t.Context(), code)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close(t.Context())
	manifest, err := abi.ParseManifest(m.Manifest())
	if err != nil {
		t.Fatal(err)
	}
	if p := manifest.Policies[0]; p.Name != "idle" || p.About == "" || len(p.Reads) != 1 {
		t.Errorf("manifest %+v", p)
	}
	var in, out []byte
	for n := 0; n <= 3000; n += 12 {
		s := &core.Snapshot{}
		for i := range n {
			s.Backends = append(s.Backends, core.BackendInput{ID: uint64(i), Health: core.Up, Weight: 1,
				CPU: core.Reading{Value: float64(i%4) / 4, Known: i%3 != 0}})
		}
		if in, err = abi.Encode(in, s, abi.Frame{}); err != nil {
			t.Fatal(err)
		}
		if out, err = m.Call(t.Context(), out[:0], in); err != nil {
			t.Fatalf("%d backends: %v", n, err)
		}
		a, err := abi.Decode(out, s, abi.Frame{})
		if err != nil {
			t.Fatalf("%d backends: %v", n, err)
		}
		for i, w := range a.Weights {
			want := float64(4-i%4) / 4 * abi.MaxWeight // backend 4 is idle and known: the largest weight is 1
			if i%3 == 0 {
				want = core.Hold
			}
			if w != want {
				t.Fatalf("%d backends: weight of %d is %g, want %g", n, i, w, want)
			}
		}
	}
	// All saturated: a policy that gives nobody anything has no answer.
	s := &core.Snapshot{}
	for i := range 3 {
		s.Backends = append(s.Backends, core.BackendInput{ID: uint64(i), Health: core.Up, Weight: 1, CPU: core.Reading{Value: 1, Known: true}})
	}
	if in, err = abi.Encode(in, s, abi.Frame{}); err != nil {
		t.Fatal(err)
	}
	if out, err = m.Call(t.Context(), out[:0], in); err != nil {
		t.Fatalf("all saturated: %v", err)
	}
	if a, err := abi.Decode(out, s, abi.Frame{}); err != nil || a.Weights[0] <= 0 {
		t.Errorf("all saturated: %v, %v", a.Weights, err)
	}
}

func buildReadmeC(t *testing.T, dir, source string) {
	tools.Need(t, "clang", "wasm-ld")
	write(t, filepath.Join(dir, "idle.c"), source)
	run(t, dir, "clang", "--target=wasm32", "-O2", "-nostdlib", "-ffreestanding", "-Wall", "-Wextra", "-Werror",
		"-Wl,--no-entry,--strip-all", "-I", abs(t, "sdk/c"), "-o", "idle.wasm", "idle.c")
}

// buildReadmeRust goes by the lines of the Makefile in the README.
func buildReadmeRust(t *testing.T, dir, source string) {
	rustc := tools.Rustc(t)
	tools.Need(t, "make")
	text, err := os.ReadFile(filepath.Join(root, "sdk/rust/README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "```make\n")
	makefile, _, ok := strings.Cut(rest, "```\n")
	if !ok {
		t.Fatal("the README has no Makefile")
	}
	write(t, filepath.Join(dir, "Makefile"), makefile)
	write(t, filepath.Join(dir, "idle.rs"), source)
	run(t, dir, "make", "idle.wasm", "RUSTC="+rustc, "SDK="+abs(t, "sdk"))
}

// buildReadmeAssemblyScript has the package where npm puts it.
func buildReadmeAssemblyScript(t *testing.T, dir, source string) {
	asc := tools.ASC(t)
	pkg := filepath.Join(dir, "node_modules/steelyard")
	if err := os.CopyFS(filepath.Join(pkg, "assembly"), os.DirFS(abs(t, "sdk/assemblyscript/assembly"))); err != nil {
		t.Fatal(err)
	}
	index, err := os.ReadFile(abs(t, "sdk/assemblyscript/index.ts"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(pkg, "index.ts"), string(index))
	write(t, filepath.Join(dir, "idle.ts"), source)
	run(t, dir, asc, "idle.ts", "-O", "--runtime", "stub", "-o", "idle.wasm")
}

func buildReadmeGo(t *testing.T, dir, source string) {
	copyPolicy(t, filepath.Join(dir, "policy"))
	write(t, filepath.Join(dir, "go.mod"), "module example.org/idle\n\ngo 1.24\n")
	write(t, filepath.Join(dir, "main.go"), strings.Replace(source, "github.com/steelyard-lb/steelyard/sdk/go/policy", "example.org/idle/policy", 1))
	run(t, dir, "env", "GOOS=wasip1", "GOARCH=wasm", "go", "build", "-buildmode=c-shared", "-ldflags=-s -w", "-o", "idle.wasm", ".")
}

// copyPolicy copies the Go SDK out of the repository, as an author may.
func copyPolicy(t *testing.T, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(abs(t, "sdk/go/policy"))); err != nil {
		t.Fatal(err)
	}
	tests, err := filepath.Glob(filepath.Join(to, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range tests {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
}
