// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/core"
)

// perfect is the log of a demo in which everything went as it should: views
// every half second with shares equal to the capacities from 4 s into a phase
// on, and 100 requests per second.
func perfect() *demoLog {
	start := time.Unix(1_800_000_000, 0).UTC()
	l := &demoLog{}
	at := start
	for i, p := range demoPhases() {
		l.begin(at)
		end := at.Add(p.lasts(time.Minute))
		if i == demoKilled {
			l.kill(at)
			l.failed = append(l.failed, clientFailure{at.Add(-20 * ms), at.Add(ms), causeReset, "reset by peer"},
				clientFailure{at.Add(100 * ms), at.Add(101 * ms), causeRefused, "refused"})
			l.decisions([]core.Decision{decisionWithout(at.Add(400*ms), demoVictim)})
		}
		for ; at.Before(end); at = at.Add(demoTick) {
			l.addView(at, l.phases[i], p)
			l.addAnswers(at, p)
		}
	}
	l.end(at)
	l.sent = len(l.done) + len(l.failed)
	return l
}

func decisionWithout(at time.Time, dead int) core.Decision {
	d := core.Decision{Service: demoService, Outcome: core.Applied, Commit: &core.Commit{At: at}, CommitSeconds: 0.001}
	for i, b := range demoBackends {
		slots := uint32(30000)
		if i == dead {
			slots = 0
		}
		d.Backends = append(d.Backends, core.BackendDecision{Backend: b.name, Slots: slots})
	}
	return d
}

func (l *demoLog) addView(at time.Time, span demoSpan, p demoPhase) {
	s := core.ServiceView{Name: demoService}
	for i, b := range demoBackends {
		bv := core.BackendView{Name: b.name, Health: core.Up, Share: 1.0 / 3, ConnectionsTotal: 1000, Since: span.From}
		if at.Sub(span.From) >= 4*time.Second || p.capacity[demoVictim] == 0 {
			bv.Share = p.shares()[i]
		}
		if p.capacity[i] == 0 {
			bv.Health, bv.Since = core.Down, span.From.Add(300*ms)
		}
		s.Backends = append(s.Backends, bv)
	}
	// The counters are read every 2 s.
	l.view(core.NodeView{At: at, Kernel: core.KernelView{CountersAt: at.Truncate(2 * time.Second)}, Services: []core.ServiceView{s}})
}

// addAnswers adds 50 answers, spread as the shares say.
func (l *demoLog) addAnswers(at time.Time, p demoPhase) {
	sent := 0.0
	for i, share := range p.shares() {
		from := math.Round(50 * sent)
		sent += share
		for range int(math.Round(50*sent) - from) {
			l.done = append(l.done, demoAnswer{i, clientAnswer{at, 0.005}})
		}
	}
}

func TestChecksHold(t *testing.T) {
	for _, c := range perfect().checks() {
		if !c.OK {
			t.Errorf("%s: %s", c.Name, c.Figure)
		}
	}
}

