// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/plugins/plugintest"
)

func TestMain(m *testing.M) { plugintest.Main(m) }

// TestHeadroom builds the module as the README says, puts it through the
// conformance suite and looks at one answer.
func TestHeadroom(t *testing.T) {
	file := filepath.Join(t.TempDir(), "headroom.wasm")
	build := exec.Command("go", "build", "-buildmode=c-shared", "-ldflags=-s -w", "-o", file, ".")
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	h := plugintest.NewHost(t, core.PolicySpec{Name: "headroom", Path: file})
	plugintest.Run(t, h, "headroom")

	s := plugintest.Snapshot("web", 2)
	for i, cpu := range []float64{0.9, 0.6} {
		s.Backends[i].CPU = core.Reading{Value: cpu, Window: 5 * time.Second, Known: true}
		s.Backends[i].Cores = core.Reading{Value: 4, Known: true}
	}
	if got := plugintest.Schedule(t, h, "headroom", s); math.Abs(got[0]-0.2) > 1e-6 {
		t.Errorf("shares %v of 0.4 and 1.6 idle cores, want 0.2 and 0.8", got)
	}
}
