// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCheckWarns: what may be, and was probably not meant, is said and stops
// nothing; what was certainly not meant does.
func TestCheckWarns(t *testing.T) {
	const none = "warning: there are no services: this node balances nothing\n      = services: {web: "
	tests := []struct {
		name, text, line string
		code             int
		out, errs        string
	}{
		{"no services", "node: lb1\n", "", 0, "ok: 0 services", none},
		{"quiet", "node: lb1\n", "-q", 0, "", none},
		{"JSON", "node: lb1\n", "-o json", 0, `"message": "there are no services`, ""},
		{"an empty file", "# services:\n", "", exitConfig, "", "error: the file is empty"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "s.yaml")
			if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			out, errs, code := run(t, t.Context(), nil, strings.Fields("check -c "+path+" "+tt.line)...)
			if code != tt.code || !strings.Contains(out, tt.out) || !strings.Contains(errs, tt.errs) || tt.out == "" && out != "" || tt.errs == "" && errs != "" {
				t.Errorf("exit code %d, stdout %q, stderr %q", code, out, errs)
			}
		})
	}
}
