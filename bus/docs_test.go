// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestBusDocument: docs/bus.md has each subject, and what it tells monitors to send is
// taken.
func TestBusDocument(t *testing.T) {
	text, err := os.ReadFile("../docs/bus.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range classes {
		if !strings.Contains(string(text), "| `"+f.pattern()+"` |") {
			t.Errorf("the table does not have %s", f.pattern())
		}
	}
	row := regexp.MustCompile("(?m)^\\| `(metric\\.[^`]+)` \\| `([^`]+)` \\|")
	command := regexp.MustCompile(`(?m)^nats .* pub steelyard\.v1\.(metric\.\S+) '?(\S+?)'?$`)
	examples := append(row.FindAllStringSubmatch(string(text), -1), command.FindAllStringSubmatch(string(text), -1)...)
	if len(examples) < 11 {
		t.Fatalf("%d examples were found, want those of the table and a command", len(examples))
	}
	for _, e := range examples {
		if _, errs := take(e[1], nil, e[2]); len(errs) > 0 {
			t.Errorf("%s %s: %v", e[1], e[2], errs)
		}
	}
}
