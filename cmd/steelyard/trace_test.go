// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/core"
)

func (f *fixedControl) Trace(_ context.Context, id core.BackendID, probe string, _ time.Duration) (core.Trace, error) {
	return core.Trace{
		Backend: id, Sample: core.SampleRef{Backend: id.Backend, Probe: "alive", Node: "lb1", Seq: 4711},
		Steps: []core.TraceStep{
			{Step: 1, Name: "probe", Text: "tcp L4OK in 0.412 ms on lb1, sample lb1/alive/4711"},
			{Step: 2, Name: "bus", SinceSeconds: 0.00004, Text: "taken by the engine 0.041 ms after the probe"},
			{Step: 3, Name: "health", SinceSeconds: 0.0001, Text: "good\x1b[31m " + probe},
			{Step: 7, Name: "apply", SinceSeconds: 1.2345, Text: "no slot moved: nothing to commit"},
		},
		Conclusion: "web/web1 has 33.3% of the new connections, as before",
	}, f.err
}

func TestTraceCommand(t *testing.T) {
	out, _, code := run(t, t.Context(), &fixedControl{view: sampleView()}, "trace", "web/web1", "--probe", "alive")
	want := `  1 probe         +0.0 ms  tcp L4OK in 0.412 ms on lb1, sample lb1/alive/4711
  2 bus           +0.0 ms  taken by the engine 0.041 ms after the probe
  3 health        +0.1 ms  good [31m alive
  7 apply      +1234.5 ms  no slot moved: nothing to commit
  = web/web1 has 33.3% of the new connections, as before
`
	if d := cmp.Diff(want, out); d != "" || code != 0 {
		t.Errorf("exit code %d (-want +got):\n%s", code, d)
	}
	for line, text := range map[string]string{
		"trace web": "want SERVICE/BACKEND", "trace": "accepts 1 arg", "trace web/web1 --timeout 0s": "want more than 0", "trace web/web1 -o yaml": "want table or json",
	} {
		if _, errs, code := run(t, t.Context(), &fixedControl{view: sampleView()}, strings.Fields(line)...); code != exitUsage || !strings.Contains(errs, text) {
			t.Errorf("%s: exit code %d, %q, want %q", line, code, errs, text)
		}
	}
	if out, _, _ := run(t, t.Context(), &fixedControl{view: sampleView()}, "trace", "web/web1", "-o", "json"); !strings.Contains(out, `"since_probe_seconds": 1.2345`) {
		t.Errorf("JSON: %s", out)
	}
	if out, _, _ := run(t, t.Context(), &fixedControl{view: sampleView()}, "__complete", "trace", "web/web1", "--probe", ""); !strings.Contains(out, "alive\thttp, ") || !strings.Contains(out, "cpu\tsnmp_cpu, ") {
		t.Errorf("completion of --probe: %s", out)
	}
	if out, _, _ := run(t, t.Context(), &fixedControl{view: sampleView()}, "__complete", "trace", ""); !strings.Contains(out, "web/web1\t") {
		t.Errorf("completion: %s", out)
	}
}
