// SPDX-License-Identifier: Apache-2.0

package builtin

import "github.com/steelyard-lb/steelyard/sdk/go/policy"

// minResponse is the least response time that counts, in seconds: below it the
// differences are the balancer's own noise.
const minResponse = 0.0001

// LeastResponse moves load towards the backends that answer fast, until all
// answer alike or the band is reached:
//
//	l  = r                            if r > l: bad news counts at once
//	   = l·e^(-dt/tau) + r·(1-e^(-dt/tau))   otherwise
//	e  = clip(ln(mean l / l), ±0.5)
//	u += clip(kp·(e - e') + ki·dt·e, ±0.25), kept within ±ln band
//	w  = b · e^u                      b configured weight
//
// l is the peak-EWMA of Finagle (PeakEwma.scala). The controller on the
// logarithm replaces "weight = 1/latency", which oscillates without end in our
// simulation: near saturation a little share makes much latency. A slow probe
// path stays within band, 4 by default: a quarter to four times the configured
// weight. CPU is not balanced by it; least-cpu does that.
func LeastResponse() policy.Policy {
	return policy.Policy{
		Name:  "least-response",
		About: "more for the backends that answer faster",
		Params: []policy.Param{
			{Name: "tau", Default: 10, Min: 0.1, Max: 600, Unit: "seconds", About: "time constant of the smoothing"},
			{Name: "kp", Default: 0.1, Min: 0, Max: 0.9, Unit: "ratio", About: "answer to a change of the error"},
			{Name: "ki", Default: 0.01, Min: 0, Max: 1, Unit: "per second", About: "answer to a lasting error"},
			{Name: "band", Default: 4, Min: 1, Max: 1000, Unit: "ratio", About: "largest factor between weight and configured weight"},
		},
		Reads:        []string{policy.ReadResponse},
		BackendSlots: 3,
		Schedule:     leastResponse,
	}
}

func leastResponse(s *policy.Snapshot) error {
	keep := exp(-s.Seconds() / s.Param("tau"))
	sum, n := 0.0, 0.0
	for i := range s.Len() {
		b, st := s.Backend(i), s.BackendState(i)
		r, ok := b.Response()
		if !takesPart(b) {
			clear(st)
			continue
		}
		if !ok {
			continue
		}
		st[ctlValue] = peakEWMA(st[ctlValue], atLeast(r, minResponse), keep)
		sum += st[ctlValue]
		n++
	}
	ctl := newController(s)
	for i := range s.Len() {
		b, st := s.Backend(i), s.BackendState(i)
		_, ok := b.Response()
		switch {
		case !takesPart(b):
			s.SetWeight(i, 0)
		case !ok:
			s.Hold(i)
		default:
			s.SetWeight(i, float64(b.Weight()*ctl.step(st, ln(sum/n/st[ctlValue]))))
		}
	}
	return nil
}

// peakEWMA follows a rise at once and a fall slowly.
func peakEWMA(before, now, keep float64) float64 {
	if now > before {
		return now
	}
	return float64(before*keep) + float64(now*(1-keep))
}