// TestChecksCanFail breaks one thing at a time and wants the check that speaks
// of it to fail, and no other.
func TestChecksCanFail(t *testing.T) {
	setShare := func(phase, backend int, from time.Duration, share float64) func(*demoLog) {
		return func(l *demoLog) {
			for _, v := range l.views {
				if s := l.phases[phase]; s.holds(v.at) && v.at.Sub(s.From) >= from {
					v.service.Backends[backend].Share = share
				}
			}
		}
	}
	tests := []struct {
		name  string
		spoil func(*demoLog)
		want  []string // parts of the names of the checks that fail
	}{
		{"shares stay equal", func(l *demoLog) {
			for i := range demoBackends {
				setShare(0, i, 0, 1.0/3)(l)
			}
		}, []string{"equal shares became", "spread as the shares"}},
		{"shares leave again", setShare(1, demoHalved, 9*time.Second, 0.29), []string{"followed", "spread as the shares"}},
		{"the commit is late", func(l *demoLog) { l.death.Commit.At = l.killed.Add(1500 * ms) }, []string{"took web3 out"}},
		{"no commit", func(l *demoLog) { l.death = nil }, []string{"took web3 out", "dead web3", "no request failed"}},
		{"the kernel sent a connection to the dead", func(l *demoLog) {
			for last, i := l.lastView(l.phases[demoKilled]), 0; i < len(l.views); i++ {
				if l.views[i].counted.Equal(last.counted) {
					l.views[i].service.Backends[demoVictim].ConnectionsTotal++
				}
			}
		}, []string{"dead web3"}},
		{"the counters were not read again", func(l *demoLog) {
			for i := range l.views {
				l.views[i].counted = l.phases[demoKilled].From
			}
		}, []string{"dead web3"}},
		{"the dead answered", func(l *demoLog) {
			l.done = append(l.done, demoAnswer{demoVictim, clientAnswer{l.killed.Add(3 * time.Second), 0.01}})
		}, []string{"dead web3"}},
		{"a failure before the kill", func(l *demoLog) {
			at := l.phases[0].From.Add(time.Second)
			l.failed = append(l.failed, clientFailure{at, at.Add(ms), causeTimeout, "timed out"})
		}, []string{"no request failed"}},
		{"a failure after the commit", func(l *demoLog) {
			at := l.death.Commit.At.Add(ms)
			l.failed = append(l.failed, clientFailure{at, at.Add(ms), causeRefused, "refused"})
		}, []string{"no request failed"}},
		{"it never comes back", func(l *demoLog) {
			for _, v := range l.views {
				if l.phases[demoReturned].holds(v.at) {
					v.service.Backends[demoVictim].Health = core.Down
				}
			}
		}, []string{"seen to be back"}},
		{"connections ignore the shares", func(l *demoLog) {
			for i, a := range l.done {
				if l.phases[1].holds(a.Started) {
					l.done[i].backend = i % 2
				}
			}
		}, []string{"spread as the shares"}},
		{"the client could not keep up", func(l *demoLog) { l.skip = 1 }, []string{"kept its rate"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := perfect()
			tt.spoil(l)
			var failed []string
			for _, c := range l.checks() {
				if !c.OK {
					failed = append(failed, c.Name)
				}
			}
			if len(failed) != len(tt.want) {
				t.Fatalf("failed: %q, want those with %q", failed, tt.want)
			}
			for i, part := range tt.want {
				if !strings.Contains(failed[i], part) {
					t.Errorf("failed: %q, want those with %q", failed, tt.want)
				}
			}
			if err := l.summary(100, ms).verdict(); err == nil {
				t.Error("the demo would have exited with 0")
			}
		})
	}
}

// A count that was read before the commit is no baseline, however late the view.
func TestSilenceNeedsAFreshCount(t *testing.T) {
	l := perfect()
	for i, v := range l.views {
		if l.phases[demoKilled].From.After(v.counted) {
			l.views[i].service.Backends[demoVictim].ConnectionsTotal -= 2 // they came before the kill
		}
	}
	if c := l.checkSilence(); !c.OK {
		t.Errorf("%s: %s", c.Name, c.Figure)
	}
}

// The decisions after the commit name it too; its time is that of its own.
func TestDeathIsTheDecisionOfTheCommit(t *testing.T) {
	l := &demoLog{}
	at := time.Unix(1_800_000_000, 0)
	l.kill(at)
	applied := decisionWithout(at.Add(400*ms), demoVictim)
	later := applied
	later.Outcome, later.CommitSeconds = core.Unchanged, 0
	l.decisions([]core.Decision{later, applied})
	if l.death == nil || l.death.CommitSeconds != 0.001 {
		t.Errorf("the decision found is %+v", l.death)
	}
}

// Traffic waits for equal shares: a backend that missed its first probes has a
// slow start to go through.
func TestDemoBeginsEqual(t *testing.T) {
	view := func(shares ...float64) core.NodeView {
		s := core.ServiceView{Name: demoService}
		for i, share := range shares {
			s.Backends = append(s.Backends, core.BackendView{Name: demoBackends[i].name, Health: core.Up, Share: share, Slots: 1})
		}
		return core.NodeView{Services: []core.ServiceView{s}}
	}
	if err := allEqual(view(0.331, 0.339, 0.33)); err != nil {
		t.Error(err)
	}
	if err := allEqual(view(0.487, 0.027, 0.487)); err == nil {
		t.Error("shares of 48.7, 2.7 and 48.7 % count as equal")
	}
}

