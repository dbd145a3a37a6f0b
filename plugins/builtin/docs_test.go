// SPDX-License-Identifier: Apache-2.0

package builtin_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/plugins/builtin"
)

// TestDocumented: the tables of docs/policies.md are what the policies declare,
// and each policy has a paragraph.
func TestDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/policies.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(text), "docs_test.go -->\n")
	tables, prose, end := strings.Cut(rest, "<!-- end -->")
	if !ok || !end {
		t.Fatal("docs/policies.md has no marked tables of the shipped policies")
	}
	if diff := cmp.Diff(strings.Split(shippedTables(), "\n"), strings.Split(tables, "\n")); diff != "" {
		t.Errorf("the tables in docs/policies.md (-the policies +the file):\n%s", diff)
	}
	for _, p := range builtin.Policies() {
		if !strings.Contains(prose, "\n**`"+p.Name+"`** ") {
			t.Errorf("docs/policies.md has no paragraph that begins with **`%s`**", p.Name)
		}
	}
}

// shippedTables are the tables as they should be.
func shippedTables() string {
	var b strings.Builder
	b.WriteString("| policy | reads | state per backend, service | in one sentence |\n|---|---|---|---|\n")
	for _, p := range builtin.Policies() {
		reads := "nothing"
		if len(p.Reads) > 0 {
			reads = strings.Join(p.Reads, ", ")
		}
		fmt.Fprintf(&b, "| `%s` | %s | %d, %d | %s |\n", p.Name, reads, p.BackendSlots, p.ServiceSlots, p.About)
	}
	b.WriteString("\n| parameter | default | range | unit | what |\n|---|---|---|---|---|\n")
	for _, p := range builtin.Policies() {
		for _, q := range p.Params {
			fmt.Fprintf(&b, "| `%s` `%s` | %g | %g to %g | %s | %s |\n", p.Name, q.Name, q.Default, q.Min, q.Max, q.Unit, q.About)
		}
	}
	return b.String()
}
