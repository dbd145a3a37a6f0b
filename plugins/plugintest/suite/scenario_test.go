// SPDX-License-Identifier: Apache-2.0

package suite_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/plugins/plugintest"
	"github.com/steelyard-lb/steelyard/plugins/plugintest/suite"
)

// follow is a policy with one state slot and one custom metric: shares follow idle
// CPU, minus what queues, with half of the way per decision.
const follow = `policy = {name = 'follow', metrics = {'queue'}, backend_state = {'w'}, params = {{name = 'gain', default = 0.5, min = 0, max = 1}}}
function schedule(s)
  local w = {}
  if s.n == 0 then error('nobody is there') end
  for i = 1, s.n do
    if s.down[i] then w[i] = 0
    elseif not s.cpu[i] then w[i] = hold
    else
      local x, st = 1 - s.cpu[i] + (s.metric.queue[i] or 0), s.state.w
      if st[i] == 0 then st[i] = x end
      st[i] = st[i] + s.param.gain * (x - st[i])
      w[i] = st[i]
    end
  end
  return w
end
`

// play runs scenarios against follow and returns what failed, a line each.
func play(t *testing.T, text string) string {
	t.Helper()
	f, err := suite.ReadScenarios("s.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	s := openFollow(t)
	results, err := f.Run(t.Context(), s, nil)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, r := range results {
		if r.Status != suite.Pass {
			lines = append(lines, r.Name+": "+r.Cause)
		}
	}
	return strings.Join(lines, "\n")
}

func openFollow(t *testing.T) *suite.Session {
	t.Helper()
	s, err := suite.Subject{Command: plugintest.Worker(t), Code: []byte(follow)}.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestScenariosThatHold(t *testing.T) {
	got := play(t, `
allow: [order]
scenarios:
  - name: every key and every form
    params: {gain: 50%}
    now: 2026-03-04T12:00:00+01:00
    tolerance: 0.5%
    backends:
      a: {weight: 10, health: up, health_seconds: 60, share: 50%, cpu: 0.2, cpu_age: 1s, cpu_window: 5, cpu_seq: 7, cores: 4,
          response: 20ms, response_age: 1s, connections: 10, connections_age: 0, opened: 3, closed: 3, metric: {queue: 0}, metric_age: {queue: 2s}}
      b: {cpu: 80%}
      off: {health: down, cpu: 10%}
      dark: {cpu: unknown}
    expect: {a: 80%, b: 15%..25%, off: 0, dark: hold}
    then:
      - expect: ["a > b", "b >= 20%", "b < 0.3", "a = 80%", "off = 0%", "a <= 80%", "dark = hold"]
      - seconds: 5
        backends: {a: {cpu: 80%}, dark: gone}
        expect: {a: "> b", b: "< 50%"}
      - repeat: 20
        expect: {a: "= b", b: 50%}
      - backends: {a: {metric: {queue: 0.6}}}
        repeat: 20
        expect: {a: 80%}
      - backends: {a: gone, b: gone, off: gone}
        refused: nobody is there
  - name: state starts anew
    backends: {a: {cpu: 20%}, b: {cpu: 80%}}
    expect: {a: 80%, b: 20%}
  - name: an answer is enough
    backends: {a: {cpu: 1}}
    params: {gain: 0}
    then: [{}]
`)
	// One backend with no idle CPU has weight 0 while it is up: that is not valid.
	want := `an answer is enough: s.yaml:30: every weight is 0 while a backend is up`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("failed (-want +got):\n%s", diff)
	}
}

func TestScenariosThatBreak(t *testing.T) {
	got := play(t, `scenarios:
  - name: a share
    backends: {a: {cpu: 20%}, b: {cpu: 80%}}
    expect:
      a: 80%
      b: 30%
  - name: later
    backends: {a: {cpu: 20%}, b: {cpu: 80%}}
    then:
      - backends: {a: {cpu: unknown}}
        expect: {a: 10%, b: "> a"}
  - name: order
    backends: {a: {cpu: 20%}, b: {cpu: 80%}}
    expect: [b > a, c = 0%]
  - name: refused
    backends: {a: {cpu: 20%}}
    refused: ""
  - name: parameter
    params: {gian: 1}
    backends: {a: {cpu: 20%}}
`)
	want := `a share: s.yaml:6: share of b is 20.00%, want 30.00% ± 0.10%
later: s.yaml:11: share of a is hold, want 10.00% ± 0.10%; share of b is 100.00%, want it > that of a, hold
order: s.yaml:14: share of b is 20.00%, want it > that of a, 80.00%; there is no backend c
refused: s.yaml:15: the policy answered, want it to refuse
parameter: s.yaml:18: policy follow has no parameter gian: it has gain`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("failed (-want +got):\n%s", diff)
	}
}

