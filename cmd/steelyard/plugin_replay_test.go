// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/plugins/plugintest/suite"
)

// plugin runs a subcommand of plugin against a control.
func plugin(t *testing.T, c control, line ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	g := newGlobals(&out, &errs)
	g.getenv = func(string) string { return "" }
	g.dial = func(string) control { return c }
	cmd := newPluginCommand(g)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	g.addFlags(cmd.PersistentFlags())
	cmd.SetArgs(line)
	code = g.fail(cmd.ExecuteContext(t.Context()))
	return out.String(), errs.String(), code
}

// recordedCalls are four decisions of two services, of a policy that gives every
// backend the same.
func recordedCalls() []core.Recorded {
	var out []core.Recorded
	for i := range 4 {
		s := suite.Snapshot([]string{"web", "api"}[i%2], 2)
		s.Seq = uint64(i + 1)
		s.Backends[0].CPU.Value, s.Backends[1].CPU.Value = 0.2, 0.8
		out = append(out, core.Recorded{At: noon.Add(time.Duration(i) * time.Second), Policy: "rr", Version: "rr@111111111111",
			Snapshot: s, Weights: []float64{1, 1}, Took: time.Microsecond})
	}
	out[3].Weights, out[3].Err = nil, "trap"
	shadow := out[0]
	shadow.Shadow, shadow.Weights = true, []float64{0, 1}
	return append(out, shadow)
}

func TestPluginRecordAndReplay(t *testing.T) {
	policy := writeFile(t, "idle.lua", idleLua)
	c := &fixedControl{recorded: recordedCalls()}
	text, errs, code := plugin(t, c, "record", "--last")
	if code != 0 || !strings.Contains(errs, "5 decisions written") || strings.Count(text, "\n") != 5 {
		t.Fatalf("code %d, %s\n%s", code, errs, text)
	}
	if !strings.Contains(errs, ", the oldest ") || !strings.Contains(text, `"took_seconds":0.000001000`) || !strings.Contains(text, `"cpu_ratio":{"value":0.2,"age_seconds":`) {
		t.Errorf("record: %s\n%s", errs, text)
	}
	if _, errs, code := plugin(t, c, "record", "nobody", "--last"); code != 0 || !strings.Contains(errs, "none in memory; --for") {
		t.Errorf("of a service without any: %d, %s", code, errs)
	}
	if text, errs, _ := plugin(t, c, "record", "web", "--last"); strings.Count(text, "\n") != 3 {
		t.Errorf("web alone: %s\n%s", errs, text)
	}
	file := filepath.Join(filepath.Dir(policy), "all.jsonl")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}

	out, errs, code := plugin(t, c, "replay", policy, "--recorded", file, "-o", "json")
	var r replayReport
	if err := json.Unmarshal([]byte(out), &r); err != nil || code != 0 {
		t.Fatalf("code %d, %v, %s\n%s", code, err, errs, out)
	}
	// The candidate gives 80 % and 20 % where both had half.
	if r.Decisions != 3 || len(r.Services) != 2 || r.Services[1].Service != "web" || r.Services[1].Decisions != 2 || r.Services[0].RecordedFaults != 1 {
		t.Errorf("report %+v", r)
	}
	for _, v := range []float64{r.MovedMean, r.MovedMax, r.Services[0].MovedMean, r.Services[1].Backends[0].DiffMax} {
		if v < 0.2999 || v > 0.3001 {
			t.Errorf("moved %v, want 0.3\n%s", v, out)
		}
	}
	for _, tt := range []struct {
		args string
		code int
		want string
	}{
		{"--recorded " + file, 0, "moved: 30.0% of new connections in the mean"},
		{"--recorded " + file + " --service web", 0, "2 decisions in 2.0 s, recorded of rr@111111111111"},
		{"--recorded " + file + " --max-moved 40%", 0, "CANDIDATE"},
		{"--recorded " + file + " --max-moved 0.1", exitFailure, "api: 30.0% of new connections would go elsewhere, more than 10.0%"},
		{"--recorded " + file + " --max-moved much", exitUsage, "want 0% to 100%"},
		{"--recorded " + file + " --service nobody", exitFailure, "no decision to compare"},
		{"--recorded " + policy, exitFailure, "line 1"},
		{"", exitUsage, "want --recorded FILE or --live TIME"},
	} {
		out, errs, code := plugin(t, c, append([]string{"replay", policy}, strings.Fields(tt.args)...)...)
		if code != tt.code || !strings.Contains(out+errs, tt.want) {
			t.Errorf("%s: code %d, want %d and %q\n%s%s", tt.args, code, tt.code, tt.want, out, errs)
		}
	}
	live := time.Now().Add(time.Hour)
	for i := range c.recorded {
		c.recorded[i].At = live
	}
	if out, errs, code := plugin(t, c, "replay", policy, "--live", "30s"); code != 0 || !strings.Contains(out, "moved: 30.0%") {
		t.Errorf("live: code %d\n%s%s", code, out, errs)
	}
}

