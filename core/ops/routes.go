// SPDX-License-Identifier: Apache-2.0

package ops

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// handler is every route.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/metrics", s.route(http.MethodGet, RightRead, s.metrics))
	mux.Handle("/healthz", s.route(http.MethodGet, "", s.healthz))
	mux.Handle("/readyz", s.route(http.MethodGet, "", s.readyz))
	mux.Handle("/v1/metrics", s.route(http.MethodPost, RightPush, s.pushMetrics))
	mux.Handle("/v1/alerts", s.route(http.MethodPost, RightPush, s.pushAlerts))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		unread(w, r)
		writeError(w, http.StatusNotFound, problem{"not_found", fmt.Sprintf("no such path: %.200q", r.URL.Path),
			"there are /metrics, /healthz, /readyz, /v1/metrics and /v1/alerts"})
	})
	return mux
}

// A serve answers a request of u; nil is somebody without a name.
type serve func(w http.ResponseWriter, r *http.Request, u *User)

// route lets through who uses the method and has the right; an empty right is
// everyone's.
func (s *Server) route(method, right string, next serve) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if method == http.MethodGet {
			unread(w, r)
		}
		if r.Method != method && !(method == http.MethodGet && r.Method == http.MethodHead) {
			unread(w, r)
			w.Header().Set("Allow", method)
			writeError(w, http.StatusMethodNotAllowed, problem{"method_not_allowed",
				fmt.Sprintf("method %.20s is not allowed here", r.Method), "use " + method})
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		if u, ok := s.permit(w, r, right); ok {
			next(w, r, u)
		}
	})
}

// unread ends the connection after the answer if there is a body, which nobody reads:
// to wait for it would keep a place for whoever sends it a byte at a time.
func unread(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 {
		w.Header().Set("Connection", "close")
		// The server would read on to its end after the answer, too.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now())
	}
}

// permit reports whether the request may go on; if not, it has answered.
func (s *Server) permit(w http.ResponseWriter, r *http.Request, right string) (*User, bool) {
	if right == "" || right == RightRead && len(s.cfg.Users) == 0 {
		return nil, true
	}
	if len(s.cfg.Users) == 0 {
		unread(w, r)
		writeError(w, http.StatusForbidden, problem{"no_users", "there are no users, and a number needs a name to come from",
			"add a user with the right push to http.users"})
		return nil, false
	}
	u := s.auth.who(r)
	if u == nil || !u.may(right) {
		unread(w, r)
	}
	switch {
	case u == nil:
		w.Header().Set("WWW-Authenticate", `Basic realm="steelyard", charset="UTF-8"`)
		writeError(w, http.StatusUnauthorized, problem{"unauthorized", "no user, or not its password or token",
			"send the password of a user in http.users with basic authentication, or its token as a bearer token"})
		return nil, false
	case !u.may(right):
		writeError(w, http.StatusForbidden, problem{"forbidden", fmt.Sprintf("user %s has no right to %s", u.Name, right),
			fmt.Sprintf("add %s to http.users.%s.rights", right, u.Name)})
		return nil, false
	}
	return u, true
}

// A problem is an error as clients read it.
type problem struct {
	Code    string `json:"code"`    // for programs
	Message string `json:"message"` // for people: what and why
	Hint    string `json:"hint,omitempty"`
}

func writeError(w http.ResponseWriter, status int, p problem) {
	writeJSON(w, status, map[string]problem{"error": p})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	data, err := json.Marshal(v)
	if err != nil { // of our own types, none of which can fail
		status, data = http.StatusInternalServerError, []byte(`{"error":{"code":"internal","message":"the answer cannot be written"}}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(data, '\n')) // the client is gone: nobody is left to tell
}
