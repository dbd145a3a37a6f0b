// SPDX-License-Identifier: Apache-2.0

package examples_test

import (
	"bytes"
	"context"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/plugins/abi"
	"github.com/steelyard-lb/steelyard/plugins/lua"
	"github.com/steelyard-lb/steelyard/plugins/plugintest"
	"github.com/steelyard-lb/steelyard/plugins/plugintest/tools"
	"github.com/steelyard-lb/steelyard/plugins/wasm"
)

func TestMain(m *testing.M) { plugintest.Main(m) }

// languages are the folders of examples 20 and 21.
var languages = []string{"go", "c", "assemblyscript", "rust", "lua"}

// built is the file of a policy in a language, built into dir as the README says.
func built(t testing.TB, example, language, dir string) string {
	t.Helper()
	if language == "lua" {
		files, err := filepath.Glob(filepath.Join(example, "lua", "*.lua"))
		if err != nil || len(files) != 1 {
			t.Fatalf("%s: scripts %v, %v", example, files, err)
		}
		return files[0]
	}
	args := []string{"-s", "-C", example, language, "OUT=" + dir}
	switch language {
	case "c":
		tools.Need(t, "clang", "wasm-ld")
	case "rust":
		args = append(args, "RUSTC="+tools.Rustc(t))
	case "assemblyscript":
		args = append(args, "ASC="+tools.ASC(t))
	}
	tools.Need(t, "make")
	if out, err := exec.Command("make", args...).CombinedOutput(); err != nil {
		t.Fatalf("make %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return filepath.Join(dir, language+".wasm")
}

// A guest is a loaded module or script, called with bytes.
type guest interface {
	Manifest() []byte
	Call(ctx context.Context, dst, snapshot []byte) ([]byte, error)
	Close(ctx context.Context) error
}

// A keeper calls one guest and keeps its state, as the host does.
type keeper struct {
	name    string
	g       guest
	info    abi.PolicyInfo
	params  map[string]float64
	service []byte
	state   map[uint64][]byte
}

func load(t testing.TB, name, file string) *keeper {
	t.Helper()
	code, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var g guest
	if bytes.HasPrefix(code, []byte("\x00asm")) {
		g, err = wasm.Load(t.Context(), code)
	} else {
		g, err = lua.Load(t.Context(), code)
	}
	if err != nil {
		t.Fatalf("load %s: %v", file, err)
	}
	t.Cleanup(func() { _ = g.Close(context.Background()) })
	m, err := abi.ParseManifest(g.Manifest())
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return &keeper{name: name, g: g, info: m.Policies[0], state: map[uint64][]byte{}}
}

// answer calls the policy and returns what it wrote, byte by byte: the state and
// one integer per backend.
func (k *keeper) answer(t testing.TB, s *core.Snapshot) (raw []byte, weights []float64) {
	t.Helper()
	params, err := k.info.Values(k.params)
	if err != nil {
		t.Fatal(err)
	}
	f := abi.Frame{Params: params, BackendSlots: k.info.BackendSlots, ServiceSlots: k.info.ServiceSlots,
		Hidden: k.info.Hidden(), Metrics: k.info.Metrics, Service: k.service,
		Backend: func(id uint64) []byte { return k.state[id] }}
	in, err := abi.Encode(nil, s, f)
	if err != nil {
		t.Fatal(err)
	}
	out, err := k.g.Call(t.Context(), nil, in)
	if err != nil {
		t.Fatalf("%s: %v", k.name, err)
	}
	raw = bytes.Clone(out)
	a, err := abi.Decode(raw, s, f)
	if err != nil {
		t.Fatalf("%s: %v", k.name, err)
	}
	k.service = a.Service
	for i, b := range s.Backends {
		k.state[b.ID] = a.Backend[i]
	}
	return raw, a.Weights
}

// shares asks the policy; that of a backend which is held is NaN.
func (k *keeper) shares(t testing.TB, s *core.Snapshot) []float64 {
	t.Helper()
	_, w := k.answer(t, s)
	sum := 0.0
	for _, v := range w {
		sum += max(v, 0)
	}
	for i := range w {
		switch {
		case w[i] == core.Hold:
			w[i] = math.NaN()
		case sum > 0:
			w[i] /= sum
		}
	}
	return w
}
