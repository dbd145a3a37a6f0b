// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/core"
)

var (
	idWeb1 = core.BackendID{Service: "web", Backend: "web1"}
	drain1 = core.Override{Kind: core.OverrideDrain, Author: "alice", Reason: "kernel update", Since: noon}
)

func TestOverridesAreKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "overrides.json")
	f := newOverrideFile(path)
	if all, err := f.load(); all != nil || err != nil {
		t.Errorf("no file: %v, %v", all, err)
	}
	all := map[core.BackendID]core.Override{idWeb1: drain1, {Service: "dns", Backend: "a"}: {Kind: core.OverrideWeight, Weight: 50, Author: "bob", Since: noon, Until: noon.Add(1)}}
	if err := f.Save(2, all); err != nil {
		t.Fatal(err)
	}
	if err := f.Save(1, nil); err != nil { // late
		t.Fatal(err)
	}
	got, err := newOverrideFile(path).load()
	if d := cmp.Diff(all, got); err != nil || d != "" {
		t.Errorf("after a restart: %v (-want +got):\n%s", err, d)
	}
	if err := f.Save(3, nil); err != nil {
		t.Fatal(err)
	}
	if got, err := f.load(); len(got) > 0 || err != nil {
		t.Errorf("after the last has ended: %v, %v", got, err)
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*"))
	if err != nil || len(left) != 1 {
		t.Errorf("files: %v, %v; want one", left, err)
	}
}

// A file that is of no use is put aside, and what is good in it is taken.
func TestBadOverrides(t *testing.T) {
	good := `"web/web1": {"kind": "drain", "author": "alice", "since": "2026-03-04T12:00:00Z"}`
	for _, tt := range []struct {
		name, text string
		left       int
		want       string
	}{
		{"cut off", `{"version": 1, "overrides": {` + good, 0, "unexpected end"},
		{"empty", ``, 0, "unexpected end"},
		{"of the future", `{"version": 2, "overrides": {` + good + `}}`, 0, "version 2: this steelyard reads 1"},
		{"one is bad", `{"version": 1, "overrides": {` + good + `, "web/web2": {"kind": "fold", "author": "bob"}}}`, 1, `"web/web2": override "fold"`},
		{"a bad name", `{"version": 1, "overrides": {"web1": {"kind": "drain", "author": "bob"}}}`, 0, "want SERVICE/BACKEND"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newOverrideFile(filepath.Join(t.TempDir(), "overrides.json"))
			if err := os.WriteFile(f.path, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			all, err := f.load()
			if err == nil || !strings.Contains(err.Error(), tt.want) || len(all) != tt.left {
				t.Errorf("got %d overrides and %v, want %d and %q", len(all), err, tt.left, tt.want)
			}
			if kept, err := os.ReadFile(f.path + ".bad"); err != nil || string(kept) != tt.text {
				t.Errorf("put aside: %q, %v", kept, err)
			}
			if _, err := os.Stat(f.path); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the bad file is still there: %v", err)
			}
		})
	}
}

// What is no file holds nobody up.
func TestOverridesInAFIFO(t *testing.T) {
	f := newOverrideFile(filepath.Join(t.TempDir(), "overrides.json"))
	if err := syscall.Mkfifo(f.path, 0o600); err != nil {
		t.Fatal(err)
	}
	if all, err := f.load(); len(all) > 0 || err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("got %v, %v", all, err)
	}
}

// FuzzOverrides reads anything as the file of overrides: what comes out of it can
// be put in force.
func FuzzOverrides(f *testing.F) {
	f.Add([]byte(`{"version": 1, "overrides": {"web/web1": {"kind": "drain", "author": "alice", "since": "2026-03-04T12:00:00Z", "until": "2026-03-04T12:30:00Z"}}}`))
	f.Add([]byte(`{"version": 1, "overrides": {"web/web1": {"kind": "weight", "weight": 5, "author": "alice"}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		all, _ := decodeOverrides(data)
		for id, o := range all {
			if err := o.Check(); err != nil || id.Service == "" || id.Backend == "" {
				t.Fatalf("%q gives %s %+v: %v", data, id, o, err)
			}
		}
	})
}
