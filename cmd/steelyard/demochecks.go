// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

const (
	// demoTolerance is how far a share may be from the backend's part of the
	// capacity.
	demoTolerance = 0.05
	// demoSettled is the end of a phase in which shares must be right: this part
	// of it.
	demoSettled = 0.4
	// demoNotice bounds the time from the kill to the commit: two runs of the
	// health probe with a time-out each would take 0.7 s.
	demoNotice = time.Second
	// demoSigmas bounds the chance that connections stray from the shares: 4 σ
	// happens once in 16,000.
	demoSigmas = 4.0
)

// A demoCheck is one thing that the demo claims, and whether it happened.
type demoCheck struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Figure string `json:"figure"`
}

// checks looks at a demo that has ended.
func (l *demoLog) checks() []demoCheck {
	l.mu.Lock()
	defer l.mu.Unlock()
	plan := demoPhases()
	if len(l.phases) < len(plan) {
		return []demoCheck{{"all phases were run", false, fmt.Sprintf("%d of %d", len(l.phases), len(plan))}}
	}
	return []demoCheck{
		l.checkSettled("equal shares became the backends' capacities", 0),
		l.checkSettled("the shares followed when web2 lost half its CPU", 1),
		l.checkDeath(),
		l.checkSilence(),
		l.checkSettled("web3's share went to the others", demoKilled),
		l.checkReturn(),
		l.checkSettled("web3 got its share back", demoReturned),
		l.checkConnections(),
		l.checkFailures(),
		{"the client kept its rate", l.skip == 0, fmt.Sprintf("%d requests sent, %d skipped", l.sent, l.skip)},
	}
}

// settled is the part of a phase in which its shares must hold.
func (l *demoLog) settled(phase int) demoSpan {
	s := l.phases[phase]
	return s.last(time.Duration(demoSettled * float64(s.To.Sub(s.From))))
}

// checkSettled wants the shares in the kernel, averaged over the settled end of
// the phase, to be those of the capacities.
func (l *demoLog) checkSettled(name string, phase int) demoCheck {
	span, want := l.phases[phase], demoPhases()[phase].shares()
	reached := "never"
	for _, v := range l.views {
		if span.holds(v.at) && distance(v.shares(), want) <= demoTolerance {
			reached = seconds(v.at.Sub(span.From).Seconds())
			break
		}
	}
	settled := l.settled(phase)
	mean := l.meanShares(settled)
	return demoCheck{name, distance(mean, want) <= demoTolerance, fmt.Sprintf(
		"%s expected; first within %.0f points after %s; %s in the last %s",
		shareList(want), 100*demoTolerance, reached, shareList(mean), seconds(settled.To.Sub(settled.From).Seconds()))}
}

// distance is the largest distance of a share from what it should be.
func distance(got, want []float64) float64 {
	off := 0.0
	for i, w := range want {
		off = max(off, math.Abs(got[i]-w))
	}
	return off
}

func shareList(shares []float64) string {
	s := ""
	for i, x := range shares {
		if i > 0 {
			s += " : "
		}
		s += fmt.Sprintf("%.0f", 100*x)
	}
	return s
}

func (l *demoLog) checkDeath() demoCheck {
	const name = "the kernel took web3 out when it died"
	if l.death == nil {
		return demoCheck{name, false, "no commit without web3 was seen"}
	}
	after := l.death.Commit.At.Sub(l.killed)
	figure := fmt.Sprintf("%s after the kill", seconds(after.Seconds()))
	if !l.noted.IsZero() {
		figure += fmt.Sprintf("; noticed after %s, committed %s later",
			seconds(l.noted.Sub(l.killed).Seconds()), seconds(l.death.Commit.At.Sub(l.noted).Seconds()))
	}
	return demoCheck{name, after <= demoNotice, figure}
}