// A candidate that does not answer, or that reads what was not recorded, is told.
func TestPluginReplayFaults(t *testing.T) {
	policy := writeFile(t, "bad.lua", "policy = {metrics = {'queue'}}\nfunction schedule(s) if s.seq == 1 then error('no idea') end return {1, 1} end\n")
	c := &fixedControl{recorded: recordedCalls()}
	text, _, _ := plugin(t, c, "record", "--last")
	file := writeFile(t, "r.jsonl", text)
	out, errs, code := plugin(t, c, "replay", policy, "--recorded", file)
	if code != exitFailure || !strings.Contains(errs, "the candidate failed 1 times") || !strings.Contains(out, "no idea") || !strings.Contains(out, "reads the metric queue") {
		t.Errorf("code %d\n%s%s", code, out, errs)
	}
}

func TestPluginGolden(t *testing.T) {
	var b bytes.Buffer
	w := &resultWriter{out: &b}
	w.title("conformance of idle@3f2a9c000000")
	w.result(suite.Result{Name: "contract", Status: suite.Pass, Detail: "loaded in 1.2ms"})
	w.result(suite.Result{Name: "order of backends", Status: suite.Fail, Cause: "the share of b3 is 10.00% in one order\x1b[31m", Remedy: "go by id"})
	w.result(suite.Result{Name: "state of another origin", Status: suite.Note, Cause: "with NaN it has no answer", Remedy: "start over"})
	w.result(suite.Result{Name: "a newer host's snapshot", Status: suite.Fail, Cause: "with NaN it has no answer", Remedy: "start over"})
	w.end()
	golden(t, "plugin-test.txt", b.Bytes())

	b.Reset()
	row := suite.Cost{Backends: 16, Calls: 1200, Batch: 64, WorkerP50: 4e-7, WorkerP99: 2.5e-6, TripP50: 2.1e-5, TripP99: 3e-4, BatchedP50: 3.3e-6}
	slow := row
	slow.WorkerP50, slow.BatchedP50 = 2e-6, 0.0121
	list := []candidate{{Path: "old.wasm"}, {Path: "new.wasm"}}
	reports := []benchReport{{Bytes: 1245, Costs: suite.Costs{LoadSeconds: 0.0031, MemoryStart: 6_400_000, MemoryAtWork: 12_000_000, Rows: []suite.Cost{row}}},
		{Bytes: 1_900_000, Costs: suite.Costs{LoadSeconds: 0.51, MemoryStart: 24_900_000, MemoryAtWork: 40_000_000, Rows: []suite.Cost{slow}}}}
	renderBench(&b, list[:1], reports[:1], false)
	b.WriteString("\n")
	renderBench(&b, list, reports, false)
	golden(t, "plugin-bench.txt", b.Bytes())

	b.Reset()
	renderReplay(&b, replayReport{Version: "idle@3f2a9c000000", Replayed: suite.Replayed{Notes: []string{"the candidate reads cpu, which no recorded decision has"},
		Services: []suite.ServiceReplayed{{Service: "web", Versions: []string{"rr@1"}, From: noon, To: noon.Add(time.Minute), Decisions: 60, RecordedFaults: 1, Faults: 2,
			LastFault: "trap", MovedMean: 0.123, MovedMax: 0.5, MovedMaxAt: noon.Add(time.Second),
			Backends: []suite.BackendReplayed{{Backend: "web1", Recorded: 0.5, Share: 0.623, DiffMean: 0.123, DiffMax: 0.5, Held: 3}}}}}}, false)
	golden(t, "plugin-replay.txt", b.Bytes())
}
