// SPDX-License-Identifier: Apache-2.0

package plugins_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/plugins"
)

func TestLoadRefuses(t *testing.T) {
	dir := t.TempDir()
	garbage := filepath.Join(dir, "garbage.wasm")
	broken := filepath.Join(dir, "broken.wasm")
	for file, text := range map[string]string{garbage: "hello", broken: "\x00asm\x01\x00\x00\x00garbage"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	fifo := filepath.Join(dir, "fifo.wasm")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		spec core.PolicySpec
		want []string
	}{
		{"fifo", core.PolicySpec{Name: "x", Path: fifo}, []string{fifo, "no regular file"}},
		{"directory", core.PolicySpec{Name: "x", Path: dir}, []string{dir, "no regular file"}},
		{"no file", core.PolicySpec{Name: "x", Path: filepath.Join(dir, "none.wasm")}, []string{"load policy x", "none.wasm", "build it"}},
		{"not wasm", core.PolicySpec{Name: "x", Path: garbage}, []string{garbage, "not a WASM module"}},
		{"broken", core.PolicySpec{Name: "x", Path: broken}, []string{broken, "compile"}},
		{"wrong sum", core.PolicySpec{Name: "x", Path: "testdata/count.wasm", SHA256: strings.Repeat("0", 64)}, []string{"sha256", "configuration"}},
		{"no memory", core.PolicySpec{Name: "x", Path: "testdata/memless.wasm"}, []string{"imports a memory", "exports no memory"}},
		// Its compiled code is larger than the limit.
		{"hoard", core.PolicySpec{Name: "x", Path: "testdata/hostile/hoard.wasm"}, []string{"hoard.wasm", "MiB"}},
		{"endless script", core.PolicySpec{Name: "x", Path: "testdata/hostile/toploop.lua"}, []string{"more than 1s of CPU time"}},
		{"import", core.PolicySpec{Name: "x", Path: "testdata/escape.wasm"}, []string{"imports env.open"}},
		{"shipped name", core.PolicySpec{Name: "rr", Path: "testdata/count.wasm"}, []string{"load policy rr", "ships"}},
	}
	h := newHost(t, "count")
	good := core.PolicySpec{Name: "other", Path: "testdata/trap.wasm"}
	for _, tt := range tests {
		if raceEnabled && tt.name == "hoard" {
			continue // a worker with the race detector has a larger limit: make test runs this without it, too
		}
		t.Run(tt.name, func(t *testing.T) {
			err := h.Load(t.Context(), []core.PolicySpec{good, tt.spec})
			if err == nil {
				t.Fatal("loaded")
			}
			for _, w := range tt.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("error %q does not say %q", err, w)
				}
			}
			// What was loaded before is still there, and nothing else.
			r := h.Schedule(t.Context(), []core.Call{call("count", "web", 2), call("rr", "web", 2), call("other", "web", 2)})
			if r[0].Err != nil || r[1].Err != nil || r[2].Err == nil {
				t.Errorf("after the refusal: %v, %v, %v", r[0].Err, r[1].Err, r[2].Err)
			}
		})
	}
}

// TestReload: what did not change keeps its state, what is gone is gone, and
// with the last user's policy its worker.
func TestReload(t *testing.T) {
	h := newHost(t, "count", "trap")
	specs := []core.PolicySpec{{Name: "count", Path: "testdata/count.wasm"}, {Name: "again", Path: "testdata/count.wasm"}}
	ask := func(policy string) float64 {
		t.Helper()
		r := h.Schedule(t.Context(), []core.Call{call(policy, "reload", 1)})[0]
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		return r.Weights[0] / 1e6
	}
	first := ask("count")
	if err := h.Load(t.Context(), specs); err != nil {
		t.Fatal(err)
	}
	if got := ask("count"); got != first+1 {
		t.Errorf("after a reload the policy answers %g, want %g: its state is lost", got, first+1)
	}
	if got := ask("again"); got != first {
		t.Errorf("a policy of the same module answers %g, want its own state: %g", got, first)
	}
	if r := h.Schedule(t.Context(), []core.Call{call("trap", "web", 1)})[0]; r.Err == nil || !strings.Contains(r.Err.Error(), "no such policy") {
		t.Errorf("a policy that was taken out of the configuration: %v", r.Err)
	}
	if err := h.Load(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if pids := plugins.WorkerPIDs(h); len(pids) != 1 {
		t.Errorf("workers %v: want only that of the shipped policies", pids)
	}
}

// What was in force comes back from memory: the file may be another by then.
func TestReplaceIsUndone(t *testing.T) {
	h := newHost(t)
	path := filepath.Join(t.TempDir(), "mine.wasm")
	put := func(guest string) {
		code, err := os.ReadFile(filepath.Join("testdata", guest+".wasm"))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, code, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	specs := []core.PolicySpec{{Name: "mine", Path: path}}
	put("count")
	if _, err := h.Replace(t.Context(), specs); err != nil {
		t.Fatal(err)
	}
	good := h.Schedule(t.Context(), []core.Call{call("mine", "web", 2)})[0]
	if good.Err != nil {
		t.Fatal(good.Err)
	}
	put("later")
	for _, next := range [][]core.PolicySpec{specs, nil} { // another module, or none
		undo, err := h.Replace(t.Context(), next)
		if err != nil {
			t.Fatal(err)
		}
		if r := h.Schedule(t.Context(), []core.Call{call("mine", "web", 2)})[0]; r.Version == good.Version {
			t.Errorf("it is not replaced: %+v", r)
		}
		undo()
		if r := h.Schedule(t.Context(), []core.Call{call("mine", "web", 2)})[0]; r.Err != nil || r.Version != good.Version {
			t.Errorf("after the undo: version %s, %v; want %s", r.Version, r.Err, good.Version)
		}
	}
}
