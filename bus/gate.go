// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"errors"
	"strings"
	"sync"
	"time"
)

// How much one monitor may send. The burst is one round of 16,000 backends at once,
// a message each; the rate feeds them all every 8 s. Whoever has more to say sends lists.
const (
	metricRate  = 2000 // messages per second
	metricBurst = 1 << 14
)

// ErrFlood means that a source sent more than it may, and the message was dropped.
var ErrFlood = errors.New("it sends more than 2000 readings a second")

// A gate holds each source of metrics to a rate, by a bucket of tokens for each. It
// stands where messages come in, before anything else is done about them, so that
// whoever floods the bus is dropped faster than anyone can send. It may be used from
// any goroutine.
type gate struct {
	mu      sync.Mutex
	buckets map[string]*bucket // guarded by mu
}

type bucket struct {
	tokens float64 // below 0 after a list that was let in as a whole
	at     time.Time
}

// allow takes n tokens of a source and reports whether there was one at least. A
// source that there is no room for gets none.
func (g *gate) allow(source string, n int, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	b := g.buckets[source]
	if b == nil {
		if len(g.buckets) >= maxSources && !g.evictLocked(now) {
			return false
		}
		if g.buckets == nil {
			g.buckets = make(map[string]*bucket)
		}
		b = &bucket{tokens: metricBurst, at: now}
		g.buckets[strings.Clone(source)] = b
	}
	b.fill(now)
	if b.tokens < 1 {
		return false
	}
	b.tokens -= float64(n)
	return true
}

// charge takes n tokens more, for what was let in already.
func (g *gate) charge(source string, n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if b := g.buckets[source]; b != nil {
		b.tokens -= float64(n)
	}
}

func (b *bucket) fill(now time.Time) {
	if d := now.Sub(b.at); d > 0 {
		b.tokens = min(b.tokens+d.Seconds()*metricRate, metricBurst)
		b.at = now
	}
}

// evictLocked forgets sources whose bucket is full again, for that is all there is to
// remember of them, and reports whether there were any.
func (g *gate) evictLocked(now time.Time) bool {
	found := false
	for source, b := range g.buckets {
		if b.fill(now); b.tokens >= metricBurst {
			delete(g.buckets, source)
			found = true
		}
	}
	return found
}

// sourceToken is the source of a metric subject, as it stands there.
func sourceToken(subject string) string {
	rest := strings.TrimPrefix(subject, Prefix+"."+string(MetricClass)+".")
	token, _, _ := strings.Cut(rest, ".")
	return token
}
