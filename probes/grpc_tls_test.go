// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/steelyard-lb/steelyard/core"
)

func TestGRPCOverTLS(t *testing.T) {
	ca, other := issue(t, nil, in(100), "Our CA"), issue(t, nil, in(100), "Another CA")
	server := issue(t, ca, in(30), "shop", "shop.example.org", "127.0.0.1")
	client, stranger := issue(t, ca, in(30), "probe", "probe"), issue(t, other, in(30), "probe", "probe")
	clients := x509.NewCertPool()
	clients.AddCert(ca.parsed)
	cfg := &tls.Config{Certificates: []tls.Certificate{server.pair(t)}}
	open := startGRPC(t, healthy, grpc.Creds(credentials.NewTLS(cfg)))
	mutualCfg := cfg.Clone()
	mutualCfg.ClientAuth, mutualCfg.ClientCAs = tls.RequireAndVerifyClientCert, clients
	mutual := startGRPC(t, healthy, grpc.Creds(credentials.NewTLS(mutualCfg)))
	plain := startGRPC(t, healthy)

	trusted := core.TLSSpec{Enabled: true, CA: ca.cert}
	with := func(id *credential) core.TLSSpec {
		return core.TLSSpec{Enabled: true, CA: ca.cert, Cert: id.cert, Key: core.Secret(id.key)}
	}
	for name, tt := range map[string]struct {
		addr   netip.AddrPort
		spec   core.GRPCSpec
		ok     bool
		code   core.Code
		detail string
	}{
		"by address":            {open, core.GRPCSpec{TLS: trusted}, true, core.L7OK, "SERVING"},
		"by name":               {open, core.GRPCSpec{TLS: trusted, Host: "shop.example.org:443"}, true, core.L7OK, "SERVING"},
		"wrong name":            {open, core.GRPCSpec{TLS: trusted, Host: "mail.example.org"}, false, core.L6Response, "mail.example.org"},
		"unknown CA":            {open, core.GRPCSpec{TLS: core.TLSSpec{Enabled: true, CA: other.cert}}, false, core.L6Response, "tls.ca_file"},
		"insecure":              {open, core.GRPCSpec{TLS: core.TLSSpec{Enabled: true, Insecure: true}}, true, core.L7OK, "SERVING"},
		"client certificate":    {mutual, core.GRPCSpec{TLS: with(client)}, true, core.L7OK, "SERVING"},
		"no client certificate": {mutual, core.GRPCSpec{TLS: trusted}, false, core.L6Response, "client certificate"},
		"foreign certificate":   {mutual, core.GRPCSpec{TLS: with(stranger)}, false, core.L6Response, "client certificate"},
		"TLS where it is plain": {plain, core.GRPCSpec{TLS: trusted}, false, core.L6Response, "TLS"},
		"plain where it is TLS": {open, core.GRPCSpec{}, false, core.L7Response, "does not speak gRPC"},
		"HTTPS without h2":      {secureWeb(t, &tls.Config{Certificates: []tls.Certificate{server.pair(t)}}), core.GRPCSpec{TLS: trusted}, false, core.L6Response, "h2"},
	} {
		t.Run(name, func(t *testing.T) {
			s := ask(t, grpcTarget(tt.addr, tt.spec))
			wantCode(t, s, tt.ok, tt.code, tt.detail)
			if tt.ok {
				wantMetrics(t, s, core.MetricConnect, core.MetricTLS, core.MetricResponse, core.MetricExpiry)
			}
		})
	}
}

// TestGRPCLastWord: the alert of a server that refuses our certificate is found even if
// the framing saw only that the connection broke.
func TestGRPCLastWord(t *testing.T) {
	ca := issue(t, nil, in(100), "Our CA")
	server := issue(t, ca, in(30), "shop", "127.0.0.1")
	addr := startGRPC(t, healthy, grpc.Creds(credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{server.pair(t)}, ClientAuth: tls.RequireAnyClientCert,
	})))
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // the test is over
	cfg, err := newTLS(core.TLSSpec{Enabled: true, CA: ca.cert}, "", "h2")
	if err != nil {
		t.Fatal(err)
	}
	secure, _, err := handshake(t.Context(), &overheard{Conn: conn}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	_ = secure.Close() // as the framing does
	said := error(syscall.EPIPE)
	for deadline := time.Now().Add(10 * time.Second); !refusedTLS(said) && time.Now().Before(deadline); {
		said = lastWord(secure, said)
	}
	wantCode(t, askResult(t, (&grpcProbe{tls: cfg}).brokenOff(said)), false, core.L6Response, "wants a client certificate")
}

// askResult makes a sample of a result, for wantCode.
func askResult(t *testing.T, r result) core.Sample {
	t.Helper()
	return core.Sample{OK: r.ok, Code: r.code, Detail: r.detail}
}
