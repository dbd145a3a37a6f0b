// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// A fleet is the watches of a running Runner. Only Run's goroutine changes it.
type fleet struct {
	runner  *Runner
	log     *slog.Logger
	began   time.Time
	sockets int            // runs that may hold one at one time
	wait    sync.WaitGroup // of the watches that are not gone
	watches map[*watch]struct{}
	size    atomic.Int64 // how many watches there are
	coming  int          // how many targets the latest change brought
	// seq is of subscribers that went: a changed spec does not make a target's Seq
	// go back.
	seq map[watchKey]uint64
}

// now is the time since the start, which takes a third of the room of a time.Time.
func (f *fleet) now() time.Duration { return time.Since(f.began) }

// reconcile gives every wanted target a watch and stops the watches that nobody wants.
// Those who come are seated before an empty watch is stopped: a backend that is only
// renamed keeps what is known about it.
func (f *fleet) reconcile(ctx context.Context, want map[watchKey]Target) {
	c := newCatalogue()
	seated, asking := f.dismiss(c, want)
	f.coming = len(want) - len(seated)
	for k, t := range want {
		if seated[k] {
			continue
		}
		s := subscriber{id: t.ID, spec: t.Spec, seq: f.seq[k], fresh: true}
		delete(f.seq, k)
		q := c.question(t)
		if w := asking[q]; w != nil {
			w.join(s)
			continue
		}
		asking[q] = f.start(ctx, q, t, s)
	}
	for w := range f.watches {
		if len(w.subs) == 0 { // only this goroutine changes how many there are
			w.stop()
			delete(f.watches, w)
		}
	}
	f.size.Store(int64(len(f.watches)))
	f.count()
}

// dismiss lets the targets go that are not wanted any more, or not so. It returns those
// that stay, and the watches by what they ask.
func (f *fleet) dismiss(c *catalogue, want map[watchKey]Target) (map[watchKey]bool, map[question]*watch) {
	seated := make(map[watchKey]bool, len(want))
	asking := make(map[question]*watch, len(want))
	for w := range f.watches {
		q := c.question(w.target())
		asking[q] = w
		w.keep(func(s *subscriber) bool {
			k := watchKey{s.id, s.spec.Name}
			t, ok := want[k]
			if !ok || c.question(t) != q {
				f.seq[k] = s.seq
				return false
			}
			seated[k], s.spec = true, t.Spec
			return true
		})
	}
	return seated, asking
}

// start adds a watch.
func (f *fleet) start(ctx context.Context, q question, t Target, s subscriber) *watch {
	kind := t.Spec.Type
	limit, sockets := concurrency(kind, f.runner.Concurrency, f.sockets)
	w := &watch{
		fleet:  f,
		gate:   f.runner.places.at(kind, limit, sockets),
		prober: f.prober(t),
		addr:   q.addr,
		spec:   q.spec,
	}
	w.join(s)
	f.watches[w] = struct{}{}
	f.wait.Add(1)
	w.start(ctx)
	return w
}

// prober makes the prober of a target, and one that says why if that panics.
func (f *fleet) prober(t Target) prober {
	prepare := f.runner.prepare
	if prepare == nil {
		prepare = newProber
	}
	return prepared(prepare, t)
}

func prepared(prepare func(Target) prober, t Target) (p prober) {
	defer func() {
		if crash := recover(); crash != nil {
			p = impossible(crashed(crash).detail)
		}
	}()
	return prepare(t)
}

// count tells the gates how many targets they have.
func (f *fleet) count() {
	p := &f.runner.places
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, g := range p.gates {
		g.targets, g.shared = 0, 0
	}
	for w := range f.watches {
		w.gate.targets++
		w.gate.shared += len(w.subs) - 1
	}
}

// disband stops every watch and waits until the last run has ended.
func (f *fleet) disband() {
	for w := range f.watches {
		w.stop()
	}
	f.wait.Wait()
}
