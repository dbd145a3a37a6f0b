// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"time"
)

const (
	demoWork     = 2 * time.Millisecond // CPU time of a request, before what HTTP costs
	demoLoad     = 0.60                 // of the capacity of all backends at the start
	demoLeast    = 40 * time.Second     // shorter, and a phase ends before the shares settle
	demoTimeout  = 10 * time.Second     // of a client's request: a queue is no failure
	demoService  = "web"
	demoHalved   = 1 // index of the backend that loses half its capacity
	demoVictim   = 2 // index of the backend that is killed
	demoKilled   = 2 // index of the phase
	demoReturned = 3 // index of the phase
)

// A demoBackend is a backend of the demo and what it can do.
type demoBackend struct {
	name  string
	quota float64 // share of a core
}

// demoBackends have equal weights in the configuration.
var demoBackends = []demoBackend{{"web1", 0.36}, {"web2", 0.18}, {"web3", 0.09}}

// A demoPhase is one act: what happens at its beginning, and what the backends
// can do from then on.
type demoPhase struct {
	title    string
	part     float64   // of the whole time
	capacity []float64 // per backend, share of a core; 0 is dead
}

// demoPhases is the plan. At every moment the living backends can carry the
// load, most of them at 85 %.
func demoPhases() []demoPhase {
	a, b, c := demoBackends[0].quota, demoBackends[1].quota, demoBackends[2].quota
	return []demoPhase{
		{"equal shares over unequal backends", 0.30, []float64{a, b, c}},
		{"web2 loses half its CPU", 0.27, []float64{a, b / 2, c}},
		{"web3 is killed", 0.16, []float64{a, b / 2, 0}},
		{"web3 comes back", 0.27, []float64{a, b / 2, c}},
	}
}

// lasts is the phase's length in a demo of this length.
func (p demoPhase) lasts(total time.Duration) time.Duration {
	return time.Duration(p.part * float64(total)).Round(100 * time.Millisecond)
}

// shares are what each backend should get: in proportion to what it can do.
func (p demoPhase) shares() []float64 {
	sum := 0.0
	for _, c := range p.capacity {
		sum += c
	}
	shares := make([]float64, len(p.capacity))
	for i, c := range p.capacity {
		shares[i] = c / sum
	}
	return shares
}

// demoRate is the rate in requests per second at which all backends together
// are loaded as demoLoad says, if a request costs this much CPU time.
func demoRate(cost time.Duration) float64 {
	sum := 0.0
	for _, b := range demoBackends {
		sum += b.quota
	}
	return demoLoad * sum / cost.Seconds()
}

// checkDemoSeconds refuses a demo that is too short to show anything.
func checkDemoSeconds(seconds int) (time.Duration, error) {
	d := time.Duration(seconds) * time.Second
	if d < demoLeast {
		return 0, usage(fmt.Errorf("--seconds %d: want at least %.0f, so that the shares can settle in every phase", seconds, demoLeast.Seconds()))
	}
	return d, nil
}
