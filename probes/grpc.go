// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/steelyard-lb/steelyard/core"
)

// grpcProbe calls grpc.health.v1.Health/Check over a connection of its own. Emits
// connect, tls and cert_expiry (with TLS), and response_time.
type grpcProbe struct {
	addr netip.AddrPort
	way  way
	spec *core.GRPCSpec
	tls  *tls.Config // nil without
}

// grpcTransport frames all runs of all gRPC probes; it holds no connection. Its buffers
// are as large as an answer may be, where those of HTTP are megabytes.
var grpcTransport = sync.OnceValue(func() *http.Transport {
	t := newHTTP2()
	t.HTTP2 = &http.HTTP2Config{MaxReceiveBufferPerStream: 16 << 10, MaxReceiveBufferPerConnection: 64 << 10}
	return t
})

func newGRPC(t Target) prober {
	p := &grpcProbe{addr: t.addr(), way: way(t.Spec.Way), spec: &t.Spec.GRPC}
	for _, h := range p.spec.Metadata {
		if why := badMetadata(h); why != "" {
			return impossible(fmt.Sprintf("grpc: metadata %q: %s", clip(h.Name), why))
		}
	}
	host := (&url.URL{Host: p.spec.Host}).Hostname()
	if p.spec.Host != "" && (host == "" || !httpguts.ValidHostHeader(p.spec.Host)) {
		return impossible(fmt.Sprintf("grpc: host %q is none", clip(p.spec.Host)))
	}
	if !p.spec.TLS.Enabled {
		return p
	}
	var err error
	if p.tls, err = newTLS(p.spec.TLS, host, "h2"); err != nil {
		return impossible("grpc: " + err.Error())
	}
	return p
}

// badMetadata says what is wrong with a field; empty if nothing is. It does not show the
// value, which may be a password.
func badMetadata(h core.Header) string {
	name := strings.ToLower(h.Name)
	switch {
	case !httpguts.ValidHeaderFieldName(name):
		return "this is no name of a header"
	case !httpguts.ValidHeaderFieldValue(h.Value.Reveal()):
		return "the value has characters that a header cannot have"
	case strings.HasPrefix(name, "grpc-"), name == "content-type", name == "te", name == "host", name == "connection":
		return "the name is reserved"
	}
	return ""
}

func (p *grpcProbe) probe(ctx context.Context) result {
	start := time.Now()
	conn, err := p.way.dial(ctx, "tcp", p.addr)
	if err != nil {
		return badDial(p.addr, time.Since(start), err)
	}
	defer conn.Close() //nolint:errcheck // the answer is already in hand
	release := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer release()

	x := phases{start: start}
	x.done(core.MetricConnect)
	note(ctx, "connect", "%s from %s in %s", p.addr, conn.LocalAddr(), short(x.last.Sub(start)))
	heard := &overheard{Conn: &bounded{Conn: conn, left: maxFrames}}
	if p.tls == nil {
		a, err := p.ask(ctx, heard)
		if err != nil {
			return p.unanswered(ctx, start, err, func() result { return p.notGRPC(heard.begins(), err) })
		}
		return p.finish(&x, p.judge(a))
	}
	secure, code, err := handshake(ctx, heard, p.tls)
	if err != nil {
		return badTLS(p.addr, code, err)
	}
	x.done(core.MetricTLS)
	if secure.ConnectionState().NegotiatedProtocol != "h2" {
		return bad(core.L7Response, "%s does not speak gRPC: it did not choose h2 in the TLS handshake", p.addr)
	}
	a, err := p.ask(ctx, secure)
	if err != nil {
		return p.unanswered(ctx, start, err, func() result { return p.brokenOff(lastWord(secure, err)) })
	}
	r := p.finish(&x, p.judge(a))
	if r.ok {
		r.metrics = withExpiry(r.metrics, secure)
	}
	return r
}

// finish adds the times to a good result.
func (p *grpcProbe) finish(x *phases, r result) result {
	if r.ok {
		took := time.Since(x.start)
		r.detail += " in " + short(took)
		r.metrics = append(x.metrics, seconds(core.MetricResponse, took))
	}
	return r
}

