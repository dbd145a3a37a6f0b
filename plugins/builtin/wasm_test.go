// SPDX-License-Identifier: Apache-2.0

package builtin_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"

	"github.com/steelyard-lb/steelyard/plugins/abi"
	"github.com/steelyard-lb/steelyard/plugins/builtin"
	"github.com/steelyard-lb/steelyard/plugins/wasm"
)

// TestWasmEqualsNative is the reason why the native build may stand for the
// module in simulations: on random snapshots with random state, both write the
// same bytes, state included, or both refuse.
func TestWasmEqualsNative(t *testing.T) {
	m, err := wasm.Load(t.Context(), builtin.Wasm)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close(t.Context())
	for _, n := range natives() {
		t.Run(n.p.Name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				s := snapshots(rt)
				n.scatter(rt, s)
				in, err := abi.Encode(nil, s, n.frame())
				if err != nil {
					rt.Fatal(err)
				}
				got, wasmErr := m.Call(t.Context(), nil, in)
				want := bytes.Clone(in)
				nativeErr := n.p.Run(want)
				if (wasmErr == nil) != (nativeErr == nil) {
					rt.Fatalf("wasm says %v, native %v", wasmErr, nativeErr)
				}
				if wasmErr == nil && !bytes.Equal(got, want[abi.AnswerOffset(in):]) {
					rt.Fatalf("wasm   %x\nnative %x", got, want[abi.AnswerOffset(in):])
				}
			})
		})
	}
}

// TestWasmMatchesSource builds the module again, from a copy of the sources in
// another directory, and wants the committed bytes. It holds for one version of
// Go: with another one, build it again (make policies).
func TestWasmMatchesSource(t *testing.T) {
	if testing.Short() && os.Getenv("CI") == "" {
		t.Skip("builds a module")
	}
	root := t.TempDir()
	for _, dir := range []string{"plugins/builtin", "sdk/go"} {
		if err := os.CopyFS(filepath.Join(root, dir), os.DirFS(filepath.Join("../..", dir))); err != nil {
			t.Fatal(err)
		}
	}
	// The module needs nothing but the standard library.
	if err := os.WriteFile(filepath.Join(root, "go.mod"), []byte("module github.com/steelyard-lb/steelyard\n\ngo 1.26.0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(root, "out.wasm")
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-trimpath", "-buildvcs=false",
		"-ldflags=-s -w -buildid=", "-o", out, "./plugins/builtin/wasm")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOFLAGS=", "GOWORK=off")
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, b)
	}
	built, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(built, builtin.Wasm) {
		t.Errorf("builtin.wasm is not what its source builds (%d bytes, built %d): run make policies", len(builtin.Wasm), len(built))
	}
}
