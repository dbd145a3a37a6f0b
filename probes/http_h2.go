// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/steelyard-lb/steelyard/core"
)

// connKey is under which a context holds the connection for HTTP/2.
type connKey struct{}

// errNoConn is of a bug of ours: nobody else dials through the transport.
var errNoConn = errors.New("no connection to speak HTTP/2 over")

// newHTTP2 is a transport that only frames: each run brings a connection of its own in
// its context, which no pool sees. One serves all runs of a plan.
func newHTTP2() *http.Transport {
	given := func(ctx context.Context, _, _ string) (net.Conn, error) {
		if conn, ok := ctx.Value(connKey{}).(net.Conn); ok {
			return conn, nil
		}
		return nil, errNoConn
	}
	t := &http.Transport{
		DialContext:            given,
		DialTLSContext:         given,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxHeader,
		Protocols:              new(http.Protocols),
		// What a server may send before we look; by default 4 MiB.
		HTTP2: &http.HTTP2Config{MaxReadFrameSize: 16 << 10, MaxReceiveBufferPerStream: 64 << 10, MaxReceiveBufferPerConnection: 64 << 10},
	}
	t.Protocols.SetHTTP2(true)
	t.Protocols.SetUnencryptedHTTP2(true)
	return t
}

// ask2 speaks HTTP/2 over the connection of the run. The answer's body is still to be
// read; done ends the connection.
func (x *httpRun) ask2(ctx context.Context, p *httpProbe) (resp *http.Response, done func(), err error) {
	done = func() {}
	if secure, ok := x.conn.(*tls.Conn); ok {
		if got := secure.ConnectionState().NegotiatedProtocol; got != "h2" {
			return nil, done, protocolError("does not speak HTTP/2: it did not choose h2 in the TLS handshake")
		}
	}
	url := *p.plan.req.URL
	url.Host = p.plan.hostFor(p.addr)
	req := p.plan.req.WithContext(ctx)
	req.URL, req.Host, req.Body = &url, url.Host, p.plan.body()

	conn, err := p.plan.h2.NewClientConn(context.WithValue(ctx, connKey{}, x.conn), url.Scheme, p.addr.String())
	if err != nil {
		return nil, done, fmt.Errorf("begin HTTP/2: %w", err)
	}
	done = func() { _ = conn.Close() } // the answer is already in hand
	x.missing = "no answer came"
	resp, err = conn.RoundTrip(req)
	if err != nil {
		return nil, done, err
	}
	x.done(core.MetricTTFB)
	return resp, done, nil
}

// maxFrames is how many bytes an HTTP/2 server may send in one run beside four times the
// body: more than headers, settings and the heads of frames need.
const maxFrames = 256 << 10

// errFlood is about a server that goes on and on and never answers. A ping or a setting
// costs it nothing, and us an answer each.
var errFlood = protocolError("sends too much that is no answer: gave up on its HTTP/2")

// A bounded is a connection that only so many bytes come from.
type bounded struct {
	net.Conn
	left int64 // the reader's own: there is one at a time
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errFlood
	}
	n, err := b.Conn.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}
