// SPDX-License-Identifier: Apache-2.0

//go:build gates

package main

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core/sim"
)

// The gates of `make gates`: what least-cpu must reach in the four cases of step,
// and how much worse than weighted a shipped policy may be anywhere.
const (
	gateP99         = 1.1 // times the best possible
	gateImbalance   = 1.1
	gateOscillation = 0.05
	gateConvergence = 200 // seconds
	gateWorse       = 1.1 // times weighted
	gateSeeds       = 3   // of the four cases
	tableSeeds      = 2   // of the table in the document

	// How far a known exception may be off its figure, up and down.
	exceptionWorse  = 1.05
	exceptionBetter = 0.85
	// gateFailed is the part of failed requests that is noise.
	gateFailed = 0.001
)

// simulateAll runs policies in scenarios.
func simulateAll(t *testing.T, seeds int, scenarios []sim.Scenario, policies ...string) []scenarioResult {
	t.Helper()
	crew, err := newCrew(t.Context(), &simulation{policies: policies, seeds: seeds})
	if err != nil {
		t.Fatal(err)
	}
	defer crew.close()
	results, err := crew.run(t.Context(), scenarios)
	if err != nil {
		t.Fatal(err)
	}
	return results
}

// TestGateLeastCPU: with the default interval between decisions, and with 5 s.
func TestGateLeastCPU(t *testing.T) {
	var cases []sim.Scenario
	for _, sc := range sim.Library() {
		if slices.Contains([]string{"step", "step-lag60", "step-conn60", "step-conn60-lag60"}, sc.Name) {
			slow := sc
			slow.Every, slow.Name = 5*time.Second, sc.Name+", a decision every 5 s"
			cases = append(cases, sc, slow)
		}
	}
	if len(cases) != 8 {
		t.Fatalf("%d cases, want 8: a scenario of the gate has left the library", len(cases))
	}
	for _, r := range simulateAll(t, gateSeeds, cases, "least-cpu") {
		best, got := r.Results[0], r.Results[1]
		gate := func(figure string, value, most float64) {
			if value > most {
				t.Errorf("%s: least-cpu has %s %.4g, at most %.4g is allowed", r.Name, figure, value, most)
			}
		}
		gate("p99 in seconds", got.P99, gateP99*best.P99)
		gate("imbalance", got.Imbalance, gateImbalance)
		gate("oscillation", got.Oscillation, gateOscillation)
		if got.Convergence == nil {
			t.Errorf("%s: least-cpu never converges, at most %d s are allowed", r.Name, gateConvergence)
		} else {
			gate("convergence in seconds", *got.Convergence, gateConvergence)
		}
		t.Logf("%s: p99 %.2f × best, imbalance %.3f, oscillation %.1f %%", r.Name, got.P99/best.P99, got.Imbalance, 100*got.Oscillation)
	}
}

// An exception is a place where a shipped policy is worse than weighted.
type exception struct{ scenario, policy, figure string }

func (e exception) row(times float64) string {
	return fmt.Sprintf("| %s | %s | %s | %s |", e.scenario, e.policy, e.figure, strconv.FormatFloat(times, 'g', 3, 64))
}

const exceptionsIn = "../../docs/simulation.md"

// TestGateWeighted: no shipped policy is worse than configured weights by more than
// 10 %, but where docs/simulation.md says so.
func TestGateWeighted(t *testing.T) {
	document, err := os.ReadFile(exceptionsIn)
	if err != nil {
		t.Fatal(err)
	}
	known := knownExceptions(t, string(document))
	for _, r := range simulateAll(t, tableSeeds, sim.Library(), "shipped") {
		w := slices.IndexFunc(r.Results, func(p policyResult) bool { return p.Policy == "weighted" })
		base := r.Results[w]
		haveRow(t, string(document), r, "least-cpu")
		for _, one := range r.Results {
			for figure, times := range map[string]float64{
				"p99":    one.P99 / base.P99,
				"failed": (one.Failed + gateFailed) / (base.Failed + gateFailed),
			} {
				e := exception{r.Name, one.Policy, figure}
				listed, ok := known[e]
				delete(known, e)
				judgeException(t, e, times, listed, ok)
			}
		}
	}
	for e := range known {
		t.Errorf("%s lists %s of %s in %s, which nobody plays: delete the row", exceptionsIn, e.figure, e.policy, e.scenario)
	}
}

func judgeException(t *testing.T, e exception, times, listed float64, ok bool) {
	t.Helper()
	switch {
	case !ok && times > gateWorse:
		t.Errorf("%s: the %s of %s is %.3g times that of weighted, at most %.2g is allowed. Mend the policy, or say so in %s:\n%s",
			e.scenario, e.figure, e.policy, times, gateWorse, exceptionsIn, e.row(times))
	case ok && times <= gateWorse:
		t.Errorf("%s: the %s of %s is no exception any more (%.3g times that of weighted): delete its row in %s", e.scenario, e.figure, e.policy, times, exceptionsIn)
	case ok && times > exceptionWorse*listed:
		t.Errorf("%s: the %s of %s got worse: %.3g times that of weighted, %s says %.3g", e.scenario, e.figure, e.policy, times, exceptionsIn, listed)
	case ok && times < exceptionBetter*listed:
		t.Errorf("%s: the %s of %s got better: %.3g times that of weighted, %s says %.3g. Make the row\n%s",
			e.scenario, e.figure, e.policy, times, exceptionsIn, listed, e.row(times))
	}
}

// knownExceptions reads the table of the document.
func knownExceptions(t *testing.T, document string) map[exception]float64 {
	t.Helper()
	_, section, ok := strings.Cut(document, "| scenario | policy | figure | times |\n")
	if !ok {
		t.Fatalf("%s has no table of exceptions", exceptionsIn)
	}
	out := map[exception]float64{}
	for line := range strings.Lines(section) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 4 {
			break
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if strings.HasPrefix(cells[0], "--") {
			continue
		}
		times, err := strconv.ParseFloat(cells[3], 64)
		if err != nil {
			t.Fatalf("%s: %s: %v", exceptionsIn, strings.TrimSpace(line), err)
		}
		out[exception{cells[0], cells[1], cells[2]}] = times
	}
	return out
}

// haveRow fails unless the document has the row of a policy as it is today.
func haveRow(t *testing.T, document string, r scenarioResult, policy string) {
	t.Helper()
	var b strings.Builder
	renderSimulationMarkdown(&b, []scenarioResult{r})
	for row := range strings.Lines(b.String()) {
		if strings.HasPrefix(row, "| "+r.Name+" | "+policy+" | ") && !strings.Contains(document, row) {
			t.Errorf("%s has another row for %s in %s. Make its table anew with the command that it names; now it is\n%s", exceptionsIn, policy, r.Name, row)
		}
	}
}
