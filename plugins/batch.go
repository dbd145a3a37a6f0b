// SPDX-License-Identifier: Apache-2.0

package plugins

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/plugins/abi"
	"github.com/steelyard-lb/steelyard/plugins/worker"
)

// Bounds of a batch: small enough that an answer comes soon, large enough that
// the way there and back is shared by many calls.
const (
	batchCalls = 256
	batchBytes = 4 << 20
)

// A job is one call on its way. The goroutine that runs its lane owns it until
// the finisher has it.
type job struct {
	call    *core.Call
	result  *core.Result
	policy  *policy
	version *version
	frame   abi.Frame
}

// A batch is the memory of one Schedule, kept for the next.
type batch struct {
	jobs   []job
	groups []group
}

// A group is the jobs of one lane.
type group struct {
	lane *lane
	jobs []*job
}

func (b *batch) add(j *job) {
	for i := range b.groups {
		if b.groups[i].lane == j.version.lane {
			b.groups[i].jobs = append(b.groups[i].jobs, j)
			return
		}
	}
	n := len(b.groups)
	if n < cap(b.groups) {
		b.groups = b.groups[:n+1]
	} else {
		b.groups = append(b.groups, group{})
	}
	g := &b.groups[n]
	g.lane, g.jobs = j.version.lane, append(g.jobs[:0], j)
}

// reset forgets the jobs and makes room for n.
func (b *batch) reset(n int) {
	clear(b.jobs)
	for i := range b.groups {
		clear(b.groups[i].jobs)
		b.groups[i].lane = nil
	}
	b.groups = b.groups[:0]
	if n > cap(b.jobs) {
		b.jobs = make([]job, n)
	}
	b.jobs = b.jobs[:n]
}

// Schedule runs the policies of calls and returns one Result per call, in
// order. Step 4 of 7. It blocks until all are done: microseconds per call, up
// to some 100 ms when a user's policy has to be killed. The host keeps the
// snapshots for a while, so do not change them afterwards.
func (h *Host) Schedule(ctx context.Context, calls []core.Call) []core.Result {
	results := make([]core.Result, len(calls))
	b, _ := h.batches.Get().(*batch)
	if b == nil {
		b = &batch{}
	}
	b.reset(len(calls))
	for i := range calls {
		j := &b.jobs[i]
		j.call, j.result = &calls[i], &results[i]
		if h.prepare(j) {
			b.add(j)
		}
	}
	b.run(ctx, h.finish)
	for i := range b.jobs {
		if v := b.jobs[i].version; v != nil {
			v.lane.release()
		}
	}
	b.reset(0)
	h.batches.Put(b)
	return results
}

// run brings the jobs of all lanes to their end, side by side.
func (b *batch) run(ctx context.Context, finish finisher) {
	if len(b.groups) == 0 {
		return
	}
	var wg sync.WaitGroup
	for _, g := range b.groups[1:] {
		wg.Go(func() { g.lane.run(ctx, g.jobs, finish) })
	}
	b.groups[0].lane.run(ctx, b.groups[0].jobs, finish)
	wg.Wait()
}

// finisher takes the end of a job. killed says that the call cost the worker its
// life.
type finisher func(j *job, r worker.Result, killed bool)

// run brings every job to its end. Each turn of the loop ends some: a batch
// that succeeds ends all of its jobs, one that kills the worker ends the job
// that did it, and a death without a culprit starts a backoff which ends all.
func (l *lane) run(ctx context.Context, jobs []*job, finish finisher) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		if jobs = stillWelcome(jobs); len(jobs) == 0 {
			return
		}
		err := ctx.Err()
		if err == nil {
			_, err = l.ready(ctx)
		}
		if err == nil {
			jobs = l.exchange(jobs, finish)
			continue
		}
		module, killed := blames(err)
		for _, j := range jobs {
			if !module {
				j.result.Err = fmt.Errorf("run policy %s: %w", j.policy.name, err)
				continue
			}
			finish(j, worker.Result{Err: err.Error()}, killed)
			killed = false // once per death, however many calls waited for it
		}
		return
	}
}

// stillWelcome leaves out the jobs of policies that came into quarantine while
// they waited for the lane: each would cost one more worker its life.
func stillWelcome(jobs []*job) []*job {
	return slices.DeleteFunc(jobs, func(j *job) bool {
		j.policy.mu.Lock()
		defer j.policy.mu.Unlock()
		if j.version != j.policy.now { // a canary, or a call that began before a swap
			return false
		}
		j.result.Err = j.policy.away()
		return j.result.Err != nil
	})
}

// exchange runs the first jobs and returns those that are still to be done.
func (l *lane) exchange(jobs []*job, finish finisher) []*job {
	n := l.encode(jobs, finish)
	if n == 0 {
		return jobs[1:] // the first could not be encoded
	}
	results, err := l.process.Call(&l.batch, l.calls)
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
		l.log.Warn("policy worker died without a call to blame", "worker", l.name, "cause", err, "peak_bytes", l.peak)
		l.backoff(err)
		return jobs
	}
	// The culprit's other calls, for other services, would meet the same end:
	// the quarantine begins now, and the first of them stands for all.
	culprit, killed := jobs[death.Call].policy, true
	left := jobs[:0:0]
	for _, j := range jobs {
		if j.policy != culprit {
			left = append(left, j)
			continue
		}
		finish(j, worker.Result{Err: death.Cause}, killed)
		killed = false
	}
	return left
}

// encode writes the snapshots of the first jobs into the batch and says how many.
// A job that cannot be encoded ends the batch before it; as the first it ends
// itself, and the batch is empty.
func (l *lane) encode(jobs []*job, finish finisher) int {
	l.batch.Reset()
	for i, j := range jobs {
		if i >= batchCalls || i > 0 && l.batch.Size() >= batchBytes {
			break
		}
		b, err := j.policy.encode(l.batch.Room(), j)
		if err != nil {
			if i == 0 {
				finish(j, worker.Result{Err: err.Error()}, false)
			}
			return i
		}
		l.batch.Add(b)
	}
	return l.batch.Len()
}
