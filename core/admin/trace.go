// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// A trace waits for a sample, which comes once in the interval of its probe.
const (
	defaultTrace = 30 * time.Second
	maxTrace     = 2 * time.Hour // probes run once an hour at least
)

// trace follows the next sample of a backend. It ends with its client, or with serving.
func (s *Server) trace(serving context.Context, w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	limit := defaultTrace
	if text := q.Get("timeout"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil || d <= 0 || d > maxTrace {
			writeError(w, badRequest("timeout: %q, want a time such as 30s, at most %s", text, maxTrace))
			return
		}
		limit = d
	}
	probe := q.Get("probe")
	if len(probe) > maxName {
		writeError(w, badRequest("probe: a name has at most %d bytes", maxName))
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), limit)
	defer cancel()
	defer context.AfterFunc(serving, cancel)()
	id := core.BackendID{Service: q.Get("service"), Backend: q.Get("backend")}
	if e := s.findBackend(ctx, id); e != nil {
		writeError(w, e)
		return
	}
	v, err := s.Node.Trace(ctx, id, probe)
	if err != nil {
		writeError(w, asError(err, http.StatusConflict, CodeTraceFailed))
		return
	}
	write(w, http.StatusOK, v)
}

// Trace follows the next sample of a backend, of one probe if that is not empty, to its
// end, for at most timeout.
func (c *Client) Trace(ctx context.Context, id core.BackendID, probe string, timeout time.Duration) (core.Trace, error) {
	q := url.Values{"service": {id.Service}, "backend": {id.Backend}, "probe": {probe}, "timeout": {timeout.String()}}
	return call[core.Trace](ctx, c, http.MethodGet, "/v1/trace?"+q.Encode(), timeout+answerTimeout)
}
