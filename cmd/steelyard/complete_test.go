// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/core"
)

// TestCompleteOutput presses TAB behind -o.
func TestCompleteOutput(t *testing.T) {
	for command, want := range map[string]string{"show": "table\njson\n:36\n", "monitor": "text\njson\n:36\n", "config view": "yaml\njson\n:36\n"} {
		var out bytes.Buffer
		line := append([]string{"__complete"}, strings.Fields(command)...)
		if code := execute(t.Context(), append(line, "-o", ""), &out, io.Discard); code != 0 || out.String() != want {
			t.Errorf("%s -o TAB: code %d, got %q, want %q", command, code, out.String(), want)
		}
	}
}

func TestCompletion(t *testing.T) {
	c := &fixedControl{view: sampleView()}
	out, _, _ := run(t, t.Context(), c, "__complete", "explain", "")
	lines := strings.Split(out, "\n")
	for _, want := range []string{"web\t192.0.2.10:80/tcp, 2 up, 1 down", "web/web1\tup, share 18.0%, cpu 71%"} {
		if !slices.Contains(lines, want) {
			t.Errorf("%q is not offered:\n%s", want, out)
		}
	}
	if out, _, _ := run(t, t.Context(), c, "__complete", "session", "pin", "web", "192.0.2.7", ""); !strings.Contains(out, "web1\tup, 310 open\n") || strings.Contains(out, "a\t") {
		t.Errorf("session pin does not offer the backends of web and no others:\n%s", out)
	}
	pinned := sampleView()
	pinned.Services[0].Pins = []core.PinState{{Pin: core.Pin{Client: netip.MustParsePrefix("192.0.2.7/32"), Backend: "web1"}, Author: "alice", Reason: "try it"}}
	if out, _, _ := run(t, t.Context(), &fixedControl{view: pinned}, "__complete", "session", "unpin", "web", ""); !strings.Contains(out, "192.0.2.7\tto web1, alice: try it\n") {
		t.Errorf("session unpin does not offer the pins of web:\n%s", out)
	}
	if out, _, _ := run(t, t.Context(), c, "__complete", "show", ""); strings.Contains(out, "web/web1") {
		t.Errorf("show offers backends:\n%s", out)
	}
}

// TestCompletionOfBackends offers to each command the backends it is for.
func TestCompletionOfBackends(t *testing.T) {
	c := &fixedControl{view: commandView()}
	for command, want := range map[string][]string{
		"drain":  {"web/heavy\tweight 20, bob, 60 min left: half the disks are gone", "web/full\tup, 500 open"},
		"ready":  {"web/drained\tdrain, alice, 28 min left: kernel update", "web/heavy\tweight 20, bob, 60 min left: half the disks are gone"},
		"weight": {"web/drained\tdrain, alice, 28 min left: kernel update", "web/full\tup, 500 open"},
	} {
		out, _, _ := run(t, t.Context(), c, "__complete", "backend", command, "")
		lines := strings.Split(out, "\n")
		for _, w := range want {
			if !slices.Contains(lines, w) {
				t.Errorf("%s: %q is not offered:\n%s", command, w, out)
			}
		}
		if strings.Contains(out, "web/drained") == (command == "drain") || strings.Contains(out, "web/full") == (command == "ready") {
			t.Errorf("%s offers the wrong ones:\n%s", command, out)
		}
	}
}

// TestCompletionDoesNotHang presses TAB at a socket that takes the call and
// never answers.
func TestCompletionDoesNotHang(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	start := time.Now()
	out, _, _ := run(t, t.Context(), nil, "__complete", "--socket", path, "explain", "")
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("took %s", took)
	}
	if d := cmp.Diff(":4", strings.TrimSpace(out)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
