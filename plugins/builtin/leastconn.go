// SPDX-License-Identifier: Apache-2.0

package builtin

import "github.com/steelyard-lb/steelyard/sdk/go/policy"

// Slots of a backend's state, for the two policies with a controller.
const (
	ctlU     = iota // log of weight over configured weight
	ctlErr          // error of the decision before
	ctlValue        // smoothed measurement; of least-response only
)

// maxStep bounds the change of a weight in one decision to e^±0.25.
const maxStep = 0.25

// maxErr bounds the error. Without it a backend that leaves saturation, where
// connections and response times are without bound, would be welcomed back with
// a jump that saturates it again.
const maxErr = 0.5

// maxSeconds bounds the time that one decision integrates over, so that a
// pause of the daemon is not taken for a long agreement with its last reading.
const maxSeconds = 10

// LeastConn steers the number of open connections of each backend towards its
// configured weight's part of all of them:
//
//	target c* = C · b / Σb            b configured weight, C all connections
//	e  = clip(ln((c*+1)/(c+1)), ±0.5) +1: one connection more or less on an
//	                                  idle backend is no news
//	u += clip(kp·(e - e') + ki·dt·e, ±0.25)
//	w  = b · e^u                      |u| at most ln band
//
// It is the update w *= exp(clip(ki·ln(c*/c))) of our research, the weights-map
// form of LVS wlc and sed (ip_vs_wlc.c, ip_vs_sed.c), with a proportional part
// in velocity form. That part damps: connections are the integral of the share
// over their life L, and an integral controller on an integrating plant rings
// with a damping of 1/(2·sqrt(ki·L)); kp makes it (1+kp)/(2·sqrt(ki·L)). Short
// connections set the limit from the other side: their count follows the share
// at once, and 1/(1-load) times as strongly. In our closed loops kp 0.1 and ki
// 0.02 settle for lives from 20 ms to 60 s, and kp 0.3 does not for 20 ms. Lives
// of many minutes ring slowly: use a smaller ki. An exact choice for each
// connection is not possible in a map of weights.
func LeastConn() policy.Policy {
	return policy.Policy{
		Name:  "least-conn",
		About: "shares that lead to open connections in proportion to the configured weights",
		Params: []policy.Param{
			{Name: "kp", Default: 0.1, Min: 0, Max: 0.9, Unit: "ratio", About: "answer to a change of the error"},
			{Name: "ki", Default: 0.02, Min: 0, Max: 1, Unit: "per second", About: "answer to a lasting error"},
			{Name: "band", Default: 8, Min: 1, Max: 1000, Unit: "ratio", About: "largest factor between weight and configured weight"},
		},
		Reads:        []string{policy.ReadConnections},
		BackendSlots: 2,
		Schedule:     leastConn,
	}
}

func leastConn(s *policy.Snapshot) error {
	conns, weights := 0.0, 0.0
	for i := range s.Len() {
		b := s.Backend(i)
		if c, ok := b.Connections(); ok && takesPart(b) {
			conns += c
			weights += b.Weight()
		}
	}
	ctl := newController(s)
	for i := range s.Len() {
		b, st := s.Backend(i), s.BackendState(i)
		c, ok := b.Connections()
		switch {
		case !takesPart(b):
			clear(st)
			s.SetWeight(i, 0)
		case !ok:
			s.Hold(i)
		default:
			target := conns * (b.Weight() / weights)
			s.SetWeight(i, float64(b.Weight()*ctl.step(st, ln((target+1)/(c+1)))))
		}
	}
	return nil
}

// A controller is a PI controller of a log weight, in velocity form.
type controller struct {
	kp, ki float64 // ki of this decision
	band   float64 // bound of |u|
}

func newController(s *policy.Snapshot) controller {
	return controller{
		kp:   s.Param("kp"),
		ki:   float64(s.Param("ki") * min(s.Seconds(), maxSeconds)),
		band: ln(s.Param("band")),
	}
}

// step moves the log weight in a backend's state by an error and returns the
// factor on the configured weight.
func (c controller) step(st []float64, e float64) float64 {
	e = clamp(e, maxErr)
	du := float64(c.kp*(e-st[ctlErr])) + float64(c.ki*e)
	st[ctlU] = clamp(st[ctlU]+clamp(du, maxStep), c.band)
	st[ctlErr] = e
	return exp(st[ctlU])
}
