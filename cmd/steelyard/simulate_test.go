// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/core/sim"
)

// tinyScenario is over in a moment.
const tinyScenario = `about: two of them
duration: 60s
backends:
  - {name: small, cores: 2}
  - {name: large, cores: 6}
service: {mean: 50ms, sigma: 0.5}
`

// inFile writes a scenario and returns its path.
func inFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func simulateLine(t *testing.T, line ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	code = execute(t.Context(), append([]string{"simulate"}, line...), &out, &errs)
	return out.String(), errs.String(), code
}

// TestSimulate runs a file under policies of all kinds, as a table and as JSON.
func TestSimulate(t *testing.T) {
	path := inFile(t, "tiny.yaml", tinyScenario)
	out, errs, code := simulateLine(t, path, "--policy", "shipped,naive-idle", "--seeds", "2")
	if code != 0 || !strings.HasPrefix(out, "tiny: two of them (2 seeds)\n  POLICY") {
		t.Fatalf("code %d, %s%s", code, out, errs)
	}
	for _, p := range []string{"best", "least-cpu", "weighted", "naive-idle"} {
		if !strings.Contains(out, "\n  "+p+" ") {
			t.Errorf("no row for %s in\n%s", p, out)
		}
	}
	out, _, _ = simulateLine(t, path, "-o", "json", "--param", "alpha=0.5")
	again, _, _ := simulateLine(t, path, "-o", "json", "--param", "alpha=0.5")
	other, _, _ := simulateLine(t, path, "-o", "json", "--param", "alpha=0.01")
	if out != again || out == other {
		t.Errorf("the same line gives the same answer: %t; another parameter another one: %t", out == again, out != other)
	}
	var a simulateAnswer
	if err := json.Unmarshal([]byte(out), &a); err != nil || len(a.Scenarios) != 1 || len(a.Scenarios[0].Results) != 2 || a.Scenarios[0].Results[1].P99 <= 0 {
		t.Errorf("%v: %+v", err, a)
	}
}

// TestSimulateInWorker: the shipped module decides to the last bit like its source
// run natively.
func TestSimulateInWorker(t *testing.T) {
	path := inFile(t, "tiny.yaml", tinyScenario)
	native, _, _ := simulateLine(t, path, "--policy", "shipped", "-o", "json", "--seeds", "1")
	worker, errs, code := simulateLine(t, path, "--policy", "shipped", "-o", "json", "--seeds", "1", "--worker")
	if code != 0 {
		t.Fatalf("code %d: %s%s", code, errs, worker)
	}
	if diff := cmp.Diff(native, worker); diff != "" {
		t.Errorf("native and in a worker (-native +worker):\n%s", diff)
	}
}

// TestSimulateOwnPolicy: a script of one's own under the name of its file.
func TestSimulateOwnPolicy(t *testing.T) {
	path := inFile(t, "tiny.yaml", tinyScenario)
	lua := inFile(t, "all-alike.lua", `policy = { name = "all-alike", reads = {} }
function schedule(s)
  local w = {}
  for i = 1, s.n do w[i] = 1 end
  return w
end
`)
	out, errs, code := simulateLine(t, path, "--policy", "rr,"+lua, "-o", "json", "--seeds", "1")
	var a simulateAnswer
	if err := json.Unmarshal([]byte(out), &a); code != 0 || err != nil {
		t.Fatalf("code %d, %v: %s%s", code, err, out, errs)
	}
	rr, own := a.Scenarios[0].Results[1], a.Scenarios[0].Results[2]
	if own.Policy != "all-alike" || !reflect.DeepEqual(rr.Outcome, own.Outcome) {
		t.Errorf("rr %+v, the same as a script %+v", rr, own)
	}
}

// TestSimulateBadFile: every mistake with its place.
func TestSimulateBadFile(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"duration: 60s\nbackends:\n  - {name: a, cores: 0}\nevents:\n  - {at: 5s, kind: quake}\n", "bad.yaml:3:22: error: backends[0].cores is 0; want 1 to 1024"},
		{"duration: 60s\nbackends:\n  - {name: a, cores: 0}\nevents:\n  - {at: 5s, kind: quake}\n", `bad.yaml:5:20: error: events[0].kind is "quake"`},
		{"duration: 60\n", "bad.yaml:1:11: error: a value of the wrong kind: want a time with its unit"},
		{"backend:\n  - {name: a}\n", `bad.yaml:1:1: error: there is no key "backend"`},
		{"backends: [\n", "bad.yaml:1:11: error: "},
		{"", "bad.yaml: error: the file is empty"},
	} {
		out, errs, code := simulateLine(t, inFile(t, "bad.yaml", tt.text))
		if code != exitConfig || !strings.Contains(errs, tt.want) || out != "" {
			t.Errorf("%q: code %d, want %q, got\n%s%s", tt.text, code, tt.want, errs, out)
		}
	}
}

