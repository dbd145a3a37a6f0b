// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

const (
	// routineBatch bounds a commit that no health transition waits for, so that
	// an urgent one never waits long: 16 services take about 2 ms.
	routineBatch = 16
	// urgentBatch bounds a commit of urgent services; one transaction of 500
	// services is what the kernel takes well.
	urgentBatch = 500
	// retryEvery is the spacing of full syncs while the kernel takes nothing,
	// refusedEvery while it refuses some services.
	retryEvery   = time.Second
	refusedEvery = 30 * time.Second
)

// A committer is the bookkeeping of the one commit in flight.
type committer struct {
	cursor   int // index into order of the service whose turn is next
	busy     bool
	needSync bool // a reweight failed: what the kernel holds is not known
	retryAt  time.Time
	syncedAt time.Time // when the last full sync ended
	reload   *reload   // waiting for its sync, or in it

	changes     uint64 // of what only a full sync can bring in
	syncWaiters []syncWaiter
	chores      []chore            // commands that wait for their turn
	tendAt      time.Time          // when the Applier is next given its turn to tend; zero: after the next commit
	cut         context.CancelFunc // ends the chore or tending in flight early; nil while there is none
}

// hurry brings the next full sync forward, for a health transition of a service
// that the kernel refused: it may still carry the dead backend.
func (c *committer) hurry() {
	if soon := c.syncedAt.Add(retryEvery); c.retryAt.After(soon) {
		c.retryAt = soon
	}
}

// kernelState is what show says about the data plane.
type kernelState struct {
	adopted    bool
	generation uint32
	commits    uint64
	lastErr    string
	counterErr string
	countersAt time.Time // when the latest reading of counters began
	took       []float64 // seconds of the last 1000 commits
}

// A job is a commit in flight: the services, what the kernel is to carry of
// them, and how many of their waiting decisions it covers.
type job struct {
	services []*service
	plans    []core.ServicePlan
	covered  []int
	reload   *reload
	changes  uint64 // of the committer, as of its start
}

// A commitResult is what became of a job.
type commitResult struct {
	job   job
	sync  *syncOutcome  // nil for a reweight
	drift *driftOutcome // of a look that changed nothing
	chore func()        // files what was no commit; nil for a commit
	c     core.Commit
	err   error
}

type syncOutcome struct {
	commit  core.Commit
	refused map[string]error
	err     error
}

// launchCommit starts the next commit if none is in flight. Step 7 of 7 begins
// here.
func (e *Engine) launchCommit(ctx context.Context) {
	if e.committer.busy {
		e.hurryTend()
		return
	}
	switch {
	case e.committer.reload != nil:
		e.launchSync(ctx, e.committer.reload.services, e.committer.reload)
	case e.committer.needSync && !time.Now().Before(e.committer.retryAt):
		e.launchSync(ctx, e.services, nil)
	case e.launchChore(ctx):
	case e.launchDrift(ctx):
	default:
		if j := e.nextJob(); len(j.services) > 0 {
			e.launchReweight(ctx, j)
		}
	}
}

// nextJob picks the urgent services if there are any, else some routine ones,
// going on where the job before ended so that each service has its turn.
func (e *Engine) nextJob() job {
	var urgent, routine []*service
	last := e.committer.cursor - 1
	for k := range e.order {
		i := (e.committer.cursor + k) % len(e.order)
		s := e.order[i]
		switch {
		case len(s.waiting) == 0:
		case s.urgent && len(urgent) < urgentBatch:
			urgent = append(urgent, s)
		case len(routine) < routineBatch:
			routine = append(routine, s)
			last = i
		}
	}
	if len(urgent) > 0 {
		return newJob(urgent)
	}
	e.committer.cursor = last + 1
	return newJob(routine)
}

func newJob(services []*service) job {
	j := job{services: services}
	for _, s := range services {
		p := s.plan()
		j.plans = append(j.plans, p)
		j.covered = append(j.covered, len(s.waiting))
		s.flying = len(s.waiting)
		s.sent, s.sentPlan = slices.Clone(s.slots), p.Backends
		s.urgent = false
	}
	return j
}

// wholeJob covers all of services.
func (e *Engine) wholeJob(services map[string]*service) job {
	return newJob(inOrder(services))
}

func (e *Engine) launchReweight(ctx context.Context, j job) {
	e.run(ctx, func() commitResult {
		c, err := e.cfg.Applier.Reweight(ctx, j.plans)
		return commitResult{job: j, c: c, err: err}
	})
}

// launchSync makes the kernel carry all of services, which are those in force
// unless a reload brings new ones.
func (e *Engine) launchSync(ctx context.Context, services map[string]*service, r *reload) {
	j := e.wholeJob(services)
	j.reload, j.changes = r, e.committer.changes
	setup := e.setup
	if r != nil && !r.undo {
		setup = r.setup
	}
	plan := core.Plan{Services: j.plans, LocalClients: setup.LocalClients, OffloadDevices: setup.OffloadDevices}
	e.run(ctx, func() commitResult {
		var o syncOutcome
		o.commit, o.refused, o.err = e.cfg.Applier.Sync(ctx, plan)
		return commitResult{job: j, sync: &o}
	})
}

