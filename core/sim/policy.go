// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// A Scheduler runs policies, as the daemon's does. A run calls it from one
// goroutine; the names of services differ between runs, so that it may keep their
// states apart by them.
type Scheduler interface {
	Schedule(ctx context.Context, calls []core.Call) []core.Result
}

// A Policy is what a run balances by.
type Policy struct {
	Name      string // in calls and tables
	About     string
	Scheduler Scheduler // nil: shares by true capacity at every moment, which nobody can know
	Params    map[string]float64
	// Raw policies stand for other products: their weights are shares, without
	// any shaping.
	Raw   bool
	Every time.Duration // time between two decisions; 0 is the scenario's
}

// Best is the reference: shares by true capacity at every moment, without
// sensors, shaping or delay.
func Best() Policy {
	return Policy{Name: "best", About: "shares by true capacity at every moment, which no balancer can know"}
}