// TestSimulateUsage: wrong words are answered with the right ones.
func TestSimulateUsage(t *testing.T) {
	for want, line := range map[string][]string{
		"--list lists them":              {"stepp"},
		"there are best, rr, weighted":   {"--policy", "least-cpuu"},
		`has no parameter "beta"`:        {"--param", "beta=1"},
		"want 0.01 to 1":                 {"--param", "alpha=7"},
		"alpha of policy least-cpu is N": {"--param", "alpha=nan"},
		"want NAME=NUMBER":               {"--param", "alpha"},
		"--seeds 0":                      {"--seeds", "0"},
		"no chosen policy takes":         {"--policy", "naive-idle", "--param", "alpha=1"},
		"want table or json or markdown": {"-o", "xml"},
	} {
		if out, errs, code := simulateLine(t, line...); code != exitUsage || !strings.Contains(errs, want) {
			t.Errorf("%v: code %d, want %q, got %s%s", line, code, want, errs, out)
		}
	}
}

// TestSimulatePrint: what --print gives is read back as it was.
func TestSimulatePrint(t *testing.T) {
	for _, sc := range sim.Library() {
		out, errs, code := simulateLine(t, "--print", sc.Name)
		got, err := parseScenario("x.yaml", []byte(out))
		if code != 0 || err != nil {
			t.Fatalf("%s: code %d, %v: %s", sc.Name, code, err, errs)
		}
		if diff := cmp.Diff(sc, got); diff != "" {
			t.Errorf("%s (-before +after):\n%s", sc.Name, diff)
		}
	}
}

// TestSimulatePlot draws a file that is XML and speaks of all that is in it, and on
// the terminal.
func TestSimulatePlot(t *testing.T) {
	path, svg := inFile(t, "tiny.yaml", tinyScenario), filepath.Join(t.TempDir(), "x.svg")
	if _, errs, code := simulateLine(t, path, "--policy", "least-cpu,rr", "--plot", svg, "--seeds", "1"); code != 0 {
		t.Fatal(errs)
	}
	text, err := os.ReadFile(svg)
	if err != nil {
		t.Fatal(err)
	}
	for d := xml.NewDecoder(bytes.NewReader(text)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("not XML: %v", err)
		}
	}
	for _, want := range []string{"tiny, least-cpu: share", "tiny, rr: CPU", ">small<", ">large<", "time, s", "prefers-color-scheme:dark"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the SVG does not have %q", want)
		}
	}
	out, _, _ := simulateLine(t, path, "--plot", "-", "--seeds", "1")
	chart, _, _ := strings.Cut(out, "tiny: two")
	if strings.Count(chart, " small\n")+strings.Count(chart, " large\n")+strings.Count(chart, " small large\n") < 2 || !strings.ContainsAny(chart, "⠒⠉⣀⠤") {
		t.Errorf("the chart:\n%s", out)
	}
}

// TestSimulateCompletion offers scenarios, and policies behind a comma.
func TestSimulateCompletion(t *testing.T) {
	for line, want := range map[string]string{
		"step-":                       "step-lag60\t",
		"--policy least-cpu,":         "least-cpu,weighted\t",
		"--policy least-cpu --param ": "alpha=\t",
	} {
		words := strings.Split(line, " ")
		var out bytes.Buffer
		if code := execute(t.Context(), append([]string{"__complete", "simulate"}, words...), &out, io.Discard); code != 0 || !strings.Contains(out.String(), "\n"+want) && !strings.HasPrefix(out.String(), want) {
			t.Errorf("%s: code %d, want %q, got\n%s", line, code, want, out.String())
		}
	}
}

// TestSimulateList names every scenario and policy.
func TestSimulateList(t *testing.T) {
	out, _, code := simulateLine(t, "--list")
	if code != 0 || !strings.Contains(out, "\nsinkhole ") || !strings.Contains(out, "\nleast-cpu ") || !strings.Contains(out, "\nnaive-idle ") {
		t.Errorf("code %d\n%s", code, out)
	}
}

// TestSimulateDocument: the scenario that docs/simulation.md shows can be run.
func TestSimulateDocument(t *testing.T) {
	text, err := os.ReadFile("../../docs/simulation.md")
	if err != nil {
		t.Fatal(err)
	}
	block := mdYAML.FindSubmatch(text)
	if block == nil {
		t.Fatal("docs/simulation.md has no YAML")
	}
	if _, err := parseScenario("simulation.md", block[1]); err != nil {
		t.Error(err)
	}
}

// TestSimulateSaysWhatIsNotThere: a policy that goes by a custom metric sees none of
// it in a simulation, and looks like one that does nothing.
func TestSimulateSaysWhatIsNotThere(t *testing.T) {
	path := inFile(t, "tiny.yaml", tinyScenario)
	queue := inFile(t, "queue.lua", `policy = {reads = {}, metrics = {"queue_depth"}}
function schedule(s)
  local w = {}
  for i = 1, s.n do w[i] = s.metric.queue_depth[i] and 1 / s.metric.queue_depth[i] or hold end
  return w
end`)
	_, errs, code := simulateLine(t, path, "--policy", "weighted,"+queue, "--seeds", "1")
	if code != 0 || errs != "note: queue goes by queue_depth, which no scenario has: it is unknown all the time\n" {
		t.Errorf("code %d, stderr %q", code, errs)
	}
}
