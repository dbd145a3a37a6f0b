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
	Taken  int       `json:"taken"`
	Failed []failure `json:"failed,omitempty"`
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
		if err := s.cfg.Node.Push(u.Name, p.Sample); err != nil {
			busy = busy || errors.Is(err, ErrBusy)
			f.fail(p.at, err)
			continue
		}
		out.Taken++
	}
	out.Failed = f.failed
	s.meter.push(out.Taken, len(out.Failed))
	writeResult(w, out, busy)
}

func writeResult(w http.ResponseWriter, out result, busy bool) {
	status := http.StatusOK
	if out.Taken == 0 && len(out.Failed) > 0 {
		first := out.Failed[0]
		status = http.StatusUnprocessableEntity
		out.Error = &problem{Code: "refused", Message: first.Error}
		if first.At != "" {
			out.Error.Message = first.At + ": " + first.Error
		}
		if busy {
			status = http.StatusTooManyRequests
			out.Error.Code = "busy"
			w.Header().Set("Retry-After", "1")
		}
	}
	writeJSON(w, status, out)
}

func bodyStatus(err error) int {
	var long *http.MaxBytesError
	if errors.As(err, &long) {
		return http.StatusRequestEntityTooLarge
	}
	return http.StatusBadRequest
}