func (e *Engine) run(ctx context.Context, f func() commitResult) {
	e.committer.busy = true
	e.wg.Go(func() {
		r := f()
		select {
		case e.commits <- r:
		case <-ctx.Done():
		}
	})
}

// takeCommit files what became of a commit.
func (e *Engine) takeCommit(r commitResult) {
	e.committer.busy, e.committer.cut = false, nil
	if r.chore != nil {
		r.chore()
		return
	}
	if r.drift != nil {
		e.takeDrift(*r.drift, r.err)
		return
	}
	e.committer.tendLater()
	if r.job.reload != nil {
		e.finishReload(r)
		return
	}
	if r.sync != nil {
		e.finishSync(r.job, *r.sync)
		return
	}
	refused, some := refusedOf(r.err)
	if r.err != nil {
		e.log.Error("commit failed; the weights before hold", "services", len(r.job.services), "err", r.err)
		if !some {
			e.event(core.Error, "kernel", "", "", r.err.Error())
		}
		e.committer.needSync, e.committer.retryAt = true, time.Now()
	}
	e.noteKernel(r.c, r.err)
	var names []string
	var decisions []uint64
	for i, s := range r.job.services {
		err := r.err
		if some {
			err = refused[s.spec.Name]
		}
		if err != nil {
			s.sent = nil
			if some {
				e.event(core.Error, "kernel", s.spec.Name, "", err.Error())
			}
		} else {
			names, decisions = append(names, s.spec.Name), append(decisions, s.madeReal(r.job.covered[i]))
		}
		e.finish(s, r.job.covered[i], r.c, err)
	}
	if len(names) > 0 {
		r.c.Services, r.c.Decisions = names, decisions
		e.cfg.Publisher.Commit(r.c)
	}
}

// madeReal is the Seq of the decision that a commit brings in which covers so many of
// those that wait; 0 if none did.
func (s *service) madeReal(covered int) uint64 {
	if covered == 0 {
		return 0
	}
	return s.waiting[covered-1].d.Seq
}

// refusedOf is which services of a Reweight were refused, and why, if the error
// tells; the others are in force.
func refusedOf(err error) (map[string]error, bool) {
	var r interface{ Refused() map[string]error }
	if !errors.As(err, &r) {
		return nil, false
	}
	return r.Refused(), true
}

// finishSync files a full sync of the services in force. It is tried again
// soon if it failed, and now and then while the kernel refuses a service.
func (e *Engine) finishSync(j job, o syncOutcome) {
	e.noteKernel(o.commit, o.err)
	e.committer.needSync = o.err != nil || len(o.refused) > 0
	e.committer.syncedAt = time.Now()
	e.committer.retryAt = e.committer.syncedAt.Add(retryEvery)
	if o.err == nil {
		e.committer.retryAt = time.Now().Add(refusedEvery)
	}
	if o.err == nil {
		e.repaired(o.commit)
	}
	if o.err == nil && e.committer.changes != j.changes { // since it was begun
		e.committer.needSync, e.committer.retryAt = true, time.Now()
	}
	e.committer.tellWaiters(j.changes, o)
	var names []string
	var decisions []uint64
	for i, s := range j.services {
		err := o.err
		if refused := o.refused[s.spec.Name]; refused != nil {
			err = refused
		}
		if err == nil {
			names, decisions = append(names, s.spec.Name), append(decisions, s.madeReal(j.covered[i]))
		}
		e.synced(s, j.covered[i], o.commit, err)
	}
	if o.err == nil {
		o.commit.Services, o.commit.Decisions = names, decisions
		e.cfg.Publisher.Commit(o.commit)
	}
}

// synced files what a full sync did to one service.
func (e *Engine) synced(s *service, covered int, c core.Commit, err error) {
	text := ""
	if err != nil {
		text, s.sent = err.Error(), nil
	}
	if text != s.kernelErr && err != nil {
		e.log.Error("a service was refused; the others are served", "service", s.spec.Name, "err", err)
		e.event(core.Error, "kernel", s.spec.Name, "", text)
	}
	s.kernelErr = text
	e.finish(s, covered, c, err)
}

func (e *Engine) noteKernel(c core.Commit, err error) {
	if err != nil {
		e.kernel.lastErr = err.Error()
		return
	}
	e.kernel.generation = c.Generation
	e.kernel.commits++
	e.kernel.lastErr = ""
	if len(e.kernel.took) == 1000 {
		e.kernel.took = append(e.kernel.took[:0], e.kernel.took[1:]...)
	}
	e.kernel.took = append(e.kernel.took, c.Took.Seconds())
}
