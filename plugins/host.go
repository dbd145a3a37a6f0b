// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/plugins/worker"
)

// Config is what a Host needs. The zero value is good.
type Config struct {
	// Command is the program that calls WorkerMain; empty means this binary
	// with the argument "worker".
	Command []string
	Log     *slog.Logger // nil means silence
	// CallCPU and CallWall bound one call: CPU time of the worker, and time on
	// the wall, for a worker that sleeps or cannot run. 0 means 50 ms and 2 s.
	CallCPU, CallWall time.Duration
}

// What bounds a call and a load where Config does not say.
const (
	defaultCallCPU  = 50 * time.Millisecond
	defaultCallWall = 2 * time.Second
	memoryCap       = 256 << 20 // of a worker, bytes
	moduleCap       = 128 << 20 // of what a module leaves behind once it is compiled
)

// Compiling a Go module takes about half a second and leaves the worker at 30
// MiB, after a peak of 50; a module made to hurt the compiler takes minutes.
var loadLimits = worker.Limits{CPU: 10 * time.Second, Wall: 60 * time.Second, RSS: memoryCap}

// A Host runs policies. It is safe for concurrent use: calls of shipped
// policies never wait for calls of users' policies made by another goroutine.
type Host struct {
	log           *slog.Logger
	shipped, user *lane

	mu       sync.Mutex          // guards what follows
	programs map[string]*program // by policy name
	nextID   uint32
	states   map[stateKey]*state

	loading sync.Mutex // one Load at a time
}

// NewHost makes a host that has loaded nothing and started nothing.
func NewHost(c Config) *Host {
	if len(c.Command) == 0 {
		c.Command = []string{"/proc/self/exe", "worker"}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.CallCPU == 0 {
		c.CallCPU = defaultCallCPU
	}
	if c.CallWall == 0 {
		c.CallWall = defaultCallWall
	}
	limits := worker.Limits{CPU: c.CallCPU, Wall: c.CallWall, RSS: memoryCap}
	return &Host{
		log:      c.Log,
		shipped:  &lane{name: "shipped", command: c.Command, limits: limits, log: c.Log},
		user:     &lane{name: "user", command: c.Command, limits: limits, log: c.Log},
		programs: map[string]*program{},
		states:   map[stateKey]*state{},
	}
}

// Run holds the workers until ctx is done, then ends them. Load and Schedule
// may be called before it; after it they start workers anew, so stop calling
// them first.
func (h *Host) Run(ctx context.Context) error {
	<-ctx.Done()
	h.shipped.stop()
	h.user.stop()
	return nil
}

// WorkerMain is what "steelyard worker" runs: see worker.Main.
func WorkerMain() int { return worker.Main() }

// Schedule runs the policies of calls and returns one Result per call, in
// order. Step 4 of 7. It blocks until all are done: microseconds per call, up
// to some 100 ms when a user's policy has to be killed. A caller that must not
// wait for users' policies asks Shipped and makes two calls at a time.
func (h *Host) Schedule(ctx context.Context, calls []core.Call) []core.Result {
	results := make([]core.Result, len(calls))
	var shipped, user []*job
	for i := range calls {
		j := h.prepare(&calls[i], &results[i])
		switch {
		case j == nil:
		case j.program.lane == h.shipped:
			shipped = append(shipped, j)
		default:
			user = append(user, j)
		}
	}
	var wg sync.WaitGroup
	if len(user) > 0 && len(shipped) > 0 {
		wg.Go(func() { h.user.run(ctx, user, h.finish) })
	} else if len(user) > 0 {
		h.user.run(ctx, user, h.finish)
	}
	if len(shipped) > 0 {
		h.shipped.run(ctx, shipped, h.finish)
	}
	wg.Wait()
	return results
}

// Shipped reports whether a policy is one of steelyard's own.
func (h *Host) Shipped(name string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := h.programs[name]
	return p != nil && p.lane == h.shipped
}
