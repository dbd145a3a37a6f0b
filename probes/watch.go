// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"cmp"
	"context"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"runtime/debug"
	"slices"
	"sync"
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
// backend, and it is given nothing. Of more than 4,000 that come together, each takes
// its part of firstRuns a second: the memory of 32,000 runs at once stays for good.
const (
	maxFirstDelay = 500 * time.Millisecond
	firstRuns     = 8_000
)

// maxLate is how far beyond its timeout a run goes on, but for the time that it takes to
// kill a command.
const maxLate = time.Second

// A watch asks one question again and again. Between two runs it is a timer and no
// goroutine: the stacks of 16,000 goroutines that wait are 140 MB.
type watch struct {
	fleet  *fleet
	gate   *gate
	prober prober // the runs' own
	addr   netip.AddrPort
	spec   *core.ProbeSpec // the question's; see catalogue

	lastCode core.Code // of the run before; the runs' own
	slow     bool      // the run before held its place for long; the runs' own
	late     bool      // the run before went on far beyond its time; the runs' own

	mu      sync.Mutex
	stopped bool          // guarded by mu; no run begins any more
	begun   bool          // guarded by mu; the first run is over
	early   bool          // guarded by mu; the next run is for the fresh subscribers only
	due     time.Duration // guarded by mu; when the next run that is for all begins, since the fleet's start
	subs    []subscriber  // guarded by mu; the first is in one
	one     [1]subscriber
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
	wait := soon(w.interval(), w.fleet.coming)
	w.due = w.fleet.now() + wait
	w.timer = time.AfterFunc(wait, func() { w.wake(run) })
}

// soon is a random time until a run that somebody waits for, one of so many.
func soon(interval time.Duration, crowd int) time.Duration {
	return rand.N(min(interval, max(maxFirstDelay, time.Duration(crowd)*time.Second/firstRuns)))
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

// join adds a subscriber. It has no sample yet, so the next run comes soon; if that
// is before its time, it is for the newcomer alone, and the others' rhythm stays.
func (w *watch) join(s subscriber) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.subs) == 0 {
		w.subs = w.one[:0]
	}
	w.subs = append(w.subs, s)
	if w.timer != nil && w.timer.Stop() { // else a run is under way, or about to begin
		w.arm()
	}
}

// keep removes the subscribers that stays does not want to keep.
func (w *watch) keep(stays func(*subscriber) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	kept := w.subs[:0]
	for i := range w.subs {
		if stays(&w.subs[i]) {
			kept = append(kept, w.subs[i])
		}
	}
	clear(w.subs[len(kept):])
	w.subs = kept
}

// arm sets the timer for the next run. The caller holds mu, and the timer is not
// running.
func (w *watch) arm() {
	wait := w.due - w.fleet.now()
	if w.early = false; w.begun && slices.ContainsFunc(w.subs, func(s subscriber) bool { return s.fresh }) {
		if first := soon(w.interval(), 1); first < wait {
			wait, w.early = first, true
		}
	}
	w.timer.Reset(max(0, wait))
}

// wake is called when the timer has run out. Where it is late by an interval or more,
// this process stood still, or the one that takes the samples did: then all targets
// are late, and each is given a new time instead of all being asked at once.
func (w *watch) wake(run func()) {
	w.mu.Lock()
	now, every := w.fleet.now(), w.interval()
	late := now - w.due
	if w.stopped || w.early || late < every {
		slow := w.slow
		w.mu.Unlock()
		w.gate.enter(slow, run) // a stopped one ends there
		return
	}
	defer w.mu.Unlock()
	w.gate.skipped.Add(uint64(late / every))
	wait := soon(every, int(w.fleet.size.Load()))
	w.begun, w.due = false, now+wait
	w.timer.Reset(wait)
}

