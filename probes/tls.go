// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// A tlsKey is all that a *tls.Config depends on.
type tlsKey struct {
	spec       core.TLSSpec
	serverName string
	alpn       string // with commas
}

// tlsConfigs are those in use: the certificates of one spec are parsed and held once.
var tlsConfigs shared[tlsKey, tls.Config]

// newTLS is how to speak TLS to a backend: make it once per prober. serverName is
// what to ask for and to find in the certificate unless the spec names another;
// empty or an address means the address that the connection leads to, which
// handshake fills in. The Config is shared with other probers: Clone it to change it.
// The error is a sentence about a broken certificate or key.
func newTLS(spec core.TLSSpec, serverName string, alpn ...string) (*tls.Config, error) {
	key := tlsKey{spec: spec, serverName: serverName, alpn: strings.Join(alpn, ",")}
	if spec.ServerName != "" {
		key.serverName = spec.ServerName
	}
	if _, err := netip.ParseAddr(strings.Trim(key.serverName, "[]")); err == nil && spec.ServerName == "" {
		key.serverName = ""
	}
	return tlsConfigs.get(key, nil, func() (*tls.Config, error) { return makeTLS(spec, key.serverName, alpn) })
}

func makeTLS(spec core.TLSSpec, serverName string, alpn []string) (*tls.Config, error) {
	cfg := &tls.Config{
		ServerName: serverName,
		// The operator's choice: many backends have certificates that nobody signed.
		InsecureSkipVerify: spec.Insecure,
		MinVersion:         tls.VersionTLS12,
		NextProtos:         alpn,
	}
	if spec.CA != "" {
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM([]byte(spec.CA)) {
			return nil, errors.New("tls.ca_file holds no PEM certificate")
		}
	}
	if spec.Cert != "" || spec.Key != "" {
		pair, err := tls.X509KeyPair([]byte(spec.Cert), []byte(spec.Key.Reveal()))
		if err != nil {
			return nil, fmt.Errorf("tls.cert_file and tls.key_file: %s", strings.TrimPrefix(err.Error(), "tls: "))
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}

// handshake makes conn a TLS connection, within the time of ctx. On failure the
// connection is of no more use, the code says what went wrong, and the error is the
// sentence for badTLS. conn stays the caller's to close.
func handshake(ctx context.Context, conn net.Conn, cfg *tls.Config) (*tls.Conn, core.Code, error) {
	if cfg.ServerName == "" {
		cfg = cfg.Clone()
		cfg.ServerName = "0.0.0.0" // Go wants a name; only an insecure Config gets by with this one
		if at, err := netip.ParseAddrPort(conn.RemoteAddr().String()); err == nil {
			cfg.ServerName = at.Addr().Unmap().WithZone("").String()
		}
	}
	secure := tls.Client(conn, cfg)
	if err := secure.HandshakeContext(ctx); err != nil {
		code, said := tlsFailure(err, cfg, ctx.Err() != nil)
		note(ctx, "tls", "%s: %v", code, said)
		return nil, code, said
	}
	state := secure.ConnectionState()
	note(ctx, "tls", "%s, %s, ALPN %q", tls.VersionName(state.Version), tls.CipherSuiteName(state.CipherSuite), state.NegotiatedProtocol)
	for _, c := range state.PeerCertificates {
		note(ctx, "certificate", "for %s, of %s, until %s", namesOf(c), issuerOf(c), day(c.NotAfter))
	}
	return secure, "", nil
}

// badTLS is the result of a handshake that failed; code and err are handshake's.
func badTLS(addr netip.AddrPort, code core.Code, err error) result {
	return bad(code, "TLS with %s: %v", addr, err)
}

// expiry is the time until the first certificate of the chain that the backend sent
// expires: negative once it has, and without meaning for the verdict. False if
// there is none.
func expiry(state tls.ConnectionState, now time.Time) (core.Metric, bool) {
	var first time.Time
	for _, c := range state.PeerCertificates {
		if first.IsZero() || c.NotAfter.Before(first) {
			first = c.NotAfter
		}
	}
	if first.IsZero() {
		return core.Metric{}, false
	}
	// Not through a Duration, which ends after 292 years: 9999-12-31 means for ever.
	left := float64(first.Unix()-now.Unix()) - float64(now.Nanosecond())/1e9
	return core.Metric{Name: core.MetricExpiry, Value: left, Unit: "seconds"}, true
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }
