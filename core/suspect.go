// SPDX-License-Identifier: Apache-2.0

package core

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// A Suspicion decides whether it is this node, and not the backends, whose probes
// fail: its uplink is gone, its connection tracking table is full, it has no file
// descriptors left.
//
// Good counts the health probes that were good until now: those whose state is up,
// and those that went down within the last Horizon. Failing are those of them whose
// latest sample is bad. Who keeps both numbers adds and takes away one at a change, so
// that a sample costs the same whatever the number of probes.
//
// # Why this counts what fails at once
//
// Let I be the longest interval with its jitter and T the longest timeout. The uplink
// dies at time 0. By I each probe has begun a run, and by I + T its latest sample is
// bad: all of Good fail then, SuspectRatio of them at about SuspectRatio × I + T. With
// Fall = f the first probe can tip no sooner than (f-1) intervals after its first bad
// sample. Three of 2 s: the first tips at 4 s, 80 % fail at 1.6 s; nothing goes down.
//
// Where Fall is 1, or FastInterval makes the next samples come sooner than others
// their first, some tip before it is clear that all do. They went down within I + T of
// the one cause, so Horizon is I + T, of the quickest probes that are enough: they are
// still counted, and what they said is taken back when the suspicion begins.
//
// Those that were down before count for nothing: with 85 of 100 dead for long, Good is
// 15, and an uplink that dies makes all 15 fail. And with ten of 100 dying at once,
// Failing is a tenth of Good, and they go down as ever.
//
// Where all that fail are of a few machines, those have died, however many backends
// they were; who keeps the numbers has to see to that, and to Dismiss.
//
// It ends when less than half of SuspectRatio still fail, or after SuspectFor. From
// then on verdicts count, and it does not begin again until it would have ended, too:
// what still fails was not our doing, or is not over.
type Suspicion struct {
	Good, Failing int

	since time.Time // zero while there is none
	spent bool      // it has lasted for SuspectFor
}

// A Turn is what a Suspicion comes to.
type Turn uint8

// The turns.
const (
	NoTurn         Turn = iota
	SuspicionBegan      // nothing goes down from now on
	SuspicionEnded      // the probes answer again
	SuspicionSpent      // it has lasted as long as it may, and they still fail
)

// Judge follows the numbers.
func (s *Suspicion) Judge(p Probing, now time.Time) Turn {
	failing, ratio := float64(s.Failing), p.SuspectRatio
	switch good := float64(s.Good); {
	case s.since.IsZero():
		if ratio <= 0 || s.Good < max(1, p.SuspectMin) || failing <= ratio*good {
			return NoTurn
		}
		s.since, s.spent = now, false
		return SuspicionBegan
	case ratio <= 0 || s.Good == 0 && s.spent || failing < ratio/2*good: // with none sampled since a reload nothing is known
		was := s.Frozen()
		s.since = time.Time{}
		if was {
			return SuspicionEnded
		}
	case !s.spent && p.SuspectFor > 0 && now.Sub(s.since) >= p.SuspectFor:
		s.spent = true
		return SuspicionSpent
	}
	return NoTurn
}

// Dismiss ends a suspicion: what fails is of a few machines, or there are no probes.
func (s *Suspicion) Dismiss() { s.since = time.Time{} }

// Frozen reports whether nothing goes down for now, and since when.
func (s *Suspicion) Frozen() bool { return !s.since.IsZero() && !s.spent }

// Since is when the suspicion began; zero if there is none.
func (s *Suspicion) Since() time.Time { return s.since }

// Due is when the suspicion is spent; zero while there is none.
func (s *Suspicion) Due(p Probing) time.Time {
	if !s.Frozen() || p.SuspectFor <= 0 {
		return time.Time{}
	}
	return s.since.Add(p.SuspectFor)
}

// Horizon is how long ago a probe may have gone down and still be of the same event. By
// then that event has made more than ratio of all health probes fail, each within its
// longest interval with jitter and its timeout. The slowest of many kinds do not count:
// with an hour that one of them takes, all that died one after another within an hour
// would be one event. targets is how many backends each probe has.
func Horizon(probes map[string]ProbeSpec, targets map[string]int, ratio float64) time.Duration {
	type kind struct {
		takes   time.Duration
		targets int
	}
	var kinds []kind
	all := 0
	for name, n := range targets {
		p := probes[name]
		if p.Role != HealthRole {
			continue
		}
		longest := max(p.Interval, p.DownInterval, p.FastInterval)
		kinds = append(kinds, kind{time.Duration(float64(longest)*(1+p.Jitter)) + p.Timeout, n})
		all += n
	}
	slices.SortFunc(kinds, func(a, b kind) int { return cmp.Compare(a.takes, b.takes) })
	fail := 0
	for _, k := range kinds {
		if fail += k.targets; float64(fail) > ratio*float64(all) {
			return k.takes
		}
	}
	return 0
}

// SuspectText says what is suspected: failing of good probes fail, most of them with a
// code and a detail.
func SuspectText(failing, good int, code Code, detail string) string {
	text := fmt.Sprintf("%d of %d health probes that were good fail at once: we suspect this node, and no backend goes down for now", failing, good)
	if code == "" {
		return text
	}
	text += fmt.Sprintf("; most say %s", code)
	if detail != "" {
		text += " (" + detail + ")"
	}
	return text + ": " + suspects(code)
}

// suspects is where to look when nearly all probes end with a code.
func suspects(code Code) string {
	switch code {
	case Internal:
		return "the sentence names the cause; `too many open files` and `no buffer space` are limits of this process"
	case L4Refused, L7Status, L7Expect, L7Response, DNSRCode, DNSAnswer:
		return "something on the way answers for all of them; look at the firewall of this node and at its routes"
	}
	return "look at the uplink and the routes of this node, and for `nf_conntrack: table full` in dmesg"
}
