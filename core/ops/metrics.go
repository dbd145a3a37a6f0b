// SPDX-License-Identifier: Apache-2.0

package ops

import (
	"compress/gzip"
	"context"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// viewWithin is how long a page waits for the event loop.
const viewWithin = 5 * time.Second

const expositionType = "text/plain; version=0.0.4; charset=utf-8"

// pages makes one page at a time, and gives it to all who asked before it was begun.
type pages struct {
	waiting atomic.Int32 // requests that want a page, the one that makes it among them

	mu     sync.Mutex
	latest []byte    // guarded by mu; never changed once made; nil while nobody waits for it
	begun  time.Time // guarded by mu; when latest was
	size   int       // guarded by mu; bytes that the largest so far took
}

// metrics answers a scrape.
func (s *Server) metrics(w http.ResponseWriter, r *http.Request, _ *User) {
	text, err := s.page(r.Context())
	if err != nil {
		writeError(w, http.StatusServiceUnavailable, problem{Code: "timeout", Message: "the event loop does not answer: " + err.Error()})
		return
	}
	w.Header().Set("Content-Type", expositionType)
	w.Header().Set("Vary", "Accept-Encoding")
	if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		w.Header().Set("Content-Length", strconv.Itoa(len(text)))
		_, _ = w.Write(text) // the client is gone: nobody is left to tell
		return
	}
	w.Header().Set("Content-Encoding", "gzip")
	z, _ := gzip.NewWriterLevel(w, gzip.BestSpeed) // the level is a good one
	_, _ = z.Write(text)
	_ = z.Close()
}

// page is one that was begun after the call.
func (s *Server) page(ctx context.Context) ([]byte, error) {
	p := &s.pages
	p.waiting.Add(1)
	asked := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	defer func() {
		if p.waiting.Add(-1) == 0 {
			p.latest = nil // megabytes, between two scrapes
		}
	}()
	if p.latest != nil && p.begun.After(asked) {
		return p.latest, nil
	}
	// Who waits behind this one should not lose the page because its client goes.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), viewWithin)
	defer cancel()
	begun := time.Now()
	v, err := s.cfg.Node.View(ctx)
	if err != nil {
		return nil, err
	}
	text := s.write(v, begun, p.size)
	p.latest, p.begun, p.size = text, begun, max(p.size, cap(text))
	return text, nil
}

// write makes the page of a view, the important families first: from where the limit
// is reached on those that are too large are left out.
func (s *Server) write(v core.NodeView, begun time.Time, size int) []byte {
	p := &page{buf: make([]byte, 0, max(size, 4<<10)), max: s.cfg.MaxSeries - reserved}
	m := s.meter.snapshot(&v)
	s.nodeFamilies(p, &v, m)
	kernelFamilies(p, &v, m)
	processFamilies(p)
	probingFamilies(p, &v)
	policyFamilies(p, &v)
	busFamilies(p, &v)
	clusterFamilies(p, &v)
	webhookFamilies(p, &v)
	serviceFamilies(p, &v, m)
	backendFamilies(p, &v, m)
	decisionFamilies(p, &v, m)
	probeFamilies(p, &v, m)
	p.max += reserved
	p.one("steelyard_metrics_series", gauge, "Series on this page, those of this family and the next two not counted.", float64(p.series))
	p.one("steelyard_metrics_series_omitted", gauge, "Series that http.max_series kept off this page, as whole families.", float64(p.omitted))
	p.one("steelyard_metrics_page_duration_seconds", gauge, "Time that making this page took.", time.Since(begun).Seconds())
	return p.buf
}

// reserved is the room for what a page says of itself.
const reserved = 3
