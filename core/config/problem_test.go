// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// TestProblemsWithoutEnd: a file that is wrong in every line is refused after the first few:
// to look for all takes minutes, and who may push definitions could have every node do that.
func TestProblemsWithoutEnd(t *testing.T) {
	const n = 20_000
	repeat := func(head, line string) string {
		var b strings.Builder
		b.WriteString(head)
		for i := range n {
			fmt.Fprintf(&b, line, i)
		}
		return b.String()
	}
	for name, text := range map[string]string{
		"unknown keys": repeat("", "k%d: 1\n"),
		"services":     repeat("services:\n", "  s%d: {}\n"),
		"probes":       repeat("probes:\n", "  p%d: {type: exec}\n"),
		"backends":     repeat("services:\n  web:\n    vip: 192.0.2.1\n    port: 80\n    backends:\n", "      b%d: 10.0.0.1\n"),
		"items":        repeat("services:\n  web:\n    vip: 192.0.2.1\n    port: 80\n    deny:\n", "      - {x%d: 1}\n"),
	} {
		t.Run(name, func(t *testing.T) {
			o := elsewhere(files{"/etc/s.yaml": following, "/l.yaml": text})
			o.Layers = []string{"/l.yaml"}
			_, err := Load(o)
			var list Errors
			if !errors.As(err, &list) {
				t.Fatalf("%v, want problems", err)
			}
			if len(list) > maxProblems+1 {
				t.Errorf("%d problems, want no more than %d", len(list), maxProblems)
			}
			if last := list[len(list)-1].Error(); !strings.Contains(last, "there may be more") || !strings.HasPrefix(last, "/l.yaml: ") {
				t.Errorf("it ends with %q, want it to say that there may be more", last)
			}
		})
	}
}
