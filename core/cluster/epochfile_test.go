// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/lab/bubbletest"
)

func TestEpochKept(t *testing.T) {
	dir := t.TempDir()
	bubbletest.Run(t, func(t *testing.T) {
		n := start(t, newNet(), nodeSpec{name: "lb1", dir: dir})
		time.Sleep(settleTime)
		epoch := n.View().Epoch
		n.end()
		again := start(t, newNet(), nodeSpec{name: "lb1", dir: dir})
		if got := again.View().Epoch; got != epoch || epoch == 0 {
			t.Errorf("after a restart the highest epoch is %d, want %d", got, epoch)
		}
	})
}

// TestEpochFileBroken: a node starts with whatever is on its disk, and says so.
func TestEpochFileBroken(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"cut off":   {"12", "its line has no end"},
		"empty":     {"", "its line has no end"},
		"no number": {"x\n", "want one number"},
		"too far":   {"18446744073709551615\n", "more than a day ahead"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "cluster-epoch"), []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			var log strings.Builder
			m, err := New(Config{
				Spec: core.ClusterSpec{Group: "g"}, Self: core.Presence{Node: "lb1", Inst: "i"}, Dir: dir,
				Log: slog.New(slog.NewTextHandler(&log, nil)),
			})
			if err != nil {
				t.Fatal(err)
			}
			if !contains(log.String(), test.want) || !contains(log.String(), dir) {
				t.Errorf("logged %q, want the path and %q", log.String(), test.want)
			}
			if err := m.epochs.write(77); err != nil {
				t.Error(err)
			}
			if f, err := openEpochFile(dir, time.Now()); err != nil || f.kept != 77 {
				t.Errorf("after a write: %+v, %v", f, err)
			}
		})
	}
}

func FuzzParseEpoch(f *testing.F) {
	f.Add("439000000000000\n")
	f.Add("")
	f.Add("-1\n")
	f.Fuzz(func(t *testing.T, text string) {
		n, err := parseEpoch(text)
		if err == nil && fmt.Sprintln(n) != text && !strings.HasPrefix(text, "0") && !strings.HasPrefix(text, "+") {
			t.Errorf("%q is read as %d", text, n)
		}
	})
}
