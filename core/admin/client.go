// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

const (
	maxAnswer   = 256 << 20 // the view of 10,000 services has tens of megabytes
	maxLine     = 16 << 20
	dialTimeout = 2 * time.Second
)

// A Client asks a running steelyard over its control socket. Its errors are
// *Error and can be told apart with errors.Is(err, ErrUnreachable) and
// errors.Is(err, ErrPermission). A context without a deadline is given one,
// but for Monitor and Recordings.
type Client struct {
	path string
	http *http.Client
}

// NewClient returns a client of the socket at path. It opens nothing.
func NewClient(path string) *Client {
	c := &Client{path: path}
	c.http = &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return c.dial(ctx) },
		// Each call has its own connection: a command makes one and ends.
		DisableKeepAlives: true,
	}}
	return c
}

// Node returns the state of the node.
func (c *Client) Node(ctx context.Context) (core.NodeView, error) {
	return call[core.NodeView](ctx, c, http.MethodGet, "/v1/node", answerTimeout)
}

// Service returns the state of one service.
func (c *Client) Service(ctx context.Context, name string) (core.ServiceView, error) {
	return call[core.ServiceView](ctx, c, http.MethodGet, "/v1/services/"+url.PathEscape(name), answerTimeout)
}

// Decisions returns the latest decisions of a service, at most last, in the
// order of the node.
func (c *Client) Decisions(ctx context.Context, service string, last int) ([]core.Decision, error) {
	q := url.Values{"service": {service}, "last": {strconv.Itoa(last)}}
	v, err := call[DecisionsView](ctx, c, http.MethodGet, "/v1/decisions?"+q.Encode(), answerTimeout)
	return v.Decisions, err
}

// Reload makes the node read its configuration again and returns when it is in
// force, with what that changed, or why it is not.
func (c *Client) Reload(ctx context.Context) (core.ReloadResult, error) {
	return call[core.ReloadResult](ctx, c, http.MethodPost, "/v1/reload", changeTimeout)
}

// Stop ends the node; with flush its rules are removed, else they stay in force.
func (c *Client) Stop(ctx context.Context, flush bool) error {
	_, err := call[stopView](ctx, c, http.MethodPost, "/v1/stop?flush="+strconv.FormatBool(flush), changeTimeout)
	return err
}

// Version returns what the node is.
func (c *Client) Version(ctx context.Context) (VersionView, error) {
	return call[VersionView](ctx, c, http.MethodGet, "/v1/version", answerTimeout)
}

// Monitor calls fn for every line of the bus that matches the pattern until ctx
// is done, fn returns an error, or the node stops. It returns nil if ctx is
// done, fn's error, or ErrUnreachable.
func (c *Client) Monitor(ctx context.Context, pattern string, fn func(Line) error) error {
	resp, err := c.do(ctx, http.MethodGet, "/v1/monitor?"+url.Values{"pattern": {pattern}}.Encode(), nil)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	defer resp.Body.Close()
	return streamEnded(ctx, readLines("monitor", resp.Body, fn))
}

// streamEnded is the error of a stream that should have gone on.
func streamEnded(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return nil
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return &Error{Code: CodeUnreachable, Message: "the daemon ended the stream", Hint: "it stopped, or this reader took nothing for " + writeTimeout.String(), cause: ErrUnreachable}
	}
	return err
}

// readLines reads a stream of lines; it ends with io.EOF when the stream does.
func readLines[T any](what string, r io.Reader, fn func(T) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		var l T
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			return fmt.Errorf("read %s: line is not what a steelyard writes: %w", what, err)
		}
		if err := fn(l); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read %s: %w", what, err)
	}
	return io.EOF
}

// call asks for one body. The client waits a little longer than the server, so
// that it is the server who says what took so long.
func call[T any](ctx context.Context, c *Client, method, path string, limit time.Duration) (T, error) {
	return send[T](ctx, c, method, path, nil, limit)
}

// send is call with a body, if it is not nil.
func send[T any](ctx context.Context, c *Client, method, path string, body any, limit time.Duration) (T, error) {
	var v T
	ctx, cancel := context.WithTimeout(ctx, limit+closeTimeout)
	defer cancel()
	resp, err := c.do(ctx, method, path, body)
	if err != nil {
		return v, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&v); err != nil {
		return v, &Error{Code: CodeInternal, Message: fmt.Sprintf("read answer of %s: %v", path, err), cause: err}
	}
	return v, nil
}

// do sends one request and returns the answer if it is good; its body is open.
func (c *Client) do(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var data []byte
	if body != nil {
		var err error
		if data, err = json.Marshal(body); err != nil {
			return nil, fmt.Errorf("ask %s: %w", path, err)
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://steelyard"+path, bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", path, err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.explain(err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, readError(resp.StatusCode, resp.Body)
}

// readError reads the body of an answer that is no success.
func readError(status int, body io.Reader) *Error {
	var v errorView
	err := json.NewDecoder(io.LimitReader(body, 1<<20)).Decode(&v)
	if err != nil || v.Error == nil || v.Error.Message == "" {
		return &Error{Status: status, Code: CodeInternal, Message: fmt.Sprintf("the daemon answered with status %d", status),
			Hint: "is the socket that of a steelyard of this version?"}
	}
	v.Error.Status = status
	return v.Error
}

func (c *Client) dial(ctx context.Context) (net.Conn, error) {
	d := net.Dialer{Timeout: dialTimeout}
	return d.DialContext(ctx, "unix", c.path)
}

// explain turns what the transport said into what an operator can act on.
func (c *Client) explain(err error) *Error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err // without the invented address
	}
	switch {
	case errors.Is(err, os.ErrPermission):
		return &Error{Code: CodePermission, Message: fmt.Sprintf("control socket %s: permission denied", c.path), cause: ErrPermission,
			Hint: "run as root, or as a member of the group that owns the socket"}
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return &Error{Code: CodeUnreachable, Message: fmt.Sprintf("control socket %s: steelyard is not running", c.path), cause: ErrUnreachable,
			Hint: "start it with `steelyard run`, or name its socket with --socket"}
	case errors.Is(err, context.Canceled):
		return &Error{Code: CodeTimeout, Message: "interrupted while waiting for the daemon", cause: err}
	case errors.Is(err, context.DeadlineExceeded):
		return &Error{Code: CodeTimeout, Message: fmt.Sprintf("control socket %s: no answer in time", c.path), cause: errors.Join(ErrUnreachable, err),
			Hint: "the daemon hangs or is overloaded; its log says more"}
	default:
		return &Error{Code: CodeUnreachable, Message: fmt.Sprintf("control socket %s: %v", c.path, err), cause: errors.Join(ErrUnreachable, err)}
	}
}
