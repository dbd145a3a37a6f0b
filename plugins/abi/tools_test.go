// SPDX-License-Identifier: Apache-2.0

package abi_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func inCI() bool { return os.Getenv("CI") != "" }

func missing(t *testing.T, what string) {
	t.Helper()
	if inCI() {
		t.Fatalf("%s is missing", what)
	}
	t.Skipf("%s is missing", what)
}

func need(t *testing.T, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			missing(t, tool)
		}
	}
}

// findRustc is a compiler that has the WASM target; the first one in the path may
// be without.
func findRustc(t *testing.T) string {
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
	missing(t, "a rustc with the target wasm32-unknown-unknown")
	return ""
}

// findASC is the AssemblyScript compiler: the one that STEELYARD_ASC names, or
// one that npm installed; CI installs it.
func findASC(t *testing.T) string {
	t.Helper()
	need(t, "node")
	for _, path := range []string{os.Getenv("STEELYARD_ASC"), abs(t, ".cache/asc/node_modules/.bin/asc"),
		abs(t, "sdk/assemblyscript/node_modules/.bin/asc"), "asc"} {
		if found, err := exec.LookPath(path); err == nil {
			return found
		}
	}
	if !inCI() {
		missing(t, "asc (AssemblyScript; .ci/asc installs it)")
	}
	return strings.TrimSpace(string(run(t, root, ".ci/asc")))
}

func abs(t *testing.T, path string) string {
	t.Helper()
	p, err := filepath.Abs(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// run runs a tool in a directory and returns its standard output.
func run(t *testing.T, dir, tool string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), tool, args...)
	cmd.Dir = dir
	out, err := cmd.Output()
	var bad *exec.ExitError
	if errors.As(err, &bad) {
		t.Fatalf("%s: %v\n%s%s", cmd, err, out, bad.Stderr)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// camel is n_params as nParams.
func camel(name string) string {
	first, rest, _ := strings.Cut(name, "_")
	for word := range strings.SplitSeq(rest, "_") {
		if word != "" {
			first += strings.ToUpper(word[:1]) + word[1:]
		}
	}
	return first
}
