// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// shipped builds steelyard as make build does and returns its path: the test's binary has
// 20 MB more of pages, in both processes of a daemon, and tables of the tests' own.
func shipped(b *testing.B) string {
	b.Helper()
	path := filepath.Join(b.TempDir(), "steelyard")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", path, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	return path
}
