// SPDX-License-Identifier: Apache-2.0

package ops

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// ErrBusy is what Node.Push returns, perhaps wrapped, where the source sends too much
// at a time: the client is told to come back.
var ErrBusy = errors.New("too many metrics at a time")

// An UnmatchedError is what Node.Push returns, perhaps wrapped, for a metric about a
// target that is no backend of this node. Text names it, and what there is.
type UnmatchedError struct{ Text string }

func (e *UnmatchedError) Error() string { return e.Text }

// maxEntries bounds one request, as a message on the bus.
const maxEntries = 4096

// A found is what a body held: samples and what could not be one, both with their
// place in it.
type found struct {
	samples []placed
	failed  []failure
}

type placed struct {
	at string
	core.Sample
}

// A failure is one entry that was not taken.
type failure struct {
	At    string `json:"at"` // such as metrics[3]; empty: the body as a whole
	Error string `json:"error"`
}

// A result is the answer to a push.
type result struct {
	Taken int `json:"taken"`
	// Unmatched are those that are in order and about no backend of this node.
	Unmatched []failure `json:"unmatched,omitempty"`
	Failed    []failure `json:"failed,omitempty"`
	// Error is set where nothing was taken.
	Error *problem `json:"error,omitempty"`
}

func (f *found) take(at string, s core.Sample) { f.samples = append(f.samples, placed{at, s}) }

func (f *found) fail(at string, err error) { f.failed = append(f.failed, failure{at, err.Error()}) }

// pushMetrics takes numbers about backends, in the forms of the bus or of Telegraf.
func (s *Server) pushMetrics(w http.ResponseWriter, r *http.Request, u *User) {
	s.push(w, r, u, func(body []byte) (found, error) {
		return decodeMetrics(body, r.Header, r.URL.Query(), u.Name, time.Now())
	})
}

// pushAlerts takes what Alertmanager sends to a webhook.
func (s *Server) pushAlerts(w http.ResponseWriter, r *http.Request, u *User) {
	s.push(w, r, u, func(body []byte) (found, error) { return decodeAlerts(body, time.Now()) })
}

// push reads a body and hands on what is in it. What is wrong with one entry costs no
// other.
func (s *Server) push(w http.ResponseWriter, r *http.Request, u *User, decode func([]byte) (found, error)) {
	if e := r.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		writeError(w, http.StatusUnsupportedMediaType, problem{"bad_request", fmt.Sprintf("a body of Content-Encoding %.20q is not read", e), "send it without; for Telegraf leave content_encoding out"})
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		writeError(w, bodyStatus(err), problem{"bad_request", "read body: " + err.Error(), fmt.Sprintf("a body has at most %d bytes", maxBody)})
		return
	}
	f, err := decode(body)
	if err != nil {
		s.meter.push(0, 1)
		writeError(w, http.StatusBadRequest, problem{"bad_request", err.Error(), "docs/http.md shows what is taken"})
		return
	}
	var out result
	busy := false
	for _, p := range f.samples {
		err := s.cfg.Node.Push(u.Name, p.Sample)
		switch {
		case err == nil:
			out.Taken++
		case errors.As(err, new(*UnmatchedError)):
			out.Unmatched = append(out.Unmatched, failure{p.at, err.Error()})
		default:
			busy = busy || errors.Is(err, ErrBusy)
			f.fail(p.at, err)
		}
	}
	out.Failed = f.failed
	s.meter.push(out.Taken, len(out.Failed)+len(out.Unmatched))
	writeResult(w, out, busy)
}

func writeResult(w http.ResponseWriter, out result, busy bool) {
	status := http.StatusOK
	switch {
	case out.Taken > 0:
	case len(out.Failed) > 0:
		status, out.Error = http.StatusUnprocessableEntity, out.Failed[0].problem("refused")
		if busy {
			status = http.StatusTooManyRequests
			out.Error.Code = "busy"
			w.Header().Set("Retry-After", "1")
		}
	case len(out.Unmatched) > 0:
		status, out.Error = http.StatusUnprocessableEntity, out.Unmatched[0].problem("unmatched")
		out.Error.Hint = "a target is SERVICE/BACKEND, a backend, or the address of one; steelyard show lists them"
	}
	writeJSON(w, status, out)
}

// problem is the failure as the error of the whole.
func (f failure) problem(code string) *problem {
	if f.At == "" {
		return &problem{Code: code, Message: f.Error}
	}
	return &problem{Code: code, Message: f.At + ": " + f.Error}
}

func bodyStatus(err error) int {
	var long *http.MaxBytesError
	if errors.As(err, &long) {
		return http.StatusRequestEntityTooLarge
	}
	return http.StatusBadRequest
}
