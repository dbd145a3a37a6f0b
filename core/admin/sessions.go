// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// A SessionsQuery asks for the clients that persistence has bound.
type SessionsQuery struct {
	Service string // empty: of all services that have persistence or pins
	core.SessionFilter
	Limit int // sessions per service at most; 0: all
}

// SessionsAnswer is the answer to /v1/sessions.
type SessionsAnswer struct {
	Services []core.SessionsView `json:"services"`
}

// A ForgetRequest asks that persistence forgets clients.
type ForgetRequest struct {
	core.SessionFilter
	Author string `json:"author"`
}

// ForgetView is the answer to a ForgetRequest.
type ForgetView struct {
	Service   string `json:"service"`
	Forgotten int    `json:"forgotten"` // entries
}

func (s *Server) inForce(ctx context.Context, _ *http.Request) (any, *Error) {
	v, err := s.Node.InForce(ctx)
	if err != nil {
		return nil, asError(err, http.StatusInternalServerError, CodeInternal)
	}
	return v, nil
}

func (s *Server) sessions(ctx context.Context, r *http.Request) (any, *Error) {
	values := r.URL.Query()
	q := SessionsQuery{Service: values.Get("service"), SessionFilter: core.SessionFilter{Backend: values.Get("backend")}}
	if text := values.Get("client"); text != "" {
		client, err := core.ParseClient(text)
		if err != nil {
			return nil, badRequest("%v", err)
		}
		q.Client = client
	}
	if text := values.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return nil, badRequest("limit: %q, want a number, 0 for all", text)
		}
		q.Limit = n
	}
	if e := s.known(ctx, q.Service, q.Backend); e != nil {
		return nil, e
	}
	list, err := s.Node.Sessions(ctx, q)
	if err != nil {
		return nil, asError(err, http.StatusInternalServerError, CodeInternal)
	}
	if list == nil {
		list = []core.SessionsView{}
	}
	return SessionsAnswer{list}, nil
}

// known checks names, and says which one was perhaps meant. Empty ones are not
// looked for.
func (s *Server) known(ctx context.Context, service, backend string) *Error {
	if service == "" {
		return nil
	}
	if backend == "" {
		_, e := s.find(ctx, service)
		return e
	}
	return s.findBackend(ctx, core.BackendID{Service: service, Backend: backend})
}

// pin pins clients to a backend by command, or ends that.
func (s *Server) pin(ctx context.Context, r *http.Request) (any, *Error) {
	service := r.PathValue("service")
	req, err := readRequest[core.PinRequest](r.Body)
	if err == nil {
		_, _, err = req.Pin(time.Now())
	}
	if err != nil {
		return nil, badRequest("%v", err)
	}
	if e := s.known(ctx, service, req.Backend); e != nil {
		return nil, e
	}
	res, err := s.Node.Pin(ctx, service, req)
	if err != nil {
		return nil, asError(err, http.StatusUnprocessableEntity, CodeRefused)
	}
	return res, nil
}

// forget makes persistence forget clients.
func (s *Server) forget(ctx context.Context, r *http.Request) (any, *Error) {
	service := r.PathValue("service")
	req, err := readRequest[ForgetRequest](r.Body)
	if err == nil {
		err = req.Check()
	}
	if err != nil {
		return nil, badRequest("%v", err)
	}
	if e := s.known(ctx, service, req.Backend); e != nil {
		return nil, e
	}
	n, err := s.Node.Forget(ctx, service, req.SessionFilter, req.Author)
	if err != nil {
		return nil, asError(err, http.StatusUnprocessableEntity, CodeRefused)
	}
	return ForgetView{service, n}, nil
}

// InForce returns what the node carries, to compare a configuration with.
func (c *Client) InForce(ctx context.Context) (core.InForce, error) {
	return call[core.InForce](ctx, c, http.MethodGet, "/v1/plan", answerTimeout)
}

// Sessions returns the clients that persistence has bound, by service.
func (c *Client) Sessions(ctx context.Context, q SessionsQuery) ([]core.SessionsView, error) {
	v := url.Values{"service": {q.Service}, "backend": {q.Backend}, "limit": {strconv.Itoa(q.Limit)}}
	if q.Client.IsValid() {
		v.Set("client", q.Client.String())
	}
	a, err := call[SessionsAnswer](ctx, c, http.MethodGet, "/v1/sessions?"+v.Encode(), answerTimeout)
	return a.Services, err
}

// Pin pins clients of a service to a backend by command, or ends that.
func (c *Client) Pin(ctx context.Context, service string, r core.PinRequest) (core.PinResult, error) {
	return send[core.PinResult](ctx, c, http.MethodPost, "/v1/services/"+url.PathEscape(service)+"/pin", r, changeTimeout)
}

// Forget makes persistence forget the clients that the filter picks and returns
// how many there were.
func (c *Client) Forget(ctx context.Context, service string, f core.SessionFilter, author string) (int, error) {
	v, err := send[ForgetView](ctx, c, http.MethodPost, "/v1/services/"+url.PathEscape(service)+"/forget", ForgetRequest{f, author}, changeTimeout)
	return v.Forgotten, err
}
