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
	if n := len(h.Recordings("")); n < 1 || n > 3 {
		t.Errorf("%d recordings of half a megabyte, want what fits into 1 MiB", n)
	}
	if n := len(h.Recordings("large99")); n != 1 {
		t.Errorf("the latest is there %d times", n)
	}
}

// TestFollowedRecordings: whoever follows a service gets each of its calls once,
// however many calls of others there are between two looks; others keep theirs.
func TestFollowedRecordings(t *testing.T) {
	h := newHost(t)
	ask := func(service string, seq, backends int) {
		t.Helper()
		c := call("rr", service, backends)
		c.Snapshot.Seq = uint64(seq)
		if r := h.Schedule(t.Context(), []core.Call{c}); r[0].Err != nil {
			t.Fatal(r[0].Err)
		}
	}
	ask("followed", 0, 2)
	stop := h.FollowRecordings("followed")
	again := h.FollowRecordings("followed")
	seqs, cursor := []uint64(nil), uint64(0)
	look := func() {
		var list []core.Recorded
		list, cursor = h.RecordingsSince("followed", cursor)
		for _, r := range list {
			seqs = append(seqs, r.Snapshot.Seq)
		}
	}
	look()
	for i := range 3 {
		ask("followed", i+1, 2)
		for range 20 { // half a megabyte each: more than all have room for
			ask("crowd", 0, 2000)
		}
		if i != 1 {
			look()
		}
	}
	again()
	ask("followed", 4, 2)
	look()
	look()
	if fmt.Sprint(seqs) != "[0 1 2 3 4]" {
		t.Errorf("the follower got %v", seqs)
	}
	if n := len(h.Recordings("crowd")); n < 1 {
		t.Errorf("%d of the crowd are left", n)
	}
	stop()
	for range 20 {
		ask("crowd", 0, 2000)
	}
	if n := len(h.Recordings("followed")); n != 0 {
		t.Errorf("%d recordings are left that nobody follows", n)
	}
	ask("huge", 7, 16384)
	if got := h.Recordings(""); len(got) != 1 || got[0].Snapshot.Service != "huge" {
		t.Errorf("%d recordings, want that of the service larger than the memory", len(got))
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
