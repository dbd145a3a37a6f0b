// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/probes/probestest"
)

// A credential is a certificate with its key, in PEM.
type credential struct {
	cert, key string
	parsed    *x509.Certificate
	private   *ecdsa.PrivateKey
}

// pair is it as a server of Go wants it.
func (id credential) pair(t *testing.T) tls.Certificate {
	t.Helper()
	c, err := tls.X509KeyPair([]byte(id.cert), []byte(id.key))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// issue makes a certificate: of a CA without names, else for the names, which may be
// addresses. by is who signs; nil signs itself. It is valid from a year before until.
func issue(t *testing.T, by *credential, until time.Time, common string, names ...string) *credential {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber:          big.NewInt(time.Now().UnixNano()),
		Subject:               pkix.Name{CommonName: common},
		NotBefore:             until.AddDate(-1, 0, 0),
		NotAfter:              until,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			c.IPAddresses = append(c.IPAddresses, ip)
		} else {
			c.DNSNames = append(c.DNSNames, n)
		}
	}
	signer, parent := key, c
	if by != nil {
		signer, parent = by.private, by.parsed
	}
	if by == nil {
		c.IsCA, c.KeyUsage, c.ExtKeyUsage = true, x509.KeyUsageCertSign|x509.KeyUsageDigitalSignature, nil
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	id := &credential{
		cert:    string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		key:     string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})),
		private: key,
	}
	if id.parsed, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return id
}

func in(days int) time.Time { return time.Now().AddDate(0, 0, days) }

// secureWeb is a web server that speaks TLS as told.
func secureWeb(t *testing.T, cfg *tls.Config) netip.AddrPort {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	s.TLS, s.Config.ErrorLog = cfg, log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return netip.MustParseAddrPort(s.Listener.Addr().String())
}

// TestTLSFailures: each usual mistake has a sentence that names it.
func TestTLSFailures(t *testing.T) {
	ca, other := issue(t, nil, in(100), "Our CA"), issue(t, nil, in(100), "Another CA")
	good := issue(t, ca, in(30), "www", "www.example.org", "api.example.org", "127.0.0.1")
	client, stranger := issue(t, ca, in(30), "probe", "probe"), issue(t, other, in(30), "probe", "probe")
	self := issue(t, nil, in(9), "me", "127.0.0.1")
	clients := x509.NewCertPool()
	clients.AddCert(ca.parsed)
	serve := func(id *credential, more func(*tls.Config)) netip.AddrPort {
		cfg := &tls.Config{Certificates: []tls.Certificate{id.pair(t)}}
		if more != nil {
			more(cfg)
		}
		return secureWeb(t, cfg)
	}
	mutual := serve(good, func(c *tls.Config) { c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, clients })
	mutual12 := serve(good, func(c *tls.Config) {
		c.ClientAuth, c.ClientCAs, c.MaxVersion = tls.RequireAndVerifyClientCert, clients, tls.VersionTLS12
	})
	old := serve(good, func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 })
	trusted := core.TLSSpec{Enabled: true, CA: ca.cert}
	with := func(id *credential) core.TLSSpec {
		return core.TLSSpec{Enabled: true, CA: ca.cert, Cert: id.cert, Key: core.Secret(id.key)}
	}
	named := trusted
	named.ServerName = "mail.example.org"
	tests := []struct {
		name string
		addr netip.AddrPort
		spec core.TLSSpec
		code core.Code
		want string // in the sentence
	}{
		{"good", serve(good, nil), trusted, core.L7OK, "TLS 1.3"},
		{"signed by another CA", serve(good, nil), core.TLSSpec{Enabled: true, CA: other.cert}, core.L6Response, `no CA of tls.ca_file signed the certificate for www.example.org, api.example.org, 127.0.0.1: name "Our CA"`},
		{"signed by nobody known", serve(good, nil), core.TLSSpec{Enabled: true}, core.L6Response, "tls.ca_file"},
		{"signed itself", serve(self, nil), trusted, core.L6Response, "signed itself"},
		{"another name", serve(good, nil), named, core.L6Response, `the certificate is for www.example.org, api.example.org, 127.0.0.1, not for "mail.example.org"`},
		{"only a common name", serve(issue(t, ca, in(9), "www.example.org"), nil), trusted, core.L6Response, "no subjectAltName"},
		{"expired", serve(issue(t, ca, in(-10), "www", "127.0.0.1"), nil), trusted, core.L6Response, "10 days ago"},
		{"from the future", serve(issue(t, ca, in(2*366), "www", "127.0.0.1"), nil), trusted, core.L6Response, "not valid before"},
		{"expired, but insecure", serve(issue(t, ca, in(-10), "www", "127.0.0.1"), nil), core.TLSSpec{Enabled: true, Insecure: true}, core.L7OK, "TLS 1.3"},
		{"its own certificate is the CA", serve(self, nil), core.TLSSpec{Enabled: true, CA: self.cert}, core.L7OK, "TLS 1.3"},
		{"only old versions", old, trusted, core.L6Response, "protocol version"},
		{"wants a client certificate", mutual12, trusted, core.L6Response, "it wants a client certificate"},
		{"gets one", mutual12, with(client), core.L7OK, "TLS 1.2"},
		{"gets that of a stranger", mutual12, with(stranger), core.L6Response, "signed our client certificate"},
		{"gets one under TLS 1.3", mutual, with(client), core.L7OK, "TLS 1.3"},
		{"plain", probestest.Script(t, "220 mail.example.org ESMTP\r\n"), trusted, core.L6Response, `does not speak TLS: its answer begins with "220 m"`},
		{"hangs up", probestest.Script(t, ""), trusted, core.L6Response, "hung up"},
		{"resets", hangUp(t), trusted, core.L6Response, ""},
		{"mute", probestest.Mute(t), trusted, core.L6Timeout, "did not finish in time"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			target := tcpTarget(tt.addr)
			target.Spec.TCP.TLS = tt.spec
			s := ask(t, inVain(target, tt.code))
			wantCode(t, s, tt.code == core.L7OK, tt.code, tt.want)
			noKey(t, s)
		})
	}
	// TLS 1.3 refuses a client after the handshake: only a probe that reads sees it.
	for name, spec := range map[string]core.TLSSpec{"wants a client certificate": trusted, "refused our client certificate": with(stranger)} {
		s := ask(t, httpTarget(mutual, core.HTTPSpec{TLS: spec}))
		wantCode(t, s, false, core.L6Response, name)
		noKey(t, s)
	}
}

