// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/steelyard-lb/steelyard/core"
)

// DefaultConcurrency is how many probes of one type run at once.
const DefaultConcurrency = 256

// A Runner probes a set of targets. Fill the exported fields before the first
// call and leave them alone afterwards.
type Runner struct {
	Node string // goes into every sample
	// Out takes each sample. It is called from many goroutines at once; while
	// it blocks, only the target whose sample it holds waits.
	Out func(core.Sample)
	Log *slog.Logger // nil means no log
	// Concurrency bounds the runs at one time per probe type; 0 means
	// DefaultConcurrency. A run that must wait is not counted as slow.
	Concurrency int

	prepare func(Target) prober // nil means newProber; tests put theirs here

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

// SetTargets replaces the set of targets, before or while Run runs. A target
// with the same ID, Addr and Spec as before keeps its timer and its state; one
// that is gone is stopped, and its run in progress yields no sample. Of two
// targets with the same ID and Spec.Name the later one counts.
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
		running: make(map[watchKey]*watch),
		seq:     make(map[watchKey]*atomic.Uint64),
		gates:   make(map[string]*gate),
	}
	if f.log == nil {
		f.log = slog.New(slog.DiscardHandler)
	}
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

// A fleet is the watches of a running Runner. Only Run's goroutine changes it.
type fleet struct {
	runner  *Runner
	log     *slog.Logger
	wait    sync.WaitGroup // of the watches that are not gone
	running map[watchKey]*watch
	// seq is of watches that were stopped: a changed spec does not make a target's
	// Seq go back.
	seq   map[watchKey]*atomic.Uint64
	gates map[string]*gate // by probe type
}

// reconcile stops the watches that nobody wants and starts the missing ones.
func (f *fleet) reconcile(ctx context.Context, want map[watchKey]Target) {
	for k, w := range f.running {
		if t, ok := want[k]; !ok || !w.target.same(t) {
			w.stop()
			f.seq[k] = w.seq
			delete(f.running, k)
		}
	}
	for k, t := range want {
		if f.running[k] == nil {
			f.start(ctx, k, t)
		}
	}
}

func (f *fleet) start(ctx context.Context, k watchKey, t Target) {
	prepare := f.runner.prepare
	if prepare == nil {
		prepare = newProber
	}
	if f.gates[t.Spec.Type] == nil {
		f.gates[t.Spec.Type] = &gate{free: cmp.Or(f.runner.Concurrency, DefaultConcurrency)}
	}
	w := &watch{fleet: f, target: t, prober: prepare(t), seq: f.seq[k], gate: f.gates[t.Spec.Type]}
	if delete(f.seq, k); w.seq == nil {
		w.seq = new(atomic.Uint64)
	}
	f.running[k] = w
	f.wait.Add(1)
	w.start(ctx)
}

// disband stops every watch and waits until the last run has ended.
func (f *fleet) disband() {
	for _, w := range f.running {
		w.stop()
	}
	f.wait.Wait()
}