// checkSilence compares the kernel's own count of web3's connections at two times
// after the commit. The daemon reads that count once in a while, so a view may
// have one that is older than the commit; the time of the reading tells.
func (l *demoLog) checkSilence() demoCheck {
	const name = "no connection went to the dead web3"
	if l.death == nil {
		return demoCheck{name, false, "it was never taken out"}
	}
	span := demoSpan{l.death.Commit.At, l.phases[demoKilled].To}
	var first, last *demoView
	for i, v := range l.views {
		if span.holds(v.counted) {
			if first == nil {
				first = &l.views[i]
			}
			last = &l.views[i]
		}
	}
	if first == nil || !last.counted.After(first.counted) {
		return demoCheck{name, false, "too few readings to tell"}
	}
	n := last.backend(demoVictim).ConnectionsTotal - first.backend(demoVictim).ConnectionsTotal
	late := 0
	for _, a := range l.done {
		if a.backend == demoVictim && (demoSpan{l.death.Commit.At, l.phases[demoKilled].To}).holds(a.Started) {
			late++
		}
	}
	return demoCheck{name, n == 0 && late == 0, fmt.Sprintf("the kernel counted %d, the client %d", n, late)}
}

func (l *demoLog) checkReturn() demoCheck {
	const name = "web3 was seen to be back"
	span := l.phases[demoReturned]
	for _, v := range l.views {
		if b := v.backend(demoVictim); span.holds(v.at) && b.Health == core.Up && b.Share > 0 {
			return demoCheck{name, true, fmt.Sprintf("in service %s after its start", seconds(v.at.Sub(span.From).Seconds()))}
		}
	}
	return demoCheck{name, false, "it was never up with a share"}
}

// checkConnections compares what the client got with what the kernel was told,
// where the shares had settled.
func (l *demoLog) checkConnections() demoCheck {
	const name = "connections were spread as the shares say"
	worst, figure := 0.0, ""
	for phase := range l.phases {
		span := l.settled(phase)
		latencies, _ := l.requests(span)
		got, n := shares(latencies)
		told := l.meanShares(span)
		for i := range got {
			sigma := math.Sqrt(told[i]*(1-told[i])/math.Max(float64(n), 1)) + 0.5/65536
			if off := math.Abs(got[i]-told[i]) / sigma; off >= worst {
				worst, figure = off, fmt.Sprintf("largest gap %.1f σ: %s in phase %d got %s of %d, its share says %s",
					off, demoBackends[i].name, phase+1, ratio(got[i]), n, ratio(told[i]))
			}
		}
	}
	return demoCheck{name, worst <= demoSigmas, figure}
}

// meanShares are the backends' shares in the kernel, averaged over the span.
func (l *demoLog) meanShares(s demoSpan) []float64 {
	mean := make([]float64, len(demoBackends))
	n := 0
	for _, v := range l.views {
		if !s.holds(v.at) {
			continue
		}
		n++
		for i, share := range v.shares() {
			mean[i] += share
		}
	}
	for i := range mean {
		mean[i] /= math.Max(float64(n), 1)
	}
	return mean
}

// checkFailures wants every failed request to be one that met the dead backend
// before the kernel knew: begun before the commit, ended after the kill.
func (l *demoLog) checkFailures() demoCheck {
	const name = "no request failed but those the dead web3 had"
	others := l.unexplained()
	figure := fmt.Sprintf("%d failed between the kill and the commit, %d others", len(l.failed)-len(others), len(others))
	if len(others) > 0 {
		first := others[0]
		figure += fmt.Sprintf("; the first of them began %s into the demo, and the kernel refused %d itself: %s",
			seconds(first.Started.Sub(l.phases[0].From).Seconds()), l.views[len(l.views)-1].service.RefusedTotal, first.Error)
	}
	return demoCheck{name, len(others) == 0, figure}
}

func (l *demoLog) unexplained() []clientFailure {
	others := []clientFailure{}
	for _, f := range l.failed {
		if !l.explained(f) {
			others = append(others, f)
		}
	}
	return others
}

func (l *demoLog) explained(f clientFailure) bool {
	if l.death == nil || l.killed.IsZero() {
		return false
	}
	return !f.Started.After(l.death.Commit.At) && !f.Ended.Before(l.killed)
}
