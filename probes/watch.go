// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"cmp"
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// What a spec without an interval or a timeout gets; the configuration fills
// both in, so these only keep a hand-made spec from spinning.
const (
	defaultInterval = 5 * time.Second
	defaultTimeout  = 2 * time.Second
)

// maxFirstDelay bounds the time until the first run: until then nobody knows the
// backend, and it is given nothing. A fleet of 16,000 is asked in a second or so.
const maxFirstDelay = 500 * time.Millisecond

// A watch runs one target's probe again and again. Between two runs it is a
// timer and no goroutine: the stacks of 16,000 goroutines that wait are 140 MB.
type watch struct {
	fleet  *fleet
	target Target
	prober prober
	seq    *atomic.Uint64
	gate   *gate

	lastCode core.Code // of the sample before; the runs' own
	begun    bool      // the first run is over; the runs' own

	mu      sync.Mutex
	stopped bool               // guarded by mu; no run begins any more
	timer   *time.Timer        // guarded by mu; of the next run
	hangUp  context.CancelFunc // guarded by mu; of the run in progress, nil between two
}

// start arms the first run, which comes soon. The second, at a random time of the
// interval after it, keeps targets that start together from being asked together
// for ever after.
func (w *watch) start(ctx context.Context) {
	run := func() { w.run(ctx) }
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer = time.AfterFunc(rand.N(min(w.interval(), maxFirstDelay)), func() { w.gate.enter(run) })
}

// stop ends the watch; a run in progress is broken off and yields no sample.
// It does not wait: the fleet's WaitGroup tells when the watch is gone.
func (w *watch) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	if w.hangUp != nil {
		w.hangUp()
	}
	if w.timer.Stop() {
		w.fleet.wait.Done()
	}
}

// run makes one sample and hands it out; then it arms the next run, or ends the
// watch if that was stopped meanwhile. It has come through the gate.
//
// The next is counted from the start of this one: a slow run does not slow the
// rhythm, and a pause of the process is followed by one run, not by all those
// that were missed.
func (w *watch) run(ctx context.Context) {
	start := time.Now()
	s := w.once(ctx, start)
	w.gate.leave()
	if !w.over(ctx) { // else the sample would blame the backend
		w.note(ctx, s)
		w.fleet.runner.Out(s)
	}
	next := start.Add(spread(w.interval(), w.target.Spec.Jitter))
	if !w.begun {
		next = time.Now().Add(rand.N(w.interval()))
		w.begun = true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped {
		w.fleet.wait.Done()
		return
	}
	w.timer.Reset(max(0, time.Until(next)))
}

// over reports whether it was we who ended the run.
func (w *watch) over(ctx context.Context) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stopped || hungUp(ctx)
}

// hungUp reports whether ctx has ended. A dial gives up at its deadline a moment
// before ctx says so itself.
func hungUp(ctx context.Context) bool {
	end, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && !time.Now().Before(end)
}

func (w *watch) interval() time.Duration {
	return cmp.Or(w.target.Spec.Interval, defaultInterval)
}

// once makes one sample. The time spent waiting at the gate is not part of it. Once
// the watch is stopped it does so at once, and the sample is of no use.
func (w *watch) once(ctx context.Context, start time.Time) core.Sample {
	spec := w.target.Spec
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(spec.Timeout, defaultTimeout))
	defer cancel()
	w.setHangUp(cancel)
	r := w.prober.probe(ctx)
	w.setHangUp(nil)
	return core.Sample{
		Backend: w.target.ID,
		Probe:   spec.Name,
		Type:    spec.Type,
		Role:    spec.Role,
		Node:    w.fleet.runner.Node,
		Seq:     w.seq.Add(1),
		// UTC drops the monotonic reading, so Took is taken from start itself.
		TakenAt: start.UTC(),
		Took:    time.Since(start),
		OK:      r.ok,
		Code:    r.code,
		Detail:  oneLine(r.detail),
		Metrics: r.metrics,
	}
}

// setHangUp notes how to break off the run that begins, nil when it is over.
func (w *watch) setHangUp(cancel context.CancelFunc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hangUp = cancel
	if w.stopped && cancel != nil {
		cancel()
	}
}

// note logs when the probe ends otherwise than before. An INTERNAL is the
// operator's to repair and is said aloud; the rest is in the samples.
func (w *watch) note(ctx context.Context, s core.Sample) {
	if s.Code == w.lastCode {
		return
	}
	level := slog.LevelDebug
	if s.Code == core.Internal {
		level = slog.LevelWarn
	}
	w.fleet.log.Log(ctx, level, "probe answers differently",
		"backend", s.Backend.String(), "probe", s.Probe, "code", string(s.Code),
		"was", string(w.lastCode), "detail", s.Detail)
	w.lastCode = s.Code
}

// spread is d varied by up to the given share either way.
func spread(d time.Duration, share float64) time.Duration {
	return time.Duration(float64(d) * (1 + share*(2*rand.Float64()-1)))
}
