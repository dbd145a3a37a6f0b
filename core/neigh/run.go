// SPDX-License-Identifier: Apache-2.0

package neigh

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	resync = time.Minute // between two readings of everything
	pause  = time.Second // after the kernel could not be asked
	// Routes and readings may use a tenth of the time.
	share = 10
)

// A batch is what one datagram of events held.
type batch struct {
	list []message
	lost bool // events were dropped before it
}

// Run follows the kernel until ctx is done and then returns nil. It returns an
// error only if the events cannot be read at all.
func (t *Table) Run(ctx context.Context) error {
	defer func() { _ = t.Close() }()
	g, ctx := errgroup.WithContext(ctx)
	stop := context.AfterFunc(ctx, t.kernel.stop)
	defer stop()
	events := make(chan batch) // unbuffered: the kernel's buffer is the queue
	g.Go(func() error { return t.listen(ctx, events) })
	l := &loop{Table: t, needAll: true}
	g.Go(func() error { l.run(ctx, events); return nil })
	return g.Wait()
}

func (t *Table) listen(ctx context.Context, events chan<- batch) error {
	for {
		list, err := t.kernel.listen()
		lost := errors.Is(err, errLost)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && !lost {
			return err
		}
		select {
		case events <- batch{list, lost}:
		case <-ctx.Done():
			return nil
		}
	}
}

// A loop is the state of one Run. Each of its three kinds of work has an
// earliest time, so that none of them can fill the day.
type loop struct {
	*Table
	needAll bool // everything has to be read anew

	readAt  time.Time // not before this
	allAt   time.Time // when everything is read anew in any case
	routeAt time.Time // no route is asked for before this
	askAt   time.Time // when to look whom to ask; zero is never
	askedAt time.Time // when that was done last
}

func (l *loop) run(ctx context.Context, events <-chan batch) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case b := <-events:
			l.take(b)
		case <-l.wake:
		case <-timer.C:
		}
		l.work()
		l.tell()
		timer.Reset(time.Until(l.wakeAt()))
	}
}

// take takes over events, after which somebody may have to be asked.
func (l *loop) take(b batch) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if b.lost {
		l.stats.Overruns++
		l.needAll = true
		l.log.Warn("neighbour events were lost; reading all neighbours anew", "overruns_total", l.stats.Overruns)
	}
	l.stats.Events += uint64(len(b.list))
	for i := range b.list {
		l.state.take(&b.list[i], now)
	}
	l.look(now)
}

// look makes the loop look whom to ask, soon.
func (l *loop) look(now time.Time) {
	if at := later(now, l.askedAt.Add(askPause)); l.askAt.IsZero() || at.Before(l.askAt) {
		l.askAt = at
	}
}

// work does what is due. The kernel is asked without the lock.
func (l *loop) work() {
	l.takeWatched()
	now := time.Now()
	if !now.Before(l.allAt) {
		l.needAll = true
	}
	if l.needAll && !now.Before(l.readAt) {
		l.readAll(now)
	}
	if l.needAll {
		return // the rest would be done again
	}
	if now = time.Now(); l.routesWanted() && !now.Before(l.routeAt) {
		l.askRoutes(now)
	}
	if now = time.Now(); !l.askAt.IsZero() && !now.Before(l.askAt) {
		l.solicit(now)
	}
}

func (l *loop) takeWatched() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.watched != nil {
		l.needAll = l.state.watch(l.watched) || l.needAll
		l.watched = nil
		l.look(time.Now())
	}
}

func (l *loop) routesWanted() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state.dirty > 0
}

// wakeAt is when work has something to do, events apart.
func (l *loop) wakeAt() time.Time {
	if l.needAll {
		return l.readAt
	}
	at := l.allAt
	if l.routesWanted() && l.routeAt.Before(at) {
		at = l.routeAt
	}
	if !l.askAt.IsZero() && l.askAt.Before(at) {
		at = l.askAt
	}
	return at
}

func (l *loop) readAll(now time.Time) {
	l.readAt = now.Add(pause)
	links, err := l.kernel.dump(aboutLink)
	if err != nil {
		l.log.Warn("the links cannot be read; trying again", "err", err)
		return
	}
	neighbours, err := l.kernel.dump(aboutNeighbour)
	if err != nil {
		l.log.Warn("the neighbour table cannot be read; trying again", "err", err)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	end := time.Now()
	l.state.replaceAll(links, neighbours, end)
	l.stats.Resyncs++
	l.needAll, l.allAt = false, end.Add(resync)
	l.readAt = end.Add(max(askPause, share*end.Sub(now)))
	l.look(end)
}

func (l *loop) askRoutes(now time.Time) {
	l.routeAt = now.Add(pause)
	l.mu.Lock()
	list := l.state.unrouted()
	l.mu.Unlock()
	answers, err := l.kernel.routes(list)
	if err != nil {
		l.log.Warn("the routes to the backends cannot be read; trying again", "err", err)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	end := time.Now()
	l.state.routed(list, answers, end)
	l.stats.Routes += uint64(len(list))
	l.routeAt = end.Add(max(askPause, share*end.Sub(now)))
	l.look(end)
}

func (l *loop) solicit(now time.Time) {
	l.mu.Lock()
	var asks []ask
	l.askedAt = now
	if asks, l.askAt = l.state.due(now); !l.askAt.IsZero() {
		l.askAt = later(l.askAt, now.Add(askPause))
	}
	l.mu.Unlock()
	if len(asks) == 0 {
		return
	}
	refused, err := l.kernel.solicit(asks)
	if err != nil {
		l.log.Warn("the kernel cannot be made to ask for neighbours; trying again", "err", err)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state.asked(asks, refused, time.Now())
	l.stats.Solicited += uint64(len(asks))
}

// tell tells of changed Hops.
func (l *loop) tell() {
	l.mu.Lock()
	changed := l.state.changed
	l.state.changed = false
	l.mu.Unlock()
	if changed {
		notify(l.changed)
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
