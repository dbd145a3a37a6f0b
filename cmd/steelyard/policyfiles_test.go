// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/steelyard-lb/steelyard/core"
)

// Each case is three lines: what the file holds at each look (a, b: a content; -:
// there is none), and then at which looks it counts as changed.
func TestPolicyFilesStandStill(t *testing.T) {
	for _, tt := range []struct{ name, holds, want string }{
		{"nothing happens", "aaaa", "...."},
		{"a change stands still for one look", "abbb", "..x."},
		{"it is being written", "abcdd", "....x"},
		{"there and back", "abaa", "...."},
		{"it goes and comes", "a--bb", "..x.x"},
		{"a save by rename that is seen half done", "a-bb", "...x"},
		{"again and again", "abbcc", "..x.x"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			now := tt.holds[0]
			f := newPolicyFiles(func(string) fileMark {
				if now == '-' {
					return fileMark{}
				}
				return fileMark{there: true, size: int64(now)}
			}, []core.PolicySpec{{Name: "mine", Path: "mine.lua"}, {Name: "inline", Lua: "x"}})
			got := ""
			for i := range len(tt.holds) {
				now = tt.holds[i]
				if names := strings.Join(f.changed(), " "); names == "mine" {
					got += "x"
				} else if got += "."; names != "" {
					t.Errorf("changed: %q", names)
				}
			}
			if got != tt.want {
				t.Errorf("%s\n%s, want\n%s", tt.holds, got, tt.want)
			}
		})
	}
}

// A file that another was renamed onto is another one, be it of the same size and
// time.
func TestFileMark(t *testing.T) {
	path, other := filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")
	for _, p := range []string{path, other} {
		if err := os.WriteFile(p, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	was := markOf(path)
	if err := os.Chtimes(other, was.modified, was.modified); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(other, path); err != nil {
		t.Fatal(err)
	}
	if now := markOf(path); now == was || !now.there || now.modified != was.modified {
		t.Errorf("before %+v, after %+v", was, now)
	}
	if gone := markOf(other); gone.there {
		t.Errorf("%+v", gone)
	}
}
