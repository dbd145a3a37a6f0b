// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// DecisionsView is the answer to /v1/decisions.
type DecisionsView struct {
	Decisions []core.Decision `json:"decisions"`
}

// VersionView is the answer to /v1/version.
type VersionView struct {
	Version string `json:"version"`
	Go      string `json:"go"`
	System  string `json:"system"` // linux/amd64
}

type (
	stopView struct {
		Stopping bool `json:"stopping"`
		Flush    bool `json:"flush"` // the rules go too, after this answer
	}
	errorView struct {
		Error *Error `json:"error"`
	}
)

// An answer computes the body of a route, or an error.
type answer func(ctx context.Context, r *http.Request) (any, *Error)

// handler is every route. Streams end when ctx does.
func (s *Server) handler(ctx context.Context) http.Handler {
	mux := http.NewServeMux()
	route := func(method, path string, limit time.Duration, a answer) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			if !allow(w, r, method) {
				return
			}
			// A change that began is finished, whether or not its client waits.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), limit)
			defer cancel()
			v, e := a(ctx, r)
			if e != nil {
				writeError(w, e)
				return
			}
			write(w, http.StatusOK, v)
		})
	}
	route(http.MethodGet, "/v1/node", answerTimeout, s.node)
	route(http.MethodGet, "/v1/services/{service}", answerTimeout, s.service)
	route(http.MethodGet, "/v1/decisions", answerTimeout, s.decisions)
	route(http.MethodPost, "/v1/reload", changeTimeout, s.reload)
	route(http.MethodPost, "/v1/stop", changeTimeout, s.stop)
	route(http.MethodPost, "/v1/backends/{service}/{backend}/override", changeTimeout, s.override)
	route(http.MethodPost, "/v1/backends/{service}/{backend}/cut", changeTimeout, s.cut)
	route(http.MethodGet, "/v1/plan", answerTimeout, s.inForce)
	route(http.MethodGet, "/v1/sessions", answerTimeout, s.sessions)
	route(http.MethodPost, "/v1/services/{service}/pin", changeTimeout, s.pin)
	route(http.MethodPost, "/v1/services/{service}/forget", changeTimeout, s.forget)
	route(http.MethodPost, "/v1/metrics", changeTimeout, s.metrics)
	route(http.MethodGet, "/v1/version", answerTimeout, s.version)
	mux.HandleFunc("/v1/monitor", func(w http.ResponseWriter, r *http.Request) {
		if allow(w, r, http.MethodGet) {
			s.monitor(ctx, w, r)
		}
	})
	mux.HandleFunc("/v1/trace", func(w http.ResponseWriter, r *http.Request) {
		if allow(w, r, http.MethodGet) {
			s.trace(ctx, w, r)
		}
	})
	mux.HandleFunc("/v1/recordings", func(w http.ResponseWriter, r *http.Request) {
		if allow(w, r, http.MethodGet) {
			s.recordings(ctx, w, r)
		}
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		writeError(w, &Error{Status: http.StatusNotFound, Code: CodeNotFound, Message: fmt.Sprintf("no such path: %s", r.URL.Path)})
	})
	return mux
}

func (s *Server) node(ctx context.Context, _ *http.Request) (any, *Error) {
	v, err := s.Node.View(ctx)
	if err != nil {
		return nil, asError(err, http.StatusInternalServerError, CodeInternal)
	}
	return v, nil
}

func (s *Server) service(ctx context.Context, r *http.Request) (any, *Error) {
	return s.find(ctx, r.PathValue("service"))
}

// find returns the view of one service, or says which one was perhaps meant.
func (s *Server) find(ctx context.Context, name string) (core.ServiceView, *Error) {
	v, err := s.Node.View(ctx)
	if err != nil {
		return core.ServiceView{}, asError(err, http.StatusInternalServerError, CodeInternal)
	}
	names := make([]string, 0, len(v.Services))
	for _, svc := range v.Services {
		if svc.Name == name {
			return svc, nil
		}
		names = append(names, svc.Name)
	}
	e := &Error{Status: http.StatusNotFound, Code: CodeUnknownService, Message: fmt.Sprintf("no service is called %q", name)}
	if len(name) > maxName {
		return core.ServiceView{}, badRequest("service: a name has at most %d bytes", maxName)
	}
	switch near := core.Nearest(name, names); {
	case near != "":
		e.Hint = fmt.Sprintf("did you mean %q?", near)
	case len(names) > 0 && len(names) <= 10:
		e.Hint = "there are " + strings.Join(names, ", ")
	}
	return core.ServiceView{}, e
}

func (s *Server) decisions(ctx context.Context, r *http.Request) (any, *Error) {
	q := r.URL.Query()
	name, last := q.Get("service"), 1
	if text := q.Get("last"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxLast {
			return nil, badRequest("last: %q, want 1 to %d", text, maxLast)
		}
		last = n
	}
	if name == "" {
		return nil, badRequest("service is missing")
	}
	if _, e := s.find(ctx, name); e != nil {
		return nil, e
	}
	list, err := s.Node.Decisions(name, last)
	if err != nil {
		return nil, asError(err, http.StatusInternalServerError, CodeInternal)
	}
	if list == nil {
		list = []core.Decision{} // in JSON an empty list, not null
	}
	return DecisionsView{list}, nil
}

func (s *Server) reload(ctx context.Context, _ *http.Request) (any, *Error) {
	v, err := s.Node.Reload(ctx)
	if err != nil {
		e := asError(err, http.StatusUnprocessableEntity, reloadCode(err))
		if e.Hint == "" {
			e.Hint = reloadHint(err)
		}
		return nil, e
	}
	return v, nil
}

func (s *Server) stop(ctx context.Context, r *http.Request) (any, *Error) {
	flush := false
	if text := r.URL.Query().Get("flush"); text != "" {
		b, err := strconv.ParseBool(text)
		if err != nil {
			return nil, badRequest("flush: %q, want true or false", text)
		}
		flush = b
	}
	if err := s.Node.Stop(ctx, flush); err != nil {
		return nil, asError(err, http.StatusInternalServerError, CodeStopFailed)
	}
	return stopView{true, flush}, nil
}

func (s *Server) version(ctx context.Context, _ *http.Request) (any, *Error) {
	version := s.Version
	if version == "" {
		v, err := s.Node.View(ctx)
		if err != nil {
			return nil, asError(err, http.StatusInternalServerError, CodeInternal)
		}
		version = v.Version
	}
	return VersionView{version, runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}, nil
}

func badRequest(format string, args ...any) *Error {
	return &Error{Status: http.StatusBadRequest, Code: CodeBadRequest, Message: fmt.Sprintf(format, args...)}
}

// allow reports whether the method is the route's; if not, it has answered.
func allow(w http.ResponseWriter, r *http.Request, method string) bool {
	if r.Method == method {
		return true
	}
	w.Header().Set("Allow", method)
	writeError(w, &Error{Status: http.StatusMethodNotAllowed, Code: CodeMethodNotAllowed,
		Message: fmt.Sprintf("method %s is not allowed here", r.Method), Hint: "use " + method})
	return false
}

func writeError(w http.ResponseWriter, e *Error) { write(w, e.Status, errorView{e}) }

func write(w http.ResponseWriter, status int, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		// A NaN in a view, say. The caller must not read half an answer.
		status = http.StatusInternalServerError
		data, _ = json.Marshal(errorView{&Error{Code: CodeInternal, Message: "write answer: " + err.Error()}})
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout))
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(data, '\n')) // the client is gone: nobody is left to tell
}
