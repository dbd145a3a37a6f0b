// SPDX-License-Identifier: Apache-2.0

// Package tools finds the compilers of policies for tests. A test whose compiler is
// missing is skipped on a laptop, and fails in CI.
package tools

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// Missing ends a test for want of something.
func Missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("%s is missing", what)
	}
	t.Skipf("%s is missing", what)
}

// Need ends a test unless all of these are in the path.
func Need(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			Missing(t, name)
		}
	}
}

// Rustc is a compiler that has the WASM target; the first one in the path may be a
// toolchain without it.
func Rustc(t testing.TB) string {
	t.Helper()
	for _, path := range []string{"rustc", "/usr/bin/rustc"} {
		out, err := exec.Command(path, "--print", "target-libdir", "--target", "wasm32-unknown-unknown").Output()
		if err != nil {
			continue
		}
		if _, err := os.Stat(strings.TrimSpace(string(out))); err == nil {
			return path
		}
	}
	Missing(t, "a rustc with the target wasm32-unknown-unknown")
	return ""
}

// ASC is the compiler of AssemblyScript: the one that STEELYARD_ASC names, or the
// one that .ci/asc installs once.
func ASC(t testing.TB) string {
	t.Helper()
	Need(t, "node")
	if path := os.Getenv("STEELYARD_ASC"); path != "" {
		return path
	}
	_, here, _, _ := runtime.Caller(0)
	cmd := exec.Command(filepath.Join(filepath.Dir(here), "../../../.ci/asc"))
	cmd.Stderr = t.Output()
	out, err := cmd.Output()
	if err != nil {
		Missing(t, "the compiler of AssemblyScript ("+err.Error()+")")
	}
	return strings.TrimSpace(string(out))
}
