// SPDX-License-Identifier: Apache-2.0

package ops

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// A tick of the event loop is tens of milliseconds; one that does not answer in
// aliveWithin hangs.
const aliveWithin = 2 * time.Second

// healthz says whether the event loop turns: a process that does not answer here
// should be started again.
func (s *Server) healthz(w http.ResponseWriter, r *http.Request, _ *User) {
	if _, err := s.view.get(r.Context(), s.within, s.cfg.Node.View); err != nil {
		writeText(w, http.StatusServiceUnavailable, "the event loop does not answer: "+err.Error()+"\n")
		return
	}
	writeText(w, http.StatusOK, "ok\n")
}

// readyz says whether this node should get traffic.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request, _ *User) {
	q := r.URL.Query()
	verbose := q.Has("verbose")
	if verbose {
		if _, ok := s.permit(w, r, RightRead); !ok {
			return
		}
	}
	checks, _ := s.ready.get(r.Context(), s.within, func(ctx context.Context) ([]Check, error) { return s.cfg.Node.Ready(ctx), nil })
	checks = slices.Clone(checks)
	for _, name := range q["service"] {
		checks = append(checks, s.serviceCheck(r.Context(), name))
	}
	names := make([]string, len(checks))
	for i, c := range checks {
		names[i] = c.Name
	}
	for _, name := range slices.Concat(q["exclude"], q["require"]) {
		if !slices.Contains(names, name) {
			writeError(w, http.StatusBadRequest, problem{"bad_request", fmt.Sprintf("no check is called %.100q", name), "there are " + strings.Join(names, ", ")})
			return
		}
	}
	ready, text := verdict(checks, q["exclude"], q["require"])
	status := http.StatusOK
	if !ready {
		status = http.StatusServiceUnavailable
	}
	if !verbose {
		text = map[bool]string{true: "ready\n", false: "not ready; ?verbose tells why\n"}[ready]
	}
	writeText(w, status, text)
}

func (s *Server) serviceCheck(ctx context.Context, name string) Check {
	v, err := s.view.get(ctx, s.within, s.cfg.Node.View)
	if err != nil {
		return Check{Name: "service " + name, Detail: "the event loop does not answer: " + err.Error()}
	}
	return checkService(v, name)
}

// verdict weighs the checks and writes a line for each: [+] passed, [-] failed,
// [!] failed and only told.
func verdict(checks []Check, exclude, require []string) (ready bool, text string) {
	ready = len(checks) > 0
	var b strings.Builder
	for _, c := range checks {
		mark := "[+]"
		counts := !slices.Contains(exclude, c.Name) && (!c.Told || slices.Contains(require, c.Name))
		switch {
		case c.OK:
		case counts:
			mark, ready = "[-]", false
		default:
			mark = "[!]"
		}
		fmt.Fprintf(&b, "%s%s: %s\n", mark, c.Name, c.Detail)
	}
	if ready {
		b.WriteString("ready\n")
	} else {
		b.WriteString("not ready\n")
	}
	return ready, b.String()
}

func writeText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text)) // the client is gone: nobody is left to tell
}