func noKey(t *testing.T, s core.Sample) {
	t.Helper()
	if strings.Contains(s.Detail, "PRIVATE") {
		t.Errorf("a key is in %q", s.Detail)
	}
}

func TestBrokenPEM(t *testing.T) {
	id := issue(t, nil, in(9), "me", "a.example.org")
	other := issue(t, nil, in(9), "me", "a.example.org")
	for want, spec := range map[string]core.TLSSpec{
		"tls.ca_file holds no PEM certificate": {CA: "nonsense"},
		"tls.cert_file and tls.key_file":       {Cert: id.cert},
		"does not match":                       {Cert: id.cert, Key: core.Secret(other.key)},
	} {
		spec.Enabled = true
		for _, target := range []Target{httpTarget(netip.MustParseAddrPort("127.0.0.1:1"), core.HTTPSpec{TLS: spec}), tcpTarget(netip.MustParseAddrPort("127.0.0.1:1"))} {
			target.Spec.TCP.TLS = spec
			s := ask(t, target)
			wantCode(t, s, false, core.Internal, want)
			noKey(t, s)
		}
	}
}

func TestExpiryIsTheEarliest(t *testing.T) {
	now := time.Now()
	chain := func(ends ...time.Time) tls.ConnectionState {
		var s tls.ConnectionState
		for _, e := range ends {
			s.PeerCertificates = append(s.PeerCertificates, &x509.Certificate{NotAfter: e})
		}
		return s
	}
	forEver := time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC) // more than a Duration holds
	for _, tt := range []struct {
		name  string
		state tls.ConnectionState
		want  float64
	}{
		{"the intermediate ends first", chain(now.Add(100*time.Hour), now.Add(time.Hour), now.Add(9000*time.Hour)), 3600},
		{"expired", chain(now.Add(-time.Hour)), -3600},
		{"never", chain(forEver), float64(forEver.Unix() - now.Unix())},
	} {
		m, ok := expiry(tt.state, now)
		if !ok || m.Name != core.MetricExpiry || m.Unit != "seconds" || math.Abs(m.Value-tt.want) > 1 {
			t.Errorf("%s: got %+v %t, want %g s", tt.name, m, ok, tt.want)
		}
	}
	if _, ok := expiry(tls.ConnectionState{}, now); ok {
		t.Error("an expiry without a certificate")
	}
}

