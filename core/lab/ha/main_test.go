// SPDX-License-Identifier: Apache-2.0

package ha

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/steelyard-lb/steelyard/core/lab/labtest"
)

// long says that `make soak` runs, and not `go test`.
var long = os.Getenv("STEELYARD_SOAK") != ""

// build makes the program under test, once. No race detector: it is the networks
// that are on trial here.
var build = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("HAHACK"); path != "" {
		return path, nil
	}
	dir, err := os.MkdirTemp("", "steelyard-ha")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "steelyard")
	cmd := exec.Command("go", "build", "-o", path, "../../../cmd/steelyard")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return path, fmt.Errorf("build steelyard: %w: %s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := labtest.Main(m)
	if path, err := build(); path != "" && err == nil && os.Getenv("HAHACK") == "" {
		_ = os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// need skips the test where a program is not installed, or fails it if CI is set.
func need(t *testing.T, programs ...string) {
	t.Helper()
	labtest.Need(t)
	var missing error
	for _, p := range programs {
		_, err := exec.LookPath(p)
		missing = errors.Join(missing, err)
	}
	switch {
	case missing == nil:
	case os.Getenv("CI") != "":
		t.Fatalf("CI is set, so this test must run; `make deps` installs what it needs: %v", missing)
	default:
		t.Skipf("`make deps` installs what it needs: %v", missing)
	}
}
