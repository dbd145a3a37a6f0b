// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// A sample is followed through all seven steps of the real daemon: a good one, which
// commits nothing, and the one that a backend dies of, which is in the kernel.
func TestTraceEndToEnd(t *testing.T) {
	r := newRig(t, 2)
	r.write(fmt.Sprintf(`  once: {type: tcp, interval: 1s, timeout: 900ms, rise: 1, fall: 1}
services:
  web: {vip: %s, port: 80, policy: weighted, every: 200ms, probes: [once], shaping: {step: 0, dead_band: 0}, backends: %s}
`, r.lab.VIP4, r.backends(false, 50, 50)))
	r.start()
	r.untilShares("web", 50, 50)

	out, code := r.steelyard("trace", "web/b1", "--probe", "once")
	t.Logf("\n%s", out)
	for i, want := range []string{"tcp L4OK in ", "taken by the engine", "good; probe once stays up", "has it; policy weighted answered", "50.0%", "32768 slots → 32768", "no slot moved"} {
		wantStep(t, out, i+1, want)
	}
	if code != 0 || !strings.Contains(out, "= web/b1 has 50.0% of the new connections, as before") {
		t.Errorf("exit code %d: %s", code, out)
	}

	death := r.traceDeath(core.BackendID{Service: "web", Backend: "b1"})
	var text strings.Builder
	renderTrace(&text, death)
	t.Logf("\n%s", text.String())
	for i, want := range []string{"tcp L4CON in ", "taken by the engine", "probe once went up → down, b1 is down", "not asked: a change of health", "→ 0.0%", "32768 slots → 0 of 65536, 1 share of others moved", "generation "} {
		wantStep(t, text.String(), i+1, want)
	}
	r.untilShares("web", 0, 100)
	ds, err := r.client.Decisions(t.Context(), "web", 20)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range ds {
		if len(d.Causes) == 1 && d.Causes[0] == death.Sample {
			return
		}
	}
	t.Errorf("no decision names %+v as its cause", death.Sample)
}

// traceDeath has the first backend die while its next sample is followed, again and again
// until that is the one that it dies of.
func (r *rig) traceDeath(id core.BackendID) core.Trace {
	r.t.Helper()
	for range 20 {
		down := make(chan struct{})
		go func() {
			defer close(down)
			wait(50 * time.Millisecond) // the trace has begun by then, most likely
			r.worlds[0].down()
		}()
		death, err := r.client.Trace(r.t.Context(), id, "once", 20*time.Second)
		<-down
		if err != nil {
			r.t.Fatal(err)
		}
		if strings.Contains(death.Steps[2].Text, "up → down") {
			return death
		}
		r.worlds[0].up(r.t)
		r.untilShares("web", 50, 50)
	}
	r.t.Fatal("no trace has the sample that the backend dies of")
	return core.Trace{}
}

func wantStep(t *testing.T, out string, n int, want string) {
	t.Helper()
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, fmt.Sprintf("  %d ", n)) {
			if !strings.Contains(line, want) {
				t.Errorf("step %d is %q, want %q in it", n, line, want)
			}
			return
		}
	}
	t.Errorf("there is no step %d", n)
}
