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
	// CallCPU and CallWall bound one call; 0 means worker.CallCPU and CallWall.
	CallCPU, CallWall time.Duration
	// LoadCPU bounds the CPU time that compiling and starting a module takes; 0
	// means worker.LoadCPU. A Lua script has worker.LuaLoadCPU at most.
	LoadCPU time.Duration
	// Memory bounds the memory of one worker, bytes, without the pages of the
	// program, which all share; 0 means worker.DefaultMemory.
	Memory int64
	// Event takes what operators want to know: swaps, rollbacks, quarantines. It
	// must not block and may be called from several goroutines; nil drops them.
	Event func(core.Event)
}

// A Host runs policies. It is safe for concurrent use: calls of policies from
// different modules never wait for each other.
type Host struct {
	log     *slog.Logger
	event   func(core.Event)
	command []string
	calls   worker.Limits // of one call
	loads   worker.Limits // of one load of WASM

	mu       sync.RWMutex       // guards what follows
	policies map[string]*policy // by name

	loading sync.Mutex // one Load, Refresh or undo at a time
	record  recorder
	batches sync.Pool // of *batch
}

// NewHost makes a host that has loaded nothing and started nothing.
func NewHost(c Config) *Host {
	if len(c.Command) == 0 {
		c.Command = []string{"/proc/self/exe", "worker"}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Event == nil {
		c.Event = func(core.Event) {}
	}
	if c.CallCPU == 0 {
		c.CallCPU = worker.CallCPU
	}
	if c.CallWall == 0 {
		c.CallWall = worker.CallWall
	}
	if c.LoadCPU == 0 {
		c.LoadCPU = worker.LoadCPU
	}
	if c.Memory == 0 {
		c.Memory = worker.DefaultMemory
	}
	return &Host{
		log: c.Log, event: c.Event, command: c.Command,
		calls:    worker.Limits{CPU: c.CallCPU, Wall: c.CallWall, Memory: c.Memory},
		loads:    worker.Limits{CPU: c.LoadCPU, Wall: worker.LoadWall, Memory: c.Memory},
		policies: map[string]*policy{},
	}
}

// tendEvery is how often Run looks for what has had its time.
const tendEvery = 30 * time.Second

// Run holds the workers until ctx is done, then ends them. Meanwhile it ends the
// workers of versions that have stood by for long enough. Load and Schedule may
// be called before it; after it they start workers anew, so stop calling them
// first.
func (h *Host) Run(ctx context.Context) error {
	tick := time.NewTicker(tendEvery)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			h.tend(now)
		case <-ctx.Done():
			for _, p := range h.all() {
				p.stop()
			}
			return nil
		}
	}
}

// tend lets go of what has had its time.
func (h *Host) tend(now time.Time) {
	for _, p := range h.all() {
		p.tend(now)
	}
}

// all are the policies, in no order.
func (h *Host) all() []*policy {
	h.mu.RLock()
	defer h.mu.RUnlock()
	out := make([]*policy, 0, len(h.policies))
	for _, p := range h.policies {
		out = append(out, p)
	}
	return out
}

// find is the policy of a name; nil if none is loaded.
func (h *Host) find(name string) *policy {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.policies[name]
}

// WorkerMain is what "steelyard worker" runs: see worker.Main.
func WorkerMain() int { return worker.Main() }

// Shipped reports whether a policy is one of steelyard's own.
func (h *Host) Shipped(name string) bool {
	p := h.find(name)
	return p != nil && p.shipped
}

// tell publishes an event about a policy.
func (h *Host) tell(s core.Severity, service, message string) {
	h.event(core.Event{At: time.Now().UTC(), Severity: s, Topic: "policy", Service: service, Message: message})
}
