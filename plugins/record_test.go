// SPDX-License-Identifier: Apache-2.0

package plugins_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/plugins"
)

// TestRecordings: the latest calls are there in order, with their answers, also
// those that failed; what is older goes when memory is used up.
func TestRecordings(t *testing.T) {
	h := newHost(t, "trap")
	last := uint64(0)
	for i := range 3 {
		c := call("weighted", "recorded", 2)
		c.Snapshot.Seq, c.Shadow = uint64(i), i == 2
		if r := h.Schedule(t.Context(), []core.Call{c, call("trap", "recorded", 1)}); r[0].Err != nil {
			t.Fatal(r[0].Err)
		}
		last = c.Snapshot.Seq
	}
	got := h.Recordings("recorded")
	if len(got) != 6 {
		t.Fatalf("%d recordings, want 6", len(got))
	}
	var seqs []uint64
	for _, r := range got {
		switch r.Policy {
		case "weighted":
			seqs = append(seqs, r.Snapshot.Seq)
			if len(r.Weights) != 2 || r.Err != "" || r.Shadow != (r.Snapshot.Seq == last) || !strings.HasPrefix(r.Version, "weighted@") {
				t.Errorf("got %+v", r)
			}
		default:
			if r.Weights != nil || !strings.Contains(r.Err, "unreachable") {
				t.Errorf("got %+v", r)
			}
		}
	}
	if fmt.Sprint(seqs) != "[0 1 2]" {
		t.Errorf("in the order %v", seqs)
	}
	for i := range 100 { // 2,000 backends are half a megabyte
		c := call("rr", fmt.Sprint("large", i), 2000)
		if r := h.Schedule(t.Context(), []core.Call{c}); r[0].Err != nil {
			t.Fatal(r[0].Err)
		}
	}
	if n := len(h.Recordings("")); n < 4 || n > 8 {
		t.Errorf("%d recordings of half a megabyte, want what fits into 4 MiB", n)
	}
	if n := len(h.Recordings("large99")); n != 1 {
		t.Errorf("the latest is there %d times", n)
	}
}

// TestTooManyModules: each module is a process.
func TestTooManyModules(t *testing.T) {
	h := newHost(t)
	code, err := os.ReadFile("testdata/count.lua")
	if err != nil {
		t.Fatal(err)
	}
	var specs []core.PolicySpec
	for i := range 33 {
		specs = append(specs, core.PolicySpec{Name: fmt.Sprint("p", i), Lua: string(code) + fmt.Sprint("\n-- ", i)})
	}
	if err := h.Load(t.Context(), specs); err == nil || !strings.Contains(err.Error(), "33 modules, at most 32") {
		t.Errorf("33 modules: %v", err)
	}
	if pids := plugins.WorkerPIDs(h); len(pids) != 1 {
		t.Errorf("workers %v are left, want one", pids)
	}
	if err := h.Load(t.Context(), specs[:32]); err != nil {
		t.Error(err)
	}
	if pids := plugins.WorkerPIDs(h); len(pids) != 33 {
		t.Errorf("%d workers, want 33", len(pids))
	}
	same := []core.PolicySpec{{Name: "a", Path: filepath.Join("testdata", "count.wasm")}, {Name: "b", Path: filepath.Join("testdata", "count.wasm")}}
	if err := h.Load(t.Context(), same); err != nil {
		t.Fatal(err)
	}
	if pids := plugins.WorkerPIDs(h); len(pids) != 2 {
		t.Errorf("two policies of one module have %d workers beside the shipped one's", len(pids)-1)
	}
}