// TestTLSConfigIsShared: 16,000 probers of one spec hold one Config, and none is left
// behind when they are gone.
func TestTLSConfigIsShared(t *testing.T) {
	id := issue(t, nil, in(9), "me", "a.example.org")
	spec := core.TLSSpec{Enabled: true, CA: id.cert}
	one, err := newTLS(spec, "")
	two, err2 := newTLS(spec, "192.0.2.1") // an address is that of the connection
	three, err3 := newTLS(spec, "a.example.org")
	if err != nil || err2 != nil || err3 != nil || one != two || one == three {
		t.Errorf("got %p %p %p, %v %v %v", one, two, three, err, err2, err3)
	}
	if three.MinVersion != tls.VersionTLS12 || three.ServerName != "a.example.org" {
		t.Errorf("min version %x, name %q", three.MinVersion, three.ServerName)
	}
	key := tlsKey{spec: spec}
	runtime.KeepAlive(one)
	runtime.KeepAlive(two)
	gone := func() bool {
		runtime.GC()
		tlsConfigs.mu.Lock()
		defer tlsConfigs.mu.Unlock()
		_, there := tlsConfigs.of[key]
		return !there
	}
	for range 200 { // cleanups run some time after the collection
		if gone() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("a Config that nobody holds is still there")
}

// TestSharedForgetsOnlyTheDead: a cleanup that comes late leaves a newer value alone.
func TestSharedForgetsOnlyTheDead(t *testing.T) {
	var s shared[string, int]
	v, err := s.get("a", nil, func() (*int, error) { return new(int), nil })
	if err != nil {
		t.Fatal(err)
	}
	s.forget("a")
	if w, _ := s.get("a", nil, func() (*int, error) { return new(int), nil }); w != v {
		t.Error("a living value was forgotten")
	}
	if w, _ := s.get("a", func(*int) bool { return false }, func() (*int, error) { return new(int), nil }); w == v {
		t.Error("a value that does not fit was given out")
	}
	if _, err := s.get("b", nil, func() (*int, error) { return nil, io.EOF }); err != io.EOF {
		t.Errorf("got %v", err)
	}
	runtime.KeepAlive(v)
}

// FuzzTLSHandshake: whatever a server says in the handshake, there is a code and one
// line.
func FuzzTLSHandshake(f *testing.F) {
	f.Add([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
	f.Add([]byte{21, 3, 3, 0, 2, 2, 40})  // handshake_failure
	f.Add([]byte{21, 3, 3, 0, 2, 2, 116}) // certificate_required
	f.Add([]byte{22, 3, 3, 0, 4, 2, 0, 0, 0})
	cfg, err := newTLS(core.TLSSpec{Enabled: true}, "www.example.org", "h2")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, said []byte) {
		conn, code, err := handshake(context.Background(), deafConn{Reader: bytes.NewReader(said)}, cfg)
		if conn != nil || err == nil || code != core.L6Response && code != core.Internal {
			t.Fatalf("got %v %s %v", conn, code, err)
		}
		if r := badTLS(netip.MustParseAddrPort("192.0.2.1:443"), code, err); oneLine(r.detail) == "" || r.ok {
			t.Errorf("got %+v", r)
		}
	})
}

// A deafConn says what its Reader holds, and swallows what it is told.
type deafConn struct {
	net.Conn
	io.Reader
}

func (c deafConn) Read(b []byte) (int, error)       { return c.Reader.Read(b) }
func (c deafConn) Write(b []byte) (int, error)      { return len(b), nil }
func (c deafConn) Close() error                     { return nil }
func (c deafConn) SetDeadline(time.Time) error      { return nil }
func (c deafConn) SetReadDeadline(time.Time) error  { return nil }
func (c deafConn) SetWriteDeadline(time.Time) error { return nil }
func (c deafConn) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 443} }
func (c deafConn) LocalAddr() net.Addr              { return c.RemoteAddr() }
