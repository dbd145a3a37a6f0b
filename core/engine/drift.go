// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// A Drifter is an Applier that notices when somebody else has changed what it
// wrote. A call is cheap while nobody writes to the ruleset.
type Drifter interface {
	Drift(ctx context.Context) (core.Drift, bool, error)
	// Owned reports that the kernel keeps everybody else out.
	Owned() bool
}

const (
	// driftEvery is a little less than a tick, so that drift is looked for at each.
	// A look takes some 0.1 ms. With a commit of some milliseconds, and of 20 where
	// the kernel has to find memory for the whole table, a repair is in force within
	// 100 ms, unless others keep the processors busy.
	driftEvery = tick * 3 / 4
	// driftShare bounds the time spent on it where others change the ruleset all
	// the time, and each look reads the whole table.
	driftShare = 10
)

// drifts is the bookkeeping of the search for drift.
type drifts struct {
	dueAt time.Time
	total uint64
	last  core.Drift
	open  bool // not repaired yet
}

// A driftOutcome is what became of a look.
type driftOutcome struct {
	drift   core.Drift
	drifted bool
	took    time.Duration
}

// launchDrift looks for drift if that is due, and reports whether it does.
func (e *Engine) launchDrift(ctx context.Context) bool {
	d, ok := e.cfg.Applier.(Drifter)
	began := time.Now()
	if !ok || began.Before(e.drifts.dueAt) || d.Owned() {
		return false
	}
	e.run(ctx, func() commitResult {
		var o driftOutcome
		var err error
		o.drift, o.drifted, err = d.Drift(ctx)
		o.took = time.Since(began)
		return commitResult{drift: &o, err: err}
	})
	return true
}

// takeDrift has what somebody else did undone.
func (e *Engine) takeDrift(o driftOutcome, err error) {
	e.drifts.dueAt = time.Now().Add(max(driftEvery, driftShare*o.took))
	if err != nil {
		e.kernel.lastErr = err.Error()
		return
	}
	if !o.drifted {
		return
	}
	o.drift.Node = e.cfg.Node
	e.drifts.total++
	e.drifts.last, e.drifts.open = o.drift, true
	e.log.Warn("somebody else changed the table; it is being repaired", "process", o.drift.Process, "pid", o.drift.PID, "what", o.drift.What)
	e.event(core.Warn, "drift", "", "", driftText(o.drift))
	e.committer.needSync, e.committer.retryAt = true, time.Now()
}

// repaired says that a full sync has put the table right.
func (e *Engine) repaired(c core.Commit) {
	if !e.drifts.open {
		return
	}
	e.drifts.open = false
	took := c.At.Sub(e.drifts.last.At).Round(100 * time.Microsecond)
	e.event(core.Info, "drift", "", "", fmt.Sprintf("repaired %s after it was noticed", took))
}

// driftText is a drift in a sentence.
func driftText(d core.Drift) string {
	who := "an unknown process"
	if d.Process != "" {
		who = fmt.Sprintf("%s (thread %d)", d.Process, d.PID)
	}
	return fmt.Sprintf("the table was changed by %s: %s", who, strings.Join(d.What, "; "))
}
