// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// A Runner probes a set of targets. Fill the exported fields before the first
// call and leave them alone afterwards.
type Runner struct {
	Node string // goes into every sample
	// Out takes each sample. It is called from many goroutines at once; while
	// it blocks, only the target whose sample it holds waits.
	Out func(core.Sample)
	Log *slog.Logger // nil means no log
	// Concurrency bounds the runs at one time by probe type. A type that is not there
	// has the limit that Stats shows: of commands 64, of all else as many as files
	// allow, 16384 at most. A run that must wait is not counted as slow.
	Concurrency map[string]int

	prepare func(Target) prober // nil means newProber; tests put theirs here
	places  places

	mu   sync.Mutex
	want map[watchKey]Target // guarded by mu; what SetTargets asked for last; nil once it is so
	// wake has capacity 1: a pending wake-up covers every later SetTargets, so
	// nothing is lost when it is full. Made under mu, then constant.
	wake chan struct{}
}

// A watchKey names a target: a backend has one probe of each name.
type watchKey struct {
	id    core.BackendID
	probe string
}

// SetTargets replaces the set of targets, before or while Run runs.
//
// Targets whose Spec differs in Name, Role, Rise and Fall only, and which so ask the
// same address the same question, are asked once, and each gets a sample of its own. A
// question that was asked before keeps its timer and its state whoever comes and goes;
// a newcomer gets its first sample as soon as after a start: within half a second, or a
// second for each 8,000 that come together, and its interval at most. A target that is gone
// gets no sample any more, of a run in progress neither. Of two targets with the same
// ID and Spec.Name the later one counts.
func (r *Runner) SetTargets(ts []Target) {
	want := make(map[watchKey]Target, len(ts))
	for _, t := range ts {
		want[watchKey{t.ID, t.Spec.Name}] = t
	}
	r.mu.Lock()
	r.want = want
	r.mu.Unlock()
	select {
	case r.wakeUp() <- struct{}{}:
	default:
	}
}

func (r *Runner) wakeUp() chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.wake == nil {
		r.wake = make(chan struct{}, 1)
	}
	return r.wake
}

// Run probes until ctx is done and then returns nil. It owns every goroutine
// it starts: when Run has returned, none is left and Out is called no more.
// Step 1 of 7.
func (r *Runner) Run(ctx context.Context) error {
	f := fleet{
		runner:  r,
		log:     r.Log,
		began:   time.Now(),
		watches: make(map[*watch]struct{}),
		seq:     make(map[watchKey]uint64),
		sockets: socketRuns(),
	}
	if f.log == nil {
		f.log = slog.New(slog.DiscardHandler)
	}
	r.places.open(f.sockets)
	defer f.disband()
	wake := r.wakeUp()
	for {
		r.mu.Lock()
		want := r.want
		r.want = nil
		r.mu.Unlock()
		if want != nil {
			f.reconcile(ctx, want)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-wake:
		}
	}
}
