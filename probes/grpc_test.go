// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/probes/probestest"
)

// These tests ask the gRPC library's own server and health service.

func grpcTarget(addr netip.AddrPort, spec core.GRPCSpec) Target {
	target := tcpTarget(addr)
	target.Spec.Type, target.Spec.GRPC = core.ProbeGRPC, spec
	return target
}

// startGRPC serves what register registers; it ends with the test.
func startGRPC(t *testing.T, register func(*grpc.Server), options ...grpc.ServerOption) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(options...)
	if register != nil {
		register(s)
	}
	done := make(chan struct{}) // closed when the server has ended
	go func() {
		defer close(done)
		_ = s.Serve(l)
	}()
	t.Cleanup(func() {
		s.Stop()
		<-done
	})
	return netip.MustParseAddrPort(l.Addr().String())
}

// healthy registers the library's health service.
func healthy(s *grpc.Server) {
	h := health.NewServer()
	h.SetServingStatus("shop.Cart", healthpb.HealthCheckResponse_SERVING)
	h.SetServingStatus("shop.Search", healthpb.HealthCheckResponse_NOT_SERVING)
	h.SetServingStatus("shop.New", healthpb.HealthCheckResponse_UNKNOWN)
	h.SetServingStatus("shop.Odd", healthpb.HealthCheckResponse_ServingStatus(9))
	healthpb.RegisterHealthServer(s, h)
}

func TestGRPCServices(t *testing.T) {
	addr := startGRPC(t, healthy)
	for _, tt := range []struct {
		service string
		ok      bool
		code    core.Code
		detail  string
	}{
		{"", true, core.L7OK, "the server is SERVING in "},
		{"shop.Cart", true, core.L7OK, `service "shop.Cart" is SERVING`},
		{"shop.Search", false, core.L7Status, `service "shop.Search" is NOT_SERVING`},
		{"shop.New", false, core.L7Status, "is UNKNOWN"},
		{"shop.Odd", false, core.L7Status, "is status 9"},
		{"shop.None", false, core.L7Status, `NOT_FOUND: the server does not know service "shop.None"`},
		{strings.Repeat("long.", 200), false, core.L7Status, "NOT_FOUND"},
	} {
		t.Run(clip(tt.service), func(t *testing.T) {
			s := ask(t, grpcTarget(addr, core.GRPCSpec{Service: tt.service}))
			wantCode(t, s, tt.ok, tt.code, tt.detail)
			if tt.ok {
				wantMetrics(t, s, core.MetricConnect, core.MetricResponse)
			}
		})
	}
}

// A wayward health service does what the test wants.
type wayward struct {
	healthpb.UnimplementedHealthServer
	check func(ctx context.Context) error
}

func (w wayward) Check(ctx context.Context, _ *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	if err := w.check(ctx); err != nil {
		return nil, err
	}
	return &healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_SERVING}, nil
}

