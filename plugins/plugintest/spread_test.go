// SPDX-License-Identifier: Apache-2.0

package plugintest_test

import (
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/plugins/plugintest"
)

// TestSpread builds examples/11-policy-c as its README says, puts it through the
// conformance suite and looks at one answer.
func TestSpread(t *testing.T) {
	for _, tool := range []string{"make", "clang", "wasm-ld"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
	root := t.TempDir()
	for _, dir := range []string{"examples/11-policy-c", "sdk/c"} {
		if err := os.CopyFS(filepath.Join(root, dir), os.DirFS(filepath.Join("../..", dir))); err != nil {
			t.Fatal(err)
		}
	}
	here := filepath.Join(root, "examples/11-policy-c")
	if out, err := exec.Command("make", "-B", "-C", here).CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	h := plugintest.NewHost(t, core.PolicySpec{Name: "spread", Path: filepath.Join(here, "spread.wasm")})
	plugintest.Run(t, h, "spread")

	s := plugintest.Snapshot("web", 2)
	for i, conns := range []float64{15, 63} { // fair is 39: factors sqrt(40/16) and sqrt(40/64)
		s.Backends[i].Weight = 10
		s.Backends[i].Conns = core.Reading{Value: conns, Known: true}
	}
	if got := plugintest.Schedule(t, h, "spread", s); math.Abs(got[0]-2.0/3) > 1e-6 {
		t.Errorf("shares %v, want 2/3 and 1/3", got)
	}
}
