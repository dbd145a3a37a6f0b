// SPDX-License-Identifier: Apache-2.0

package bus

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
// may skip revisions that are overtaken meanwhile. Servers that are away are tried for
// ever; errors are logged when they change. fn is called from this goroutine.
func (d *Definitions) Watch(ctx context.Context, fn func(Revision)) {
	var seen Revision
	said := ""
	wait := firstRetry
	news := make(chan *nats.Msg, 1) // full: the news is that there is news
	var sub *nats.Subscription
	defer func() {
		if sub != nil {
			_ = sub.Unsubscribe()
		}
	}()
	for left := 0; ; {
		if sub == nil || !sub.IsValid() {
			sub = d.listen(news)
		}
		r, err := d.newest(ctx)
		if ctx.Err() != nil {
			return
		}
		var next time.Duration
		switch {
		case err == nil || errors.Is(err, ErrNoDefinitions):
			if said != "" {
				said = ""
				d.bus.opts.Log.Info("the store of definitions is back", "part", "bus", "group", d.group)
			}
			// A store that was made anew counts from 1 again.
			if err == nil && (r.Number != seen.Number || r.SHA256 != seen.SHA256) {
				seen, left = r, 0
				fn(r)
			}
			wait, next = firstRetry, pollEvery
			if left--; left > 0 {
				next = firstRetry << (nudges - left)
			}
		default:
			if text := err.Error(); text != said {
				said = text
				d.bus.opts.Log.Warn("cannot read definitions; trying on with those at hand", "part", "bus", "err", err)
			}
			next, wait = wait, min(2*wait, lastRetry)
		}
		timer := time.NewTimer(next)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-news:
			left = nudges
		case <-timer.C:
		}
		timer.Stop()
	}
}

// listen subscribes to what is written to the bucket: the word of a push, on which the
// store is read. It is no consumer, of which servers keep a record.
func (d *Definitions) listen(news chan *nats.Msg) *nats.Subscription {
	nc, err := d.join()
	if err != nil {
		return nil // newest says so, too
	}
	sub, err := nc.ChanSubscribe("$KV."+bucketName(d.group)+"."+definitionsKey, news)
	if err != nil {
		return nil
	}
	return sub
}