// run asks once and hands out the samples; then it arms the next run, or ends the
// watch if that was stopped meanwhile. It has come through the gate.
//
// The next is counted from the start of this one: a slow run does not slow the
// rhythm, and a pause of the process is followed by one run, not by all those
// that were missed.
func (w *watch) run(ctx context.Context) {
	start, begin := time.Now(), w.fleet.now()
	early := w.begin(begin)
	s := w.once(ctx, start)
	slow := w.slow
	w.slow = s.Took >= w.timeout()/2
	w.gate.leave(slow)
	var samples []core.Sample
	if w.stoodStill(s.Took) {
		w.gate.skipped.Add(1)
	} else {
		samples = w.samples(ctx, s, early)
	}
	w.note(ctx, samples)
	for _, s := range samples {
		w.fleet.runner.Out(s)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped {
		w.fleet.wait.Done()
		return
	}
	if every := w.interval(); !early && w.begun {
		w.due = begin + spread(every, w.spec.Jitter)
	} else if !early {
		w.due = w.fleet.now() + rand.N(every)
		w.begun = true
	}
	w.arm()
}

// stoodStill reports that this process did during the run (it was stopped, or its
// machine was): what came of it is no word about the backend, or all whose runs were
// under way would be said to be dead at once. One that is late again is slow itself.
func (w *watch) stoodStill(took time.Duration) bool {
	limit := w.timeout() + maxLate
	if w.spec.Type == core.ProbeExec {
		limit += killGrace
	}
	again := w.late
	w.late = took > limit
	return w.late && !again
}

// begin counts the runs that were left out while this one had to wait, and reports
// whether it is for the fresh subscribers only.
func (w *watch) begin(now time.Duration) (early bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.early && now < w.due {
		return true
	}
	if late := now - w.due; late > 0 {
		w.gate.skipped.Add(uint64(late / w.interval()))
	}
	return false
}

// samples makes of the sample of a run one for each subscriber that it is for. If it
// was we who ended the run, it would blame the backend, and there is none.
func (w *watch) samples(ctx context.Context, s core.Sample, early bool) []core.Sample {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped || hungUp(ctx) {
		return nil
	}
	w.count(s)
	out := make([]core.Sample, 0, len(w.subs))
	for i := range w.subs {
		sub := &w.subs[i]
		if early && !sub.fresh {
			continue
		}
		sub.fresh = false
		sub.seq++
		if s.Code.Verdict() {
			sub.follow(s.OK)
		}
		s.Backend, s.Probe, s.Role, s.Seq = sub.id, sub.spec.Name, sub.spec.Role, sub.seq
		out = append(out, s)
	}
	return out
}

func (w *watch) count(s core.Sample) {
	if w.gate.runs.Add(1); !s.OK {
		w.gate.failed.Add(1)
	}
}

// hungUp reports whether ctx has ended. A dial gives up at its deadline a moment
// before ctx says so itself.
func hungUp(ctx context.Context) bool {
	end, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && !time.Now().Before(end)
}

// interval is the shortest that a subscriber wants. The caller holds mu.
func (w *watch) interval() time.Duration {
	every := cmp.Or(w.spec.Interval, defaultInterval)
	for i := range w.subs {
		if own := w.subs[i].interval(); i == 0 || own < every {
			every = own
		}
	}
	return every
}

func (w *watch) timeout() time.Duration { return cmp.Or(w.spec.Timeout, defaultTimeout) }

// once makes one sample, of no backend yet. The time spent waiting at the gate is not
// part of it. Once the watch is stopped it does so at once, and the sample is of no use.
func (w *watch) once(ctx context.Context, start time.Time) core.Sample {
	ctx, cancel := context.WithTimeout(ctx, w.timeout())
	defer cancel()
	var r result
	if w.setHangUp(cancel) {
		r = w.ask(ctx)
		w.setHangUp(nil)
	}
	s := sampleOf(w.spec, start, r)
	s.Node = w.fleet.runner.Node
	return s
}

// sampleOf is what a run that began at start has learned, of no backend yet.
func sampleOf(spec *core.ProbeSpec, start time.Time, r result) core.Sample {
	return core.Sample{
		Type: spec.Type,
		// UTC drops the monotonic reading, so Took is taken from start itself.
		TakenAt: start.UTC(),
		Took:    time.Since(start),
		OK:      r.ok,
		Code:    r.code,
		Detail:  oneLine(hide(r.detail, secretsOf(spec))),
		Metrics: r.metrics,
		Admin:   r.admin,
	}
}

// ask runs the prober. One that panics is made anew, since nobody knows what it has
// left of its state, and the daemon goes on.
func (w *watch) ask(ctx context.Context) (r result) {
	defer func() {
		if p := recover(); p != nil {
			r = crashed(p)
			if w.gate.crashed.CompareAndSwap(false, true) { // the next ones are in the samples
				w.fleet.log.Error("probe crashed", "type", w.spec.Type, "probe", w.spec.Name,
					"panic", hide(r.detail, secretsOf(w.spec)), "stack", string(debug.Stack()))
			}
			w.prober = w.fleet.prober(w.target())
		}
	}()
	return w.prober.probe(ctx)
}

// crashed is the result of a run that panicked.
func crashed(p any) result {
	return bad(core.Internal, "a mistake in the probe's own program, please report it: %v", p)
}

// target is one that asks the watch's question: the first subscriber.
func (w *watch) target() Target {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.subs) == 0 { // they have all gone, and the watch will be stopped
		return Target{Addr: w.addr, Spec: w.spec}
	}
	return Target{ID: w.subs[0].id, Addr: w.addr, Spec: w.subs[0].spec}
}

// setHangUp notes how to break off the run that begins, nil when it is over. It
// reports whether the watch still goes on.
func (w *watch) setHangUp(cancel context.CancelFunc) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hangUp = cancel
	return !w.stopped
}

// note logs when the probe ends otherwise than before. An INTERNAL is the
// operator's to repair and is said aloud; the rest is in the samples.
func (w *watch) note(ctx context.Context, samples []core.Sample) {
	if len(samples) == 0 || samples[0].Code == w.lastCode {
		return
	}
	s, level := samples[0], slog.LevelDebug
	if s.Code == core.Internal {
		level = slog.LevelWarn
	}
	w.fleet.log.Log(ctx, level, "probe answers differently",
		"backend", s.Backend.String(), "probe", s.Probe, "others", len(samples)-1, "code", string(s.Code),
		"was", string(w.lastCode), "detail", s.Detail)
	w.lastCode = s.Code
}

// spread is d varied by up to the given share either way.
func spread(d time.Duration, share float64) time.Duration {
	return time.Duration(float64(d) * (1 + share*(2*rand.Float64()-1)))
}