func TestChecksOfAnInterruptedDemo(t *testing.T) {
	l := &demoLog{}
	l.begin(time.Unix(0, 0))
	if cs := l.checks(); len(cs) != 1 || cs[0].OK {
		t.Errorf("checks %+v, want one that failed", cs)
	}
}

func TestPlan(t *testing.T) {
	var parts float64
	total := 0.0
	for _, b := range demoBackends {
		total += b.quota
	}
	for _, p := range demoPhases() {
		parts += p.part
		capacity := 0.0
		for _, c := range p.capacity {
			capacity += c
		}
		if load := demoLoad * total / capacity; load > 0.9 {
			t.Errorf("%s: the living backends are loaded at %.0f %%, and cannot settle", p.title, 100*load)
		}
		sum := 0.0
		for _, s := range p.shares() {
			sum += s
		}
		if math.Abs(sum-1) > 1e-9 {
			t.Errorf("%s: the shares add up to %g", p.title, sum)
		}
	}
	if math.Abs(parts-1) > 1e-9 {
		t.Errorf("the phases take %g of the time", parts)
	}
	if got := demoRate(2450 * time.Microsecond); math.Abs(got-154) > 1 {
		t.Errorf("rate %g, want 0.60 × 0.63 core / 2.45 ms", got)
	}
}

func TestQuantile(t *testing.T) {
	values := []float64{5, 1, 4, 2, 3}
	for q, want := range map[float64]float64{0: 1, 0.5: 3, 0.8: 4, 0.99: 5, 1: 5} {
		if got := quantile(values, q); got != want {
			t.Errorf("quantile %g is %g, want %g", q, got, want)
		}
	}
	if got := quantile(nil, 0.5); !math.IsNaN(got) {
		t.Errorf("quantile of nothing is %g", got)
	}
}

func TestSummary(t *testing.T) {
	s := perfect().summary(100, 2*ms)
	if !s.OK || s.verdict() != nil || s.Failed != 2 || s.Causes[causeRefused] != 1 || len(s.Phases) != 4 {
		t.Errorf("summary %+v", s)
	}
	if d := s.Death; *d.Noticed != 0.3 || *d.Committed != 0.4 || *d.Commit != 0.001 {
		t.Errorf("death %+v", d)
	}
	var back demoSummary
	raw, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(s, back); diff != "" {
		t.Errorf("JSON loses something (-want +got):\n%s", diff)
	}
	var out bytes.Buffer
	s.write(&out, false)
	for _, want := range []string{"2 failed (1 refused, 1 reset)", "57 : 29 : 14", "80 : 20 : 0", "✓ ", "noticed after 300 ms"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, &out)
		}
	}
}

func TestScreen(t *testing.T) {
	l := perfect()
	now := l.phases[demoKilled].From.Add(3 * time.Second)
	l.phases = l.phases[:demoKilled+1]
	for len(l.views) > 0 && l.views[len(l.views)-1].at.After(now) {
		l.views = l.views[:len(l.views)-1]
	}
	var out bytes.Buffer
	terminal := &demoScreen{out: &out, terminal: true}
	terminal.draw(l, now, now.Add(20*time.Second))
	first := out.String()
	for _, want := range []string{"BACKEND", "WHY", "web3", "down", "0% of a core", "80.0%", "20s left"} {
		if !strings.Contains(first, want) {
			t.Errorf("no %q in:\n%s", want, first)
		}
	}
	terminal.draw(l, now, now.Add(20*time.Second))
	if again := strings.TrimPrefix(out.String(), first); !strings.HasPrefix(again, "\x1b[5A\x1b[J") {
		t.Errorf("the second table does not replace the five lines of the first: %q", again)
	}

	out.Reset()
	plain := &demoScreen{out: &out}
	for range 4 {
		plain.draw(l, now, now)
		now = now.Add(2 * time.Second)
	}
	if n := strings.Count(out.String(), "\n"); n != 2 {
		t.Errorf("%d plain lines in 6 s, want one every 5 s:\n%s", n, &out)
	}
}
