// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/steelyard-lb/steelyard/bus"
	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/admin"
)

// natsMetrics publishes on a NATS, whether or not a daemon listens there.
type natsMetrics struct {
	nc     *nats.Conn
	source string
}

func newNATSMetrics(ctx context.Context, f *metricFlags) (metricSender, error) {
	login, err := f.login()
	if err != nil {
		return nil, err
	}
	opts, err := login.Options()
	if err != nil {
		return nil, usage(err)
	}
	source := cmp.Or(f.source, f.user, hostName())
	limit := callTimeout
	if until, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(until))
	}
	// What is refused is asked for after each batch.
	opts = append(opts, nats.Name("steelyard metric push "+source), nats.Timeout(limit), nats.MaxReconnects(-1), nats.ReconnectBufSize(-1),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	nc, err := nats.Connect(strings.Join(f.servers, ","), opts...)
	if err != nil {
		e := &codedError{code: exitUnreachable, err: fmt.Errorf("connect to NATS: %w", err), hint: connectHint(err, "see that its servers run and take the login")}
		if errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrAuthExpired) {
			e.code = exitPermission
		}
		return nil, e
	}
	return natsMetrics{nc, source}, nil
}

func (s natsMetrics) close() { s.nc.Close() }

func (s natsMetrics) send(ctx context.Context, list []admin.PushMetric) (out admin.MetricsAnswer, err error) {
	for i, m := range list {
		subject, body := s.message(m)
		if err := s.nc.Publish(subject, body); err != nil {
			out.Refused = append(out.Refused, admin.RefusedMetric{Index: i, Error: err.Error()})
			continue
		}
		out.Taken++
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := s.nc.FlushWithContext(ctx); err != nil {
		return out, &codedError{code: exitUnreachable, err: fmt.Errorf("send to NATS: %w", err), hint: "see that its servers run"}
	}
	if err := s.nc.LastError(); errors.Is(err, nats.ErrPermissionViolation) {
		return out, &codedError{exitPermission, fmt.Errorf("the NATS refuses metrics of %s: %w", s.source, err),
			"a user publishes under its own name: --source must be that, and the user needs the role monitor"}
	}
	return out, nil
}

// message is where a metric goes and what is said there: all but the value may be absent.
func (s natsMetrics) message(m admin.PushMetric) (subject string, body []byte) {
	id := core.BackendID{Backend: m.Target}
	if service, backend, ok := strings.Cut(m.Target, "/"); ok {
		id = core.BackendID{Service: service, Backend: backend}
	}
	b := struct {
		Value  float64   `json:"value"`
		Unit   string    `json:"unit,omitempty"`
		Window float64   `json:"window_seconds,omitempty"`
		TS     time.Time `json:"ts,omitzero"`
	}{m.Value, m.Unit, m.Window, m.At}
	body, _ = json.Marshal(b) // a finite number and texts
	return bus.MetricSubject(s.source, id, m.Name), body
}

// httpMetrics posts to the HTTP listener of a daemon.
type httpMetrics struct {
	client         *http.Client
	url            string
	token          core.Secret
	user, password string
}

func newHTTPMetrics(f *metricFlags) (metricSender, error) {
	u, err := url.Parse(f.url)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return nil, usage(errors.New("--url: want an address such as https://lb1.example.org:9190"))
	case u.User != nil:
		return nil, usage(errors.New("--url: a password in an address shows in the list of processes; use --user and --password-file"))
	case f.source != "":
		return nil, usage(errors.New("--source: over --url the name of the monitor is that of its user"))
	case f.creds+f.nkey != "":
		return nil, usage(errors.New("--creds and --nkey are for --server"))
	}
	s := &httpMetrics{url: strings.TrimSuffix(u.String(), "/") + "/v1/metrics", user: f.user}
	if s.token, err = secretIn(f.tokenFile); err != nil {
		return nil, err
	}
	password, err := secretIn(f.passwordFile)
	if err != nil {
		return nil, err
	}
	s.password = password.Reveal()
	config, err := f.tls()
	if err != nil {
		return nil, err
	}
	s.client = &http.Client{Timeout: callTimeout, Transport: &http.Transport{TLSClientConfig: config, Proxy: http.ProxyFromEnvironment},
		// What is sent is for the host that was named, and for no other.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return s, nil
}

// tls is what --ca, --cert and --key come to.
func (f *natsFlags) tls() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if f.ca != "" {
		pem, err := os.ReadFile(f.ca)
		if err != nil {
			return nil, fmt.Errorf("--ca: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--ca: %s holds no certificate in PEM", f.ca)
		}
	}
	if f.cert != "" || f.key != "" {
		pair, err := tls.LoadX509KeyPair(f.cert, f.key)
		if err != nil {
			return nil, fmt.Errorf("--cert and --key: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

func (s *httpMetrics) close() { s.client.CloseIdleConnections() }

// An httpAnswer is what the listener says.
type httpAnswer struct {
	Taken     int           `json:"taken"`
	Unmatched []httpFailure `json:"unmatched"`
	Failed    []httpFailure `json:"failed"`
	Warning   string        `json:"warning"`
	Error     *struct {
		Message string `json:"message"`
		Hint    string `json:"hint"`
	} `json:"error"`
}

type httpFailure struct {
	At    string `json:"at"` // as in [3]
	Error string `json:"error"`
}

func (s *httpMetrics) send(ctx context.Context, list []admin.PushMetric) (out admin.MetricsAnswer, err error) {
	body, err := json.Marshal(list)
	if err != nil {
		return out, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return out, err
	}
	req.Header.Set("Content-Type", "application/json")
	switch {
	case s.token != "":
		req.Header.Set("Authorization", "Bearer "+s.token.Reveal())
	case s.user != "":
		req.SetBasicAuth(s.user, s.password)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return out, &codedError{code: exitUnreachable, err: fmt.Errorf("push: %w", err), hint: connectHint(err, "see that the daemon runs and that http.listen is this address")}
	}
	defer resp.Body.Close()
	var a httpAnswer
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&a); err != nil {
		err := fmt.Errorf("push: %s answered with status %d, and not as a steelyard does", s.url, resp.StatusCode)
		return out, &codedError{exitFailure, err, "see that --url is http.listen, with https where http.tls is set"}
	}
	return a.metrics(resp.StatusCode)
}

// metrics is the answer as the socket would have given it.
func (a *httpAnswer) metrics(status int) (admin.MetricsAnswer, error) {
	out := admin.MetricsAnswer{Taken: a.Taken, Warning: a.Warning}
	for _, f := range slices.Concat(a.Failed, a.Unmatched) {
		index, err := strconv.Atoi(strings.Trim(f.At, "[]"))
		if err != nil {
			index = 0
		}
		out.Refused = append(out.Refused, admin.RefusedMetric{Index: index, Error: f.Error})
	}
	if status == http.StatusOK || len(out.Refused) > 0 {
		return out, nil
	}
	e := &codedError{code: exitFailure, err: fmt.Errorf("push: the daemon answered with status %d", status)}
	if a.Error != nil {
		e.err, e.hint = fmt.Errorf("push: %s", a.Error.Message), a.Error.Hint
	}
	if status == http.StatusUnauthorized || status == http.StatusForbidden {
		e.code = exitPermission
	}
	return out, e
}

// connectHint is the remedy for a server that cannot be had, or is not believed.
func connectHint(err error, otherwise string) string {
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, new(x509.UnknownAuthorityError)):
		return "--ca names the file of the authority that signed the certificate of the server"
	case errors.As(err, new(x509.HostnameError)):
		return "use a name or address that stands in the certificate of the server"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "renew the certificate of the server, or set the clock here"
	case strings.Contains(err.Error(), "certificate"):
		return "see that the certificates of the server and of --cert are of authorities that the other side trusts"
	}
	return otherwise
}
