// SPDX-License-Identifier: Apache-2.0

package plugintest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// plainDir is where plain built its program; empty if it did not.
var plainDir string

// plain builds steelyard without the race detector, with which a worker compiles
// a Go policy for 4 s and more, and a script takes longer than a call may. What
// runs in a worker is one goroutine; the tests of plugins and plugins/worker run
// workers that have the detector.
var plain = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "plugintest")
	if err != nil {
		return "", err
	}
	plainDir = dir
	if err := os.Chmod(dir, 0o755); err != nil { // a worker is not root for long
		return "", err
	}
	file := filepath.Join(dir, "steelyard")
	build := exec.Command("go", "build", "-o", file, "github.com/steelyard-lb/steelyard/cmd/steelyard")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return file, nil
})

// Worker is the program that runs policies in a test, for suite.Subject and
// plugins.Config: this one, or under the race detector one without it.
func Worker(t testing.TB) []string {
	t.Helper()
	if !raceDetector {
		return []string{"/proc/self/exe", "worker"}
	}
	file, err := plain()
	if err != nil {
		t.Fatalf("build a worker: %v", err)
	}
	return []string{file, "worker"}
}
