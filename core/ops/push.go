// SPDX-License-Identifier: Apache-2.0

package ops

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
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
	count   int // of both
}

type placed struct {
	at  string
	nth int // of all that the body held, in its order
	core.Sample
}

// A failure is one entry that was not taken.
type failure struct {
	At    string `json:"at,omitempty"` // such as metrics[3]; empty: the body as a whole
	Error string `json:"error"`
	nth   int    // as placed has it
}

// A result is the answer to a push.
type result struct {
	Taken int `json:"taken"`
	// Unmatched are those that are in order and about no backend of this node.
	Unmatched []failure `json:"unmatched,omitempty"`
	Failed    []failure `json:"failed,omitempty"`
	// Warning says why what was taken is known to this node alone.
	Warning string `json:"warning,omitempty"`
	// Error is set where nothing was taken.
	Error *problem `json:"error,omitempty"`
}

func (f *found) take(at string, s core.Sample) {
	f.samples = append(f.samples, placed{at, f.count, s})
	f.count++
}

func (f *found) fail(at string, err error) {
	f.failed = append(f.failed, failure{at, err.Error(), f.count})
	f.count++
}

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
	out := s.handOn(r.Context(), u.Name, f)
	s.meter.push(out.Taken, len(out.Failed)+len(out.Unmatched))
	status := http.StatusOK
	if out.Error != nil {
		status = http.StatusUnprocessableEntity
		if out.Error.Code == busyCode {
			status = http.StatusTooManyRequests
			w.Header().Set("Retry-After", "1")
		}
	}
	writeJSON(w, status, out)
}

// busyCode is that of a problem which is over in a second.
const busyCode = "busy"

// handOn gives what was found to the node, and tells what became of it.
func (s *Server) handOn(ctx context.Context, user string, f found) (out result) {
	var busy []failure
	for _, p := range f.samples {
		err := s.cfg.Node.Push(user, p.Sample)
		if err == nil {
			out.Taken++
			continue
		}
		one := failure{p.at, err.Error(), p.nth}
		switch {
		case errors.As(err, new(*UnmatchedError)):
			out.Unmatched = append(out.Unmatched, one)
			continue
		case errors.Is(err, ErrBusy):
			busy = append(busy, one)
		}
		f.failed = append(f.failed, one)
	}
	out.Failed = f.failed
	for _, list := range [][]failure{out.Failed, out.Unmatched, busy} {
		slices.SortFunc(list, func(a, b failure) int { return cmp.Compare(a.nth, b.nth) })
	}
	all := len(out.Failed) + len(out.Unmatched)
	switch {
	case out.Taken > 0:
		out.Warning = s.cfg.Node.Pushed(ctx)
	case len(busy) > 0:
		out.Error = busy[0].problem(busyCode, all)
	case len(out.Failed) > 0:
		out.Error = out.Failed[0].problem("refused", all)
	case len(out.Unmatched) > 0:
		out.Error = out.Unmatched[0].problem("unmatched", all)
		out.Error.Hint = "a target is SERVICE/BACKEND, a backend, or the address of one; steelyard show lists them"
	}
	return out
}

// problem is the failure as the error of the whole, of which so many failed.
func (f failure) problem(code string, all int) *problem {
	p := &problem{Code: code, Message: f.Error}
	if f.At != "" {
		p.Message = f.At + ": " + f.Error
	}
	if all > 1 {
		p.Message += fmt.Sprintf("; %d more failed", all-1)
	}
	return p
}

func bodyStatus(err error) int {
	var long *http.MaxBytesError
	if errors.As(err, &long) {
		return http.StatusRequestEntityTooLarge
	}
	return http.StatusBadRequest
}
