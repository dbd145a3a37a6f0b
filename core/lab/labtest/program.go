// SPDX-License-Identifier: Apache-2.0

package labtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// binary holds the directory of what Steelyard built.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "steelyard-bin")
	if err != nil {
		return "", err
	}
	built.Store(&dir)
	cmd := exec.Command("go", "build", "-o", dir, "github.com/steelyard-lb/steelyard/cmd/steelyard")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build steelyard: %w: %s", err, out)
	}
	return filepath.Join(dir, "steelyard"), nil
})

// Steelyard builds the program, once in a run of the tests, and returns its path. It
// has no race detector: it is for tests of what is around it. Main removes it.
func Steelyard(t testing.TB) string {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// NeedPrograms is Need for tests that run these programs as well.
func NeedPrograms(t testing.TB, names ...string) {
	t.Helper()
	Need(t)
	var missing error
	for _, name := range names {
		_, err := exec.LookPath(name)
		missing = errors.Join(missing, err)
	}
	if missing != nil {
		lacking(t, fmt.Errorf("`make deps` installs what it needs: %w", missing))
	}
}

// NeedRoot is for tests of programs that run others as other users, which the user
// namespace of Main has not.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Getenv(inside) != "" {
		lacking(t, errors.New("needs other users: run it as root"))
	}
}

// lacking skips the test, or fails it if CI is set.
func lacking(t testing.TB, err error) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("CI is set, so this test must run: %v", err)
	}
	t.Skip(err)
}
