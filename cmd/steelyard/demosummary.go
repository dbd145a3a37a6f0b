// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"math"
	"time"
)

// A demoSummary is what the demo ends with, and the whole of --json. A null is
// a number that was not seen.
type demoSummary struct {
	OK       bool               `json:"ok"`
	Version  string             `json:"version"`
	Seconds  float64            `json:"traffic_seconds"`
	Rate     float64            `json:"rate_per_second"`
	Cost     float64            `json:"request_cpu_seconds"`
	Sent     int                `json:"requests_sent"`
	Answered int                `json:"requests_answered"`
	Failed   int                `json:"requests_failed"`
	Causes   map[string]int     `json:"failures_by_cause"`
	Others   []clientFailure    `json:"unexplained_failures"`
	Phases   []demoPhaseSummary `json:"phases"`
	Death    demoDeath          `json:"death"`
	Checks   []demoCheck        `json:"checks"`
}

// A demoPhaseSummary is one phase; its shares are those of its settled end.
type demoPhaseSummary struct {
	Title    string               `json:"title"`
	Seconds  float64              `json:"duration_seconds"`
	Answered int                  `json:"requests_answered"`
	Failed   int                  `json:"requests_failed"`
	P50      *float64             `json:"response_p50_seconds"`
	P99      *float64             `json:"response_p99_seconds"`
	Backends []demoBackendSummary `json:"backends"`
}

type demoBackendSummary struct {
	Name     string   `json:"name"`
	Capacity float64  `json:"capacity_cores"`
	Expected float64  `json:"expected_share_ratio"`
	Kernel   float64  `json:"kernel_share_ratio"`
	Client   float64  `json:"client_share_ratio"`
	CPU      *float64 `json:"cpu_ratio"` // at the end of the phase
}

// A demoDeath is how the death of a backend reached the kernel.
type demoDeath struct {
	Backend   string   `json:"backend"`
	Noticed   *float64 `json:"noticed_after_seconds"`   // after the kill
	Committed *float64 `json:"committed_after_seconds"` // after the kill
	Commit    *float64 `json:"commit_took_seconds"`
}

// summary adds up a demo that has ended.
func (l *demoLog) summary(rate float64, cost time.Duration) demoSummary {
	checks := l.checks()
	l.mu.Lock()
	defer l.mu.Unlock()
	s := demoSummary{
		OK: true, Version: version, Rate: rate, Cost: cost.Seconds(), Sent: l.sent, Answered: len(l.done), Failed: len(l.failed),
		Causes: map[string]int{}, Others: l.unexplained(), Checks: checks, Death: demoDeath{Backend: demoBackends[demoVictim].name},
	}
	for _, c := range checks {
		s.OK = s.OK && c.OK
	}
	for _, f := range l.failed {
		s.Causes[f.Cause]++
	}
	for i, span := range l.phases {
		s.Phases = append(s.Phases, l.phaseSummary(i, span))
		s.Seconds += span.To.Sub(span.From).Seconds()
	}
	if l.death != nil {
		s.Death.Committed = known(l.death.Commit.At.Sub(l.killed).Seconds())
		s.Death.Commit = known(l.death.CommitSeconds)
		if !l.noted.IsZero() {
			s.Death.Noticed = known(l.noted.Sub(l.killed).Seconds())
		}
	}
	return s
}

func (l *demoLog) phaseSummary(phase int, span demoSpan) demoPhaseSummary {
	plan := demoPhases()[phase]
	latencies, failed := l.requests(span)
	var all []float64
	for _, l := range latencies {
		all = append(all, l...)
	}
	s := demoPhaseSummary{
		Title: plan.title, Seconds: span.To.Sub(span.From).Seconds(), Answered: len(all), Failed: failed,
		P50: known(quantile(all, 0.5)), P99: known(quantile(all, 0.99)),
	}
	settled := l.settled(phase)
	end, _ := l.requests(settled)
	parts, _ := shares(end)
	told := l.meanShares(settled)
	last := l.lastView(span)
	for i, b := range demoBackends {
		s.Backends = append(s.Backends, demoBackendSummary{
			Name: b.name, Capacity: plan.capacity[i], Expected: plan.shares()[i],
			Kernel: told[i], Client: parts[i], CPU: last.backend(i).CPU,
		})
	}
	return s
}

func (l *demoLog) lastView(span demoSpan) demoView {
	var last demoView
	for _, v := range l.views {
		if span.holds(v.at) {
			last = v
		}
	}
	return last
}

// known is nil for NaN.
func known(v float64) *float64 {
	if math.IsNaN(v) {
		return nil
	}
	return &v
}

// write prints the summary for people.
func (s demoSummary) write(out io.Writer, p painter) {
	fmt.Fprintf(out, "\n%s\n", p.paint(bold, "Summary"))
	fmt.Fprintf(out, "  %d requests in %.0f s, each on a new connection: %d answered, %d failed%s\n\n",
		s.Sent, s.Seconds, s.Answered, s.Failed, causeList(s.Causes))
	t := &table{columns: []column{{"PHASE", false}, {"P50", true}, {"P99", true}, {"FAILED", true},
		{"CAPACITIES", true}, {"SHARES REACHED", true}, {"CONNECTIONS", true}}}
	for i, ph := range s.Phases {
		var want, kernel, client []float64
		for _, b := range ph.Backends {
			want, kernel, client = append(want, b.Expected), append(kernel, b.Kernel), append(client, b.Client)
		}
		t.add(fmt.Sprintf("%d %s", i+1, ph.Title), optionalSeconds(ph.P50), optionalSeconds(ph.P99), ph.Failed,
			shareList(want), shareList(kernel), shareList(client))
	}
	t.write(out, "  ", t.widths(nil), p)
	fmt.Fprintf(out, "\n  %s was killed: noticed after %s, out of the kernel after %s (the commit itself took %s)\n\n",
		s.Death.Backend, optionalSeconds(s.Death.Noticed), optionalSeconds(s.Death.Committed), optionalSeconds(s.Death.Commit))
	for _, c := range s.Checks {
		mark := p.paint(green, "✓")
		if !c.OK {
			mark = p.paint(red, "✗")
		}
		fmt.Fprintf(out, "  %s %s: %s\n", mark, c.Name, c.Figure)
	}
}

func causeList(causes map[string]int) string {
	text := ""
	for _, c := range []string{causeRefused, causeReset, causeTimeout, causeOther} {
		if n := causes[c]; n > 0 {
			text += fmt.Sprintf(", %d %s", n, c)
		}
	}
	if text == "" {
		return ""
	}
	return " (" + text[2:] + ")"
}

// demoNext is how to go on from the demo.
const demoNext = `
  On your own servers:
    sudo install bin/steelyard /usr/local/bin/    one static binary
    steelyard config reference > steelyard.yaml   every key with its default; edit services and probes
    steelyard check -c steelyard.yaml             says what is wrong, with line and column
    sudo steelyard run -c steelyard.yaml          balances; the rules stay if it stops
    sudo steelyard show                           shares, connections, CPU, and why
`
