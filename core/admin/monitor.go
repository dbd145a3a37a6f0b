// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"sync/atomic"
	"time"
)

// A Line is one line of the monitor's stream: a message of the bus, or how many
// were lost since the line before because the reader was slow.
type Line struct {
	Subject string    `json:"subject,omitempty"`
	At      time.Time `json:"at,omitzero"` // when it passed this node
	// Data is the body: JSON as it came, or a JSON string of what was none.
	Data    json.RawMessage `json:"data,omitempty"`
	Dropped uint64          `json:"dropped,omitempty"`
}

// lineQueue is how many messages wait for one reader. When it is full, new ones
// are dropped and counted.
const lineQueue = 1024

func (s *Server) monitor(ctx context.Context, w http.ResponseWriter, r *http.Request) {
	if !s.enter(w) {
		return
	}
	defer s.monitors.Add(-1)

	queue := make(chan Line, lineQueue)
	var dropped atomic.Uint64
	cancel, err := s.Node.Subscribe(r.URL.Query().Get("pattern"), func(subject string, data []byte) {
		select {
		case queue <- newLine(subject, data, time.Now().UTC()):
		default:
			dropped.Add(1)
		}
	})
	if err != nil {
		writeError(w, asError(err, http.StatusBadRequest, CodeBadRequest))
		return
	}
	defer cancel()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(r.Context(), stop)()
	stream(ctx, w, queue, &dropped)
}

// enter counts a stream, or answers that there are too many.
func (s *Server) enter(w http.ResponseWriter) bool {
	if s.monitors.Add(1) <= maxMonitors {
		return true
	}
	s.monitors.Add(-1)
	writeError(w, &Error{Status: http.StatusServiceUnavailable, Code: CodeBusy, Message: "too many monitors are running",
		Hint: "end one of them"})
	return false
}

func newLine(subject string, data []byte, at time.Time) Line {
	if !json.Valid(data) {
		data, _ = json.Marshal(string(data))
	}
	return Line{Subject: subject, At: at, Data: data}
}

// stream writes lines until ctx is done or the reader takes none for
// writeTimeout.
func stream(ctx context.Context, w http.ResponseWriter, queue <-chan Line, dropped *atomic.Uint64) {
	c := http.NewResponseController(w)
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
	enc := json.NewEncoder(w)
	for {
		_ = c.SetWriteDeadline(time.Now().Add(writeTimeout))
		if c.Flush() != nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case l := <-queue:
			_ = c.SetWriteDeadline(time.Now().Add(writeTimeout))
			// As many as are there go out in one write.
			for more := true; more; {
				if enc.Encode(l) != nil {
					return
				}
				select {
				case l = <-queue:
				default:
					more = false
				}
			}
			if n := dropped.Swap(0); n > 0 && enc.Encode(Line{Dropped: n}) != nil {
				return
			}
		}
	}
}