func TestGRPCRefusals(t *testing.T) {
	odd := func(check func(context.Context) error) netip.AddrPort {
		return startGRPC(t, func(s *grpc.Server) { healthpb.RegisterHealthServer(s, wayward{check: check}) })
	}
	tests := map[string]struct {
		addr   netip.AddrPort
		code   core.Code
		detail string
	}{
		"no health service": {startGRPC(t, nil), core.L7Status, "UNIMPLEMENTED: it has no health service; register one"},
		"denied": {odd(func(context.Context) error { return status.Error(codes.PermissionDenied, "no entry: 100% für dich\n") }),
			core.L7Status, `PERMISSION_DENIED: look at the probe's metadata: it says "no entry: 100% für dich`},
		"overloaded":   {odd(func(context.Context) error { return status.Error(codes.ResourceExhausted, "") }), core.L7Status, "RESOURCE_EXHAUSTED"},
		"unknown code": {odd(func(context.Context) error { return status.Error(codes.Code(77), "x") }), core.L7Status, "grpc-status 77"},
		"hangs": {odd(func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}), core.L7Timeout, ""},
		"mute":    {probestest.Mute(t), core.L7Timeout, "no whole answer"},
		"refused": {probestest.Refused(t), core.L4Refused, "refused"},
		"resets":  {hangUp(t), core.L7Response, "hung up without a word"},
		"HTTP/1":  {probestest.NewWeb(t, false).Addr, core.L7Response, "answers in HTTP/1.1"},
		"SMTP":    {probestest.Script(t, "220 mail.example.org ESMTP\r\n"), core.L7Response, `does not speak gRPC: its answer begins with "220 mail.example"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			target := grpcTarget(tt.addr, core.GRPCSpec{})
			if tt.code == core.L7Timeout {
				target.Spec.Timeout = brief
			}
			wantCode(t, ask(t, target), false, tt.code, tt.detail)
		})
	}
}

// TestGRPCDeadline: the server learns how long we wait, so that it does not work in vain.
func TestGRPCDeadline(t *testing.T) {
	left := make(chan time.Duration, 1) // one call is made
	addr := startGRPC(t, func(s *grpc.Server) {
		healthpb.RegisterHealthServer(s, wayward{check: func(ctx context.Context) error {
			end, _ := ctx.Deadline()
			left <- time.Until(end)
			return nil
		}})
	})
	wantCode(t, ask(t, grpcTarget(addr, core.GRPCSpec{})), true, core.L7OK, "")
	if got := <-left; got <= 0 || got > ample {
		t.Errorf("the server has %s, want what is left of %s", got, ample)
	}
}

func TestGRPCMetadata(t *testing.T) {
	const token = "s3cret-token"
	addr := startGRPC(t, func(s *grpc.Server) {
		healthpb.RegisterHealthServer(s, wayward{check: func(ctx context.Context) error {
			md, _ := metadata.FromIncomingContext(ctx)
			got := strings.Join(md.Get("authorization"), "|")
			if got != "Bearer "+token || strings.Join(md.Get(":authority"), "") != "shop.example.org" {
				return status.Errorf(codes.Unauthenticated, "%s: bad token %s", md.Get(":authority"), got)
			}
			return nil
		}})
	})
	spec := core.GRPCSpec{Host: "shop.example.org", Metadata: []core.Header{{Name: "Authorization", Value: "Bearer " + token}}}
	wantCode(t, ask(t, grpcTarget(addr, spec)), true, core.L7OK, "")
	spec.Host = ""
	s := ask(t, grpcTarget(addr, spec)) // the server repeats the token in its answer
	wantCode(t, s, false, core.L7Status, "UNAUTHENTICATED")
	var said strings.Builder
	tried := Try(t.Context(), grpcTarget(addr, spec), func(step, text string) { said.WriteString(step + ": " + text + "\n") })
	if all := said.String() + s.Detail + tried.Detail; strings.Contains(all, token) || !strings.Contains(all, "Authorization") {
		t.Errorf("the token shows, or the name does not: %s", all)
	}
}

func TestGRPCBadSpec(t *testing.T) {
	for wrong, spec := range map[string]core.GRPCSpec{
		"reserved":    {Metadata: []core.Header{{Name: "grpc-timeout", Value: "s3cret"}}},
		"is reserved": {Metadata: []core.Header{{Name: "Content-Type", Value: "s3cret"}}},
		"no name":     {Metadata: []core.Header{{Name: "a b", Value: "s3cret"}}},
		"characters":  {Metadata: []core.Header{{Name: "a", Value: "s3cret\n"}}},
		"host":        {Host: "a b/c"},
		"PEM":         {TLS: core.TLSSpec{Enabled: true, CA: "nonsense"}},
	} {
		s := ask(t, grpcTarget(netip.MustParseAddrPort("127.0.0.1:1"), spec))
		wantCode(t, s, false, core.Internal, wrong)
		if strings.Contains(s.Detail, "s3cret") {
			t.Errorf("the value shows: %s", s.Detail)
		}
	}
}

// TestGRPCBehindNginx: nginx without HTTP/2, and one that speaks it and has no idea of gRPC.
func TestGRPCBehindNginx(t *testing.T) {
	n := startNginx(t, map[string]string{}, []string{"one", "two"}, `
events {}
http {
	access_log off;
	server { listen {one}; return 200 "hello"; }
	server { listen {two} http2; default_type text/plain; location / { return 200 "hello"; } location /grpc.health.v1.Health/ { return 503; } }
}`)
	wantCode(t, ask(t, grpcTarget(n.ports["one"], core.GRPCSpec{})), false, core.L7Response, "answers in HTTP/1.1")
	wantCode(t, ask(t, grpcTarget(n.ports["two"], core.GRPCSpec{})), false, core.L7Status, "HTTP status 503")
}

// rawGRPC answers every call over HTTP/2 as handle says.
func rawGRPC(t *testing.T, handle http.HandlerFunc) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: handle, Protocols: new(http.Protocols)}
	s.Protocols.SetUnencryptedHTTP2(true)
	done := make(chan struct{}) // closed when the server has ended
	go func() {
		defer close(done)
		_ = s.Serve(l)
	}()
	t.Cleanup(func() {
		_ = s.Close()
		<-done
	})
	return netip.MustParseAddrPort(l.Addr().String())
}

// TestGRPCBrokenAnswers are answers that no library sends.
func TestGRPCBrokenAnswers(t *testing.T) {
	answer := func(trailer, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/grpc+proto")
			_, _ = w.Write([]byte(body))
			if trailer != "" {
				w.Header().Set(http.TrailerPrefix+"Grpc-Status", trailer)
			}
		}
	}
	const serving = "\x00\x00\x00\x00\x02\x08\x01"
	for name, tt := range map[string]struct {
		handle http.HandlerFunc
		ok     bool
		code   core.Code
		detail string
	}{
		"good":            {answer("0", serving), true, core.L7OK, "SERVING"},
		"no status":       {answer("", serving), false, core.L7Response, "no grpc-status"},
		"no message":      {answer("0", ""), false, core.L7Response, "no message came"},
		"cut":             {answer("0", serving[:6]), false, core.L7Response, "cut off"},
		"two":             {answer("0", serving+serving), false, core.L7Response, "more than one"},
		"compressed":      {answer("0", "\x01"+serving[1:]), false, core.L7Response, "compressed"},
		"not protobuf":    {answer("0", "\x00\x00\x00\x00\x02\xff\xff"), false, core.L7Response, "not protobuf"},
		"megabytes":       {answer("0", strings.Repeat("x", 4<<20)), false, core.L7Response, "longer than"},
		"web page":        {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }, false, core.L7Response, `"text/html`},
		"their timeout":   {answer("4", ""), false, core.L7Timeout, "DEADLINE_EXCEEDED"},
		"status in words": {answer("fine", serving), false, core.L7Status, "grpc-status fine"},
		"breaks off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/grpc")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}, false, core.L7Response, "broke off"},
		"no end": {func(w http.ResponseWriter, r *http.Request) {
			answer("", serving)(w, r)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}, false, core.L7Timeout, "no whole answer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			target := grpcTarget(rawGRPC(t, tt.handle), core.GRPCSpec{})
			if tt.code == core.L7Timeout {
				target.Spec.Timeout = brief
			}
			wantCode(t, ask(t, target), tt.ok, tt.code, tt.detail)
		})
	}
}

// TestGRPCRequest is what the specification wants of a call; some servers insist.
func TestGRPCRequest(t *testing.T) {
	seen := make(chan *http.Request, 1) // one call is made
	addr := rawGRPC(t, func(w http.ResponseWriter, r *http.Request) { seen <- r })
	ask(t, grpcTarget(addr, core.GRPCSpec{}))
	r := <-seen
	got := strings.Join([]string{r.Method, r.URL.Path, r.Proto, r.Host, r.Header.Get("Content-Type"), r.Header.Get("Te"), r.Header.Get("Content-Length"), r.Header.Get("Grpc-Encoding")}, " ")
	if want := "POST /grpc.health.v1.Health/Check HTTP/2.0 " + addr.String() + " application/grpc trailers  "; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
