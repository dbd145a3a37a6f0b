// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/steelyard-lb/steelyard/plugins/worker"
)

// Bounds of a batch: small enough that an answer comes soon, large enough that
// the way there and back is shared by many calls.
const (
	batchCalls = 256
	batchBytes = 4 << 20
)

// The wait between two attempts to start a worker that does not start, or that
// dies without any call to blame.
const (
	restartMin = 100 * time.Millisecond
	restartMax = 30 * time.Second
)

// A lane is one worker process and the modules in it.
type lane struct {
	name    string
	command []string
	limits  worker.Limits
	log     *slog.Logger

	mu      sync.Mutex // guards what follows; held for a whole batch
	process *worker.Process
	loaded  map[uint32]bool
	wait    time.Duration // of the latest backoff; 0 after a good batch
	retryAt time.Time
}

// stop ends the worker.
func (l *lane) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drop()
}

func (l *lane) drop() {
	if l.process != nil {
		l.process.Close()
		l.process, l.loaded = nil, nil
	}
}

// ensure starts the worker if there is none. The caller holds mu.
func (l *lane) ensure(ctx context.Context) error {
	if l.process != nil && l.process.Alive() {
		return nil
	}
	l.drop()
	if wait := time.Until(l.retryAt); wait > 0 {
		return fmt.Errorf("the worker of the %s policies does not stay up; next attempt in %v", l.name, wait.Round(time.Millisecond))
	}
	p, err := worker.Start(ctx, l.command)
	if err != nil {
		l.backoff()
		return err
	}
	l.process, l.loaded = p, map[uint32]bool{}
	l.log.Info("policy worker started", "worker", l.name, "pid", p.PID(), "confined_by", p.How())
	return nil
}

// backoff makes the next start wait, but for the first in a row: a worker that
// an operator or the kernel killed is replaced at once.
func (l *lane) backoff() {
	l.retryAt = time.Now().Add(l.wait)
	l.wait = min(max(2*l.wait, restartMin), restartMax)
}

// load compiles a module in the worker, for the first time. An error speaks of
// the module, unless it is a failure to start the worker.
func (l *lane) load(ctx context.Context, m *module) (worker.Loaded, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.ensure(ctx); err != nil {
		return worker.Loaded{}, err
	}
	return l.loadLocked(m)
}

func (l *lane) loadLocked(m *module) (worker.Loaded, error) {
	before := l.process.Resident()
	got, err := l.process.Load(m.id, m.code, loadLimits)
	if err != nil {
		l.drop()
		return got, err
	}
	if got.Err != "" {
		return got, errors.New(got.Err)
	}
	if grown := l.process.Resident() - before; grown > moduleCap {
		l.drop()
		return got, fmt.Errorf("compiled, it takes %d MiB of the %d that all users' policies share; at most %d are given to one",
			grown>>20, memoryCap>>20, moduleCap>>20)
	}
	l.loaded[m.id] = true
	return got, nil
}

// unload frees a module that no policy uses any more.
func (l *lane) unload(m *module) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.process == nil || !l.loaded[m.id] {
		return
	}
	delete(l.loaded, m.id)
	if err := l.process.Unload(m.id, loadLimits); err != nil {
		l.drop()
	}
}

// finisher takes the end of a job.
type finisher func(j *job, r worker.Result, killed bool)

// run brings every job to its end. Each turn of the loop ends some: a batch
// that succeeds ends all of its jobs, one that kills the worker ends the job
// that did it, and a death without a culprit starts a backoff which ends all.
func (l *lane) run(ctx context.Context, jobs []*job, finish finisher) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(jobs) > 0 {
		if err := ctx.Err(); err != nil {
			failAll(jobs, err)
			return
		}
		if err := l.ensure(ctx); err != nil {
			failAll(jobs, err)
			return
		}
		if jobs = l.loadFor(jobs, finish); len(jobs) == 0 {
			return
		}
		if l.process == nil {
			continue // a module killed the worker while it was compiled again
		}
		jobs = l.batch(jobs, finish)
	}
}

// loadFor loads the modules that a new worker lacks, and ends the jobs whose
// module it does not take any more.
func (l *lane) loadFor(jobs []*job, finish finisher) []*job {
	for i := 0; i < len(jobs) && l.process != nil; i++ {
		m := jobs[i].program.module
		if l.loaded[m.id] {
			continue
		}
		_, err := l.loadLocked(m)
		if err == nil {
			continue
		}
		var death *worker.Death
		killed := errors.As(err, &death)
		jobs = l.endWhere(jobs, func(j *job) bool { return j.program.module == m },
			worker.Result{Err: err.Error()}, killed, finish)
		i = -1
	}
	return jobs
}

func (l *lane) endWhere(jobs []*job, which func(*job) bool, r worker.Result, killed bool, finish finisher) []*job {
	left := jobs[:0:0]
	for _, j := range jobs {
		if !which(j) {
			left = append(left, j)
			continue
		}
		finish(j, r, killed)
		killed = false // once per death, however many calls waited for it
	}
	return left
}

// batch runs the first jobs and returns those that are still to be done.
func (l *lane) batch(jobs []*job, finish finisher) []*job {
	n, size := 0, 0
	for n < len(jobs) && n < batchCalls && (n == 0 || size+len(jobs[n].buf) < batchBytes) {
		size += len(jobs[n].buf)
		n++
	}
	calls := make([]worker.Call, n)
	for i, j := range jobs[:n] {
		calls[i] = worker.Call{Module: j.program.module.id, Snapshot: j.buf}
	}
	results, err := l.process.Call(calls, l.limits)
	if err == nil {
		for i, j := range jobs[:n] {
			finish(j, results[i], false)
		}
		l.wait = 0
		return jobs[n:]
	}
	l.drop()
	var death *worker.Death
	if !errors.As(err, &death) || death.Call < 0 || death.Call >= n {
		l.log.Warn("policy worker died without a call to blame", "worker", l.name, "cause", err)
		l.backoff()
		return jobs
	}
	// The culprit's other calls, for other services, would meet the same end:
	// the quarantine begins now, and the first of them stands for all.
	culprit := jobs[death.Call].program
	return l.endWhere(jobs, func(j *job) bool { return j.program == culprit },
		worker.Result{Err: death.Cause}, true, finish)
}

func failAll(jobs []*job, err error) {
	for _, j := range jobs {
		j.result.Err = fmt.Errorf("run policy %s: %w", j.program.name, err)
	}
}
