// SPDX-License-Identifier: Apache-2.0

package definitions

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// pollEvery is how often the newest revision is read although nobody said that
	// there is one.
	pollEvery = 30 * time.Second
	// The wait after an error, doubled each time.
	firstRetry, lastRetry = 250 * time.Millisecond, 30 * time.Second
	// nudges are how often the newest revision is read after somebody has pushed: the
	// word of it may be faster than the store.
	nudges = 4
)

// Watch calls fn with the newest revision, and with each newer one, until ctx ends. It
// may skip revisions that are overtaken meanwhile. One that fn is not done with, such as
// for servers that went away while it read the document, it gets again later. Servers
// that are away are tried for ever; an error is logged when it is another than before.
// fn is called from this goroutine.
func (s *Store) Watch(ctx context.Context, fn func(Revision) (done bool)) {
	w := watcher{Store: s, fn: fn, wait: firstRetry, news: make(chan *nats.Msg, 1)}
	defer w.leave()
	for {
		w.listen()
		next := w.look(ctx)
		if ctx.Err() != nil {
			return
		}
		timer := time.NewTimer(next)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-w.news:
			w.nudged = nudges
		case <-w.back:
			w.wait = firstRetry
		case <-timer.C:
		}
		timer.Stop()
	}
}

// A watcher is the state of one Watch.
type watcher struct {
	*Store
	fn     func(Revision) (done bool)
	seen   Revision
	said   string        // the latest complaint
	wait   time.Duration // after the next error
	nudged int           // how often the store is still to be read soon

	nc   *nats.Conn
	sub  *nats.Subscription
	news chan *nats.Msg   // capacity 1; when full, it is known that there is news
	back chan nats.Status // the connection is there again; of nats.go
}

// look reads the newest revision, and says when to do so next.
func (w *watcher) look(ctx context.Context) time.Duration {
	r, err := w.newest(ctx)
	if err != nil && !errors.Is(err, ErrNone) {
		if text := err.Error(); text != w.said && ctx.Err() == nil {
			w.said = text
			w.cfg.Log.Warn("cannot read definitions; trying on with those at hand", "part", "bus", "err", err)
		}
		return w.again()
	}
	if w.said != "" {
		w.said = ""
		w.cfg.Log.Info("the store of definitions is back", "part", "bus", "group", w.cfg.Group)
	}
	// A store that was made anew counts from 1 again.
	if err == nil && (r.Number != w.seen.Number || r.SHA256 != w.seen.SHA256) {
		if w.nudged = 0; !w.fn(r) {
			return w.again()
		}
		w.seen = r
	}
	w.wait = firstRetry
	if w.nudged == 0 {
		return pollEvery
	}
	w.nudged--
	return firstRetry << (nudges - 1 - w.nudged)
}

// again is the wait before the next attempt.
func (w *watcher) again() time.Duration {
	wait := w.wait
	w.wait = min(2*w.wait, lastRetry)
	return wait
}

// listen subscribes to what is written to the bucket: the word of a push, on which the
// store is read. It is no consumer, of which servers keep a record.
func (w *watcher) listen() {
	nc, err := w.join()
	if err != nil || nc == w.nc {
		return // look says what is wrong
	}
	w.leave()
	w.nc, w.back = nc, nc.StatusChanged(nats.CONNECTED)
	w.sub, err = nc.ChanSubscribe("$KV."+w.bucket()+"."+revisionKey, w.news)
	if err != nil {
		w.cfg.Log.Warn("cannot hear of new definitions; looking now and then", "part", "bus", "err", err)
	}
}

func (w *watcher) leave() {
	if w.sub != nil {
		_ = w.sub.Unsubscribe() // the connection may be closed: then it is done already
		w.sub = nil
	}
	if w.nc != nil {
		w.nc.RemoveStatusListener(w.back)
		w.nc, w.back = nil, nil
	}
}