// A grpcAnswer is what a call brought.
type grpcAnswer struct {
	http    int    // status of HTTP
	kind    string // Content-Type
	status  string // grpc-status
	message string // grpc-message, decoded
	body    []byte
}

// errGRPCLong is about an answer of megabytes.
var errGRPCLong = fmt.Errorf("the answer is longer than %d bytes", maxGRPCMessage)

// ask makes the call.
func (p *grpcProbe) ask(ctx context.Context, conn net.Conn) (grpcAnswer, error) {
	req := p.request(ctx)
	note(ctx, "call", "%s%s, service %q, %d bytes, metadata %s", req.Host, grpcCheckPath, p.spec.Service, len(grpcRequest(p.spec.Service)), p.metadataNames())
	client, err := grpcTransport().NewClientConn(context.WithValue(ctx, connKey{}, conn), req.URL.Scheme, p.addr.String())
	if err != nil {
		return grpcAnswer{}, err
	}
	defer client.Close() //nolint:errcheck // the answer is already in hand
	resp, err := client.RoundTrip(req)
	if err != nil {
		return grpcAnswer{}, err
	}
	defer resp.Body.Close() //nolint:errcheck // it was read to its end
	a := grpcAnswer{http: resp.StatusCode, kind: resp.Header.Get("Content-Type")}
	if !a.isGRPC() {
		note(ctx, "answer", "HTTP status %d, content type %q", a.http, a.kind)
		return a, nil // whose body means nothing to us
	}
	a.body, err = io.ReadAll(io.LimitReader(resp.Body, grpcFrameHead+maxGRPCMessage+1))
	if err != nil {
		return a, err
	}
	if len(a.body) > grpcFrameHead+maxGRPCMessage {
		return a, errGRPCLong
	}
	// An answer without a message has its trailers where the headers are.
	a.status = cmp.Or(resp.Trailer.Get("Grpc-Status"), resp.Header.Get("Grpc-Status"))
	a.message = percentDecoded(cmp.Or(resp.Trailer.Get("Grpc-Message"), resp.Header.Get("Grpc-Message")))
	note(ctx, "answer", "HTTP status %d, content type %q, grpc-status %q, grpc-message %q, body %x", a.http, a.kind, a.status, clip(a.message), a.body[:min(len(a.body), 64)])
	return a, nil
}

func (p *grpcProbe) request(ctx context.Context) *http.Request {
	u := &url.URL{Scheme: "http", Host: cmp.Or(p.spec.Host, p.addr.String()), Path: grpcCheckPath}
	if p.tls != nil {
		u.Scheme = "https"
	}
	header := http.Header{
		"Content-Type": {"application/grpc"},
		"Te":           {"trailers"},
		"User-Agent":   {"grpc-steelyard"},
	}
	if end, ok := ctx.Deadline(); ok {
		header.Set("Grpc-Timeout", grpcTimeout(time.Until(end)))
	}
	for _, h := range p.spec.Metadata {
		header.Add(h.Name, h.Value.Reveal())
	}
	req := &http.Request{
		Method: http.MethodPost, URL: u, Host: u.Host, Header: header,
		Proto: "HTTP/2.0", ProtoMajor: 2, ContentLength: -1,
		Body: io.NopCloser(bytes.NewReader(grpcRequest(p.spec.Service))),
	}
	return req.WithContext(ctx)
}

// grpcTimeout is in whole milliseconds, eight digits at most. Rounded up, it never ends
// before ours does, so that a hanging server is a timeout and no broken call.
func grpcTimeout(left time.Duration) string {
	return strconv.FormatInt(min(max(0, left.Milliseconds())+1, 99_999_999), 10) + "m"
}

func (p *grpcProbe) metadataNames() string {
	names := make([]string, len(p.spec.Metadata))
	for i, h := range p.spec.Metadata {
		names[i] = h.Name
	}
	return strings.Join(append(names, "none")[:max(1, len(names))], ", ")
}
