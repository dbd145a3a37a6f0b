// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What a real daemon decided is recorded, and replayed against a candidate: one
// that says the same moves nothing, another moves what it says. Then live.
func TestRecordAndReplayOfADaemon(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	r.write(fmt.Sprintf("services:\n  web: {vip: %s, port: 80, policy: weighted, every: 200ms, probes: [alive], backends: %s}\n",
		r.lab.VIP4, r.backends(false, 75, 25)))
	r.start()
	r.untilShares("web", 75, 25)
	file := filepath.Join(r.dir, "web.jsonl")
	out, code := r.steelyard("plugin", "record", "web", "--for", "3s")
	// Both streams are in out: keep the decisions.
	var lines []string
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "{") {
			lines = append(lines, line)
		}
	}
	if code != 0 || len(lines) < 2 {
		t.Fatalf("record: code %d, %d decisions\n%s", code, len(lines), out)
	}
	if err := os.WriteFile(file, []byte(strings.Join(lines, "")), 0o600); err != nil {
		t.Fatal(err)
	}
	even := filepath.Join(r.dir, "even.lua")
	if err := os.WriteFile(even, []byte("function schedule(s) local w = {} for i = 1, s.n do w[i] = 1 end return w end\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args string
		code int
		want string
	}{
		{"weighted --recorded " + file + " --max-moved 0", 0, "moved: 0% of new connections in the mean, 0% at most"},
		{even + " --recorded " + file, 0, "moved: 25.0% of new connections in the mean"},
		{even + " --recorded " + file + " --max-moved 20%", exitFailure, "more than 20.0%"},
		{even + " --live 3s --service web", 0, "moved: 25.0% of new connections in the mean"},
		{even + " --live 1s --service nobody", exitFailure, "nobody"},
	} {
		out, code := r.steelyard(append([]string{"plugin", "replay"}, strings.Fields(tt.args)...)...)
		if code != tt.code || !strings.Contains(out, tt.want) {
			t.Errorf("%s: code %d, want %d and %q\n%s", tt.args, code, tt.code, tt.want, out)
		}
	}
}
