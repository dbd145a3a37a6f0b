// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// CutView is the answer to a cut.
type CutView struct {
	Backend string `json:"backend"`
	Cut     int    `json:"cut"` // connections that were open
}

// maxRequest bounds the body of a request.
const maxRequest = 16 << 10

// override changes a backend by command.
func (s *Server) override(ctx context.Context, r *http.Request) (any, *Error) {
	id, e := s.backend(ctx, r)
	if e != nil {
		return nil, e
	}
	req, err := readOverride(r.Body)
	if err != nil {
		return nil, badRequest("%v", err)
	}
	if _, _, err := req.Override(time.Now()); err != nil {
		return nil, badRequest("%s %s: %v", req.Kind, id, err)
	}
	res, err := s.Node.Override(ctx, id, req)
	if err != nil {
		return nil, asError(err, http.StatusInternalServerError, CodeInternal)
	}
	return res, nil
}

// readOverride reads the body of an override.
func readOverride(body io.Reader) (core.OverrideRequest, error) {
	return readRequest[core.OverrideRequest](body)
}

// readRequest reads a body that is one value of JSON without unknown keys.
func readRequest[T any](body io.Reader) (T, error) { return readUpTo[T](body, maxRequest) }

func readUpTo[T any](body io.Reader, limit int) (T, error) {
	var req T
	data, err := io.ReadAll(io.LimitReader(body, int64(limit)+1))
	switch {
	case err != nil:
		return req, fmt.Errorf("read request: %w", err)
	case len(data) > limit:
		return req, fmt.Errorf("read request: want at most %d bytes", limit)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&req); err != nil {
		return req, fmt.Errorf("read request: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return req, errors.New("read request: more than one value")
	}
	return req, nil
}

func (s *Server) cut(ctx context.Context, r *http.Request) (any, *Error) {
	id, e := s.backend(ctx, r)
	if e != nil {
		return nil, e
	}
	n, err := s.Node.Cut(ctx, id)
	if err != nil {
		return nil, asError(err, http.StatusInternalServerError, CodeCutFailed)
	}
	return CutView{id.String(), n}, nil
}

// backend is the backend that a path names, or says which one was perhaps meant.
func (s *Server) backend(ctx context.Context, r *http.Request) (core.BackendID, *Error) {
	id := core.BackendID{Service: r.PathValue("service"), Backend: r.PathValue("backend")}
	return id, s.findBackend(ctx, id)
}

// findBackend returns nil if there is such a backend.
func (s *Server) findBackend(ctx context.Context, id core.BackendID) *Error {
	v, e := s.find(ctx, id.Service)
	if e != nil {
		return e
	}
	if len(id.Backend) > maxName {
		return badRequest("backend: a name has at most %d bytes", maxName)
	}
	names := make([]string, 0, len(v.Backends))
	for _, b := range v.Backends {
		if b.Name == id.Backend {
			return nil
		}
		names = append(names, b.Name)
	}
	e = &Error{Status: http.StatusNotFound, Code: CodeUnknownBackend, Message: fmt.Sprintf("service %s has no backend %q", id.Service, id.Backend)}
	switch near := core.Nearest(id.Backend, names); {
	case near != "":
		e.Hint = fmt.Sprintf("did you mean %q?", near)
	case len(names) > 0 && len(names) <= 10:
		e.Hint = "it has " + strings.Join(names, ", ")
	}
	return e
}

// Override changes a backend by command, or ends such a change.
func (c *Client) Override(ctx context.Context, id core.BackendID, r core.OverrideRequest) (core.OverrideResult, error) {
	return send[core.OverrideResult](ctx, c, http.MethodPost, backendPath(id)+"/override", r, changeTimeout)
}

// Cut ends the open connections of a backend and returns how many there were.
func (c *Client) Cut(ctx context.Context, id core.BackendID) (int, error) {
	v, err := call[CutView](ctx, c, http.MethodPost, backendPath(id)+"/cut", changeTimeout)
	return v.Cut, err
}

func backendPath(id core.BackendID) string {
	return "/v1/backends/" + url.PathEscape(id.Service) + "/" + url.PathEscape(id.Backend)
}
