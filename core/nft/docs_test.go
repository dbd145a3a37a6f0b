// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDocumentedChains holds the table of base chains in docs/dataplane.md against
// the goldens: those who fit their own firewall beside ours go by it.
func TestDocumentedChains(t *testing.T) {
	docs, err := os.ReadFile("../../docs/dataplane.md")
	if os.IsNotExist(err) {
		giveUp(t, "the documentation is not here, as where only the test binary was copied to")
	}
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("testdata/*.nft")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	base := regexp.MustCompile(`chain (\S+) \{\n\t\ttype (\S+) hook (prerouting|input|forward|output|postrouting) priority ([^;]+);`)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range base.FindAllStringSubmatch(string(text), -1) {
			if row := fmt.Sprintf("| `%s` | %s | %s | %s", m[1], m[2], m[3], m[4]); !strings.Contains(string(docs), row) {
				t.Errorf("%s: docs/dataplane.md has no row %q", file, row)
			}
		}
	}
}
