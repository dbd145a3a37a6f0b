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
	target Target
	prober prober
	node   string
	out    func(core.Sample)
	log    *slog.Logger
	seq    *atomic.Uint64
	slots  chan struct{}

	cancel   context.CancelFunc
	gone     func()    // called once, when nothing of the watch is left
	lastCode core.Code // of the sample before; the runs' own
	begun    bool      // the first run is over; the runs' own

	mu      sync.Mutex
	timer   *time.Timer // guarded by mu; of the next run
	stopped bool        // guarded by mu; no run begins any more
}

// start arms the first run, which comes soon. The second, at a random time of the
// interval after it, keeps targets that start together from being asked together
// for ever after.
func (w *watch) start(ctx context.Context) {
	ctx, w.cancel = context.WithCancel(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer = time.AfterFunc(rand.N(min(w.interval(), maxFirstDelay)), func() { w.fire(ctx) })
}

// stop ends the watch; a run in progress is broken off and yields no sample.
// It does not wait: gone tells when the watch has ended.
func (w *watch) stop() {
	w.cancel()
	w.mu.Lock()
	w.stopped = true
	idle := w.timer.Stop()
	w.mu.Unlock()
	if idle {
		w.gone()
	}
}

// fire is one run, in a goroutine of the timer's. It arms the next one, or
// ends the watch if that was stopped meanwhile.
func (w *watch) fire(ctx context.Context) {
	next := w.turn(ctx)
	if !w.begun {
		next = time.Now().Add(rand.N(w.interval()))
		w.begun = true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped {
		w.gone()
		return
	}
	w.timer.Reset(max(0, time.Until(next)))
}

// turn waits for a slot, makes one sample and hands it out. It returns when the
// next one is due.
//
// That is counted from the start of this run: a slow run does not slow the
// rhythm, and a pause of the process is followed by one run, not by all those
// that were missed.
func (w *watch) turn(ctx context.Context) time.Time {
	select {
	case <-ctx.Done():
		return time.Now().Add(w.interval()) // stop comes before that
	case w.slots <- struct{}{}:
	}
	start := time.Now()
	s := w.once(ctx, start)
	<-w.slots
	if !hungUp(ctx) { // else the sample would blame the backend
		w.note(ctx, s)
		w.out(s)
	}
	return start.Add(spread(w.interval(), w.target.Spec.Jitter))
}

// hungUp reports whether it was we who ended the run. A dial gives up at the
// deadline of ctx a moment before ctx says so itself.
func hungUp(ctx context.Context) bool {
	end, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && !time.Now().Before(end)
}

func (w *watch) interval() time.Duration {
	return cmp.Or(w.target.Spec.Interval, defaultInterval)
}

// once makes one sample. The time spent waiting for a slot is not part of it.
func (w *watch) once(ctx context.Context, start time.Time) core.Sample {
	spec := w.target.Spec
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(spec.Timeout, defaultTimeout))
	defer cancel()
	r := w.prober.probe(ctx)
	return core.Sample{
		Backend: w.target.ID,
		Probe:   spec.Name,
		Type:    spec.Type,
		Role:    spec.Role,
		Node:    w.node,
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
	w.log.Log(ctx, level, "probe answers differently",
		"backend", s.Backend.String(), "probe", s.Probe, "code", string(s.Code),
		"was", string(w.lastCode), "detail", s.Detail)
	w.lastCode = s.Code
}

// spread is d varied by up to the given share either way.
func spread(d time.Duration, share float64) time.Duration {
	return time.Duration(float64(d) * (1 + share*(2*rand.Float64()-1)))
}