func TestScenariosAreReadStrictly(t *testing.T) {
	_, err := suite.ReadScenarios("s.yaml", []byte(`alow: [scale]
allow: [chaos]
scenarios:
  - name: x
    secnds: 3
    repeat: 0
    now: noon
    backends:
      a: {weigth: 10, cpu: 120%, health: dwn}
      b: {cpu: fast}
    expect: {a: 120%, b: "> ", c: 9%..3%}
  - expect: [a b]
    then:
      - {backends: [a]}
  - name: x
`))
	if err == nil {
		t.Fatal("read without a complaint")
	}
	want := `s.yaml:1:1: unknown key "alow" in the file (did you mean "allow"?)
s.yaml:2:9: allow: no property "chaos" (known: order, scale)
s.yaml:5:5: unknown key "secnds" in a scenario (did you mean "seconds"?)
s.yaml:6:13: repeat is 0: want 1 to 10000
s.yaml:7:10: now: "noon" is no time (as in 2026-03-04T12:00:00+01:00: the zone is that of the node)
s.yaml:9:11: unknown key "weigth" in backend a (did you mean "weight"?)
s.yaml:9:28: cpu is 120%: want 0 to 1
s.yaml:9:42: health: no state "dwn" (did you mean "down"?)
s.yaml:10:16: cpu: "fast" is no number, as in 0.2, 20% or 20ms
s.yaml:11:17: expect a: "120%" is no share: want 0 to 1, or 0% to 100% (as in {a: 80%, b: hold, c: 5%..10%} or ["a > b", "a >= 50%"])
s.yaml:11:26: expect b: "" is no number, as in 0.2, 20% or 20ms (as in {a: 80%, b: hold, c: 5%..10%} or ["a > b", "a >= 50%"])
s.yaml:11:35: expect c: 3% is below 9% (as in {a: 80%, b: hold, c: 5%..10%} or ["a > b", "a >= 50%"])
s.yaml:12:11: a scenario has no name
s.yaml:12:14: expect "a b": no comparison (as in {a: 80%, b: hold, c: 5%..10%} or ["a > b", "a >= 50%"])
s.yaml:14:20: backends: want a map
s.yaml:15:9: scenario "x" is there twice`
	if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(err.Error(), "\n")); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	for _, text := range []string{"", "scenarios: {", "a:\n\t- b", "[", "scenarios:\n  - name: x\n    name: y\n"} {
		if _, err := suite.ReadScenarios("s.yaml", []byte(text)); err == nil {
			t.Errorf("%q was read without a complaint", text)
		}
	}
}

// TestScenariosUpdate: what is wrong is written anew, and nothing else is touched;
// then all holds, and a second update finds nothing to do.
func TestScenariosUpdate(t *testing.T) {
	const before = `# héad
scenarios:
  - name: x   # ünd here
    backends: {a: {cpu: 20%}, b: {cpu: 80%}}
    expect: {a: 10%, b: 20%}   # and here
    then:
      - seconds: 5
        backends:
          b: {cpu: 20%}

      - backends: {a: {cpu: unknown}}
        expect:
          a: 5%
          b: ">= 10%"
      - expect: ["b > 1%"]
  - name: y
    backends: {a: {}, b: {cpu: 50%}}
`
	const after = `# héad
scenarios:
  - name: x   # ünd here
    backends: {a: {cpu: 20%}, b: {cpu: 80%}}
    expect: {a: 80%, b: 20%}   # and here
    then:
      - seconds: 5
        backends:
          b: {cpu: 20%}
        expect: {a: 61.54%, b: 38.46%}

      - backends: {a: {cpu: unknown}}
        expect:
          a: hold
          b: ">= 10%"
      - expect: ["b > 1%"]
  - name: y
    backends: {a: {}, b: {cpu: 50%}}
    expect: {a: hold, b: 100%}
`
	s := openFollow(t)
	text, changed := before, 0
	for round, want := range []int{4, 0} {
		f, err := suite.ReadScenarios("s.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if text, changed, err = f.Update(t.Context(), s); err != nil || changed != want {
			t.Errorf("round %d: %d places, %v; want %d", round, changed, err, want)
		}
		if diff := cmp.Diff(after, text); diff != "" {
			t.Errorf("round %d (-want +got):\n%s", round, diff)
		}
	}
	if bad := play(t, after); bad != "" {
		t.Errorf("after the update: %s", bad)
	}
}

func FuzzReadScenarios(f *testing.F) {
	f.Add("scenarios:\n  - name: x\n    backends: {a: {cpu: 20%, metric: {q: 1}}}\n    expect: {a: 100%}\n    then: [{seconds: 1}]\n")
	f.Add("allow: [order]\nscenarios: [{name: y, expect: [a > b]}]")
	f.Fuzz(func(t *testing.T, text string) {
		_, _ = suite.ReadScenarios("s.yaml", []byte(text)) // it must come back
	})
}

// A backend whose cpu_seq is given keeps it: its CPU is a repeat. The others have
// a fresh sample in every step. Shares are those of the answer before.
func TestScenariosCountSamples(t *testing.T) {
	for body, text := range map[string]string{
		"s.cpu_seq[i]": `scenarios:
  - name: samples
    backends: {a: {cpu: 1%, cpu_seq: 3}, b: {cpu: 1%}}
    expect: {a: 75%, b: 25%}
    then: [{expect: {a: 60%, b: 40%}}, {repeat: 2, backends: {a: {cpu_seq: 1}}, expect: {a: 20%, b: 80%}}]
`,
		"s.share[i] * i": `scenarios:
  - name: shares
    backends: {a: {}, b: {}}
    expect: {a: 33.33%, b: 66.67%}
    then: [{expect: {a: 20%, b: 80%}}, {backends: {a: {share: 50%}, b: {share: 50%}}, expect: {a: 33.33%, b: 66.67%}}]
`,
		"s.seconds + i * s.health_seconds[i]": `scenarios:
  - name: time
    backends: {a: {health_seconds: 3}, b: {health_seconds: 3}}
    seconds: 3
    expect: {a: 40%, b: 60%}
    then: [{seconds: 5, backends: {b: {health: unknown}}, expect: {a: 46.43%, b: 53.57%}}]
`,
	} {
		f, err := suite.ReadScenarios("s.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		s, err := suite.Subject{Command: plugintest.Worker(t), Code: []byte("function schedule(s) local w = {} for i = 1, s.n do w[i] = " + body + " end return w end")}.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		results, err := f.Run(t.Context(), s, nil)
		s.Close()
		if err != nil || results[0].Status != suite.Pass {
			t.Errorf("%s: %+v, %v", body, results, err)
		}
	}
}
