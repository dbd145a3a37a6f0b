// SPDX-License-Identifier: Apache-2.0

package ops

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/steelyard-lb/steelyard/core"
)

func TestNewRefuses(t *testing.T) {
	dir := t.TempDir()
	cert, key := certificate(t, dir, "lb1", nil)
	user := []User{{Name: "prometheus", Password: "p", Rights: []string{RightRead}}}
	tests := map[string]struct {
		cfg  Config
		want string
	}{
		"no port":                {Config{Listen: "127.0.0.1"}, "no address and port"},
		"a network without TLS":  {Config{Listen: "192.0.2.1:9190", Users: user}, "set http.tls"},
		"a network without user": {Config{Listen: "192.0.2.1:9190", Cert: cert, Key: key}, "add a user"},
		"everywhere":             {Config{Listen: ":9190", Users: user}, "set http.tls"},
		"any IPv6 address":       {Config{Listen: "[::]:9190", Users: user}, "set http.tls"},
		"a name that is no host": {Config{Listen: "localhost.example.org:9190", Users: user}, "set http.tls"},
		"a mapped address":       {Config{Listen: "[::ffff:192.0.2.1]:9190"}, "set http.tls"},
		"half of a pair":         {Config{Listen: "127.0.0.1:0", Cert: cert}, "both cert and key"},
		"clients without pair":   {Config{Listen: "127.0.0.1:0", ClientCA: cert}, "http.tls.cert"},
		"no such file":           {Config{Listen: "127.0.0.1:0", Cert: cert, Key: dir + "/none"}, "no such file"},
		"no authority":           {Config{Listen: "127.0.0.1:0", Cert: cert, Key: key, ClientCA: key}, "no certificate"},
		"a user with nothing":    {Config{Listen: "127.0.0.1:0", Users: []User{{Name: "x"}}}, "neither a password nor a token"},
		"twice the same":         {Config{Listen: "127.0.0.1:0", Users: []User{user[0], user[0]}}, "twice"},
		"an unknown right":       {Config{Listen: "127.0.0.1:0", Users: []User{{Name: "x", Token: "t", Rights: []string{"write"}}}}, "want read or push"},
		"a broken hash":          {Config{Listen: "127.0.0.1:0", Users: []User{{Name: "x", Password: "$2y$nonsense"}}}, "bcrypt"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := New(tt.cfg); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("New: %v, want it to speak of %q", err, tt.want)
			}
		})
	}
	for _, listen := range []string{"127.0.0.1:0", "[::1]:0", "localhost:0", "127.9.9.9:9190"} {
		if _, err := New(Config{Listen: listen}); err != nil {
			t.Errorf("New on %s: %v, want it to be fine without TLS and users", listen, err)
		}
	}
}

func TestRights(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	node := &fakeNode{view: populated(1, 1)}
	s := fed(t, Config{Node: node, Users: []User{
		{Name: "prometheus", Password: core.Secret(hash), Rights: []string{RightRead}},
		{Name: "zabbix", Password: "pushed", Rights: []string{RightPush}},
		{Name: "both", Token: "a-token", Rights: []string{RightRead, RightPush}},
	}})
	url := serving(t, s, "http")
	basic := func(name, password string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+password))
	}
	tests := []struct {
		auth                      string
		health, read, verbose, in int // the status of each
	}{
		{"", 200, 401, 401, 401},
		{basic("prometheus", "secret"), 200, 200, 200, 403},
		{basic("prometheus", "secret"), 200, 200, 200, 403}, // remembered now
		{basic("prometheus", "Secret"), 200, 401, 401, 401},
		{basic("prometheus", ""), 200, 401, 401, 401},
		{basic("prometheus", string(hash)), 200, 401, 401, 401},
		{basic("zabbix", "pushed"), 200, 403, 403, 200},
		{basic("zabbix", "secret"), 200, 401, 401, 401},
		{basic("nobody", "secret"), 200, 401, 401, 401},
		{basic("", ""), 200, 401, 401, 401},
		{basic("both", ""), 200, 401, 401, 401},
		{basic("both", "a-token"), 200, 401, 401, 401},
		{"Bearer a-token", 200, 200, 200, 200},
		{"bearer a-token", 200, 200, 200, 200},
		{"Bearer", 200, 401, 401, 401},
		{"Bearer ", 200, 401, 401, 401},
		{"Bearer a-tokem", 200, 401, 401, 401},
		{"Digest a-token", 200, 401, 401, 401},
	}
	const body = `{"target":"web/web1","name":"cpu","value":0.42}`
	for _, tt := range tests {
		for path, want := range map[string]int{"/healthz": tt.health, "/readyz": tt.health, "/metrics": tt.read, "/readyz?verbose": tt.verbose} {
			if got, text := call(t, http.DefaultClient, http.MethodGet, url+path, tt.auth, ""); got != want {
				t.Errorf("GET %s as %q: %d, want %d: %s", path, tt.auth, got, want, text)
			}
		}
		if got, text := call(t, http.DefaultClient, http.MethodPost, url+"/v1/metrics", tt.auth, body); got != tt.in {
			t.Errorf("POST as %q: %d, want %d: %s", tt.auth, got, tt.in, text)
		}
	}
	for _, by := range node.by {
		if by != "zabbix" && by != "both" {
			t.Errorf("a metric of %q was taken", by)
		}
	}
}

// call makes one request.
func call(t *testing.T, c *http.Client, method, url, auth, body string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if auth != "" {
		r.Header.Set("Authorization", auth)
	}
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func TestWithoutUsersNobodyPushes(t *testing.T) {
	node := &fakeNode{view: populated(1, 1)}
	url := serving(t, fed(t, Config{Node: node}), "http")
	if code, text := call(t, http.DefaultClient, http.MethodGet, url+"/metrics", "", ""); code != 200 {
		t.Errorf("GET /metrics: %d %s", code, text)
	}
	for _, path := range []string{"/v1/metrics", "/v1/alerts"} {
		code, text := call(t, http.DefaultClient, http.MethodPost, url+path, "", `{"target":"web1","name":"cpu","value":1}`)
		if code != 403 || !strings.Contains(text, "add a user") {
			t.Errorf("POST %s: %d %s, want 403 and the remedy", path, code, text)
		}
	}
	if len(node.taken()) != 0 {
		t.Errorf("taken: %v", node.taken())
	}
}

func TestWhatIsNotThere(t *testing.T) {
	url := serving(t, fed(t, Config{Node: &fakeNode{}}), "http")
	for _, tt := range []struct {
		method, path string
		want         int
	}{
		{"GET", "/", 404}, {"GET", "/debug/pprof/", 404}, {"POST", "/metrics", 405}, {"GET", "/v1/metrics", 405},
		{"DELETE", "/v1/alerts", 405}, {"GET", "/v1/node", 404}, {"HEAD", "/metrics", 200}, {"HEAD", "/healthz", 200},
	} {
		if got, text := call(t, http.DefaultClient, tt.method, url+tt.path, "", ""); got != tt.want {
			t.Errorf("%s %s: %d, want %d: %s", tt.method, tt.path, got, tt.want, text)
		}
	}
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	ca := authority(t, dir)
	cert, key := certificate(t, dir, "lb1", ca)
	client, clientKey := certificate(t, dir, "prometheus", ca)
	strange, strangeKey := certificate(t, dir, "stranger", nil)
	s := fed(t, Config{Node: &fakeNode{view: populated(1, 1)}, Cert: cert, Key: key, ClientCA: ca.file,
		Users: []User{{Name: "p", Token: "t", Rights: []string{RightRead}}}})
	url := serving(t, s, "https")
	if code, text := call(t, tlsClient(t, ca, client, clientKey), "GET", url+"/metrics", "Bearer t", ""); code != 200 {
		t.Errorf("with a certificate and a token: %d %s", code, text)
	}
	if code, _ := call(t, tlsClient(t, ca, client, clientKey), "GET", url+"/metrics", "", ""); code != 401 {
		t.Errorf("with a certificate alone: %d, want 401", code)
	}
	for name, c := range map[string]*http.Client{"no certificate": tlsClient(t, ca, "", ""), "a strange one": tlsClient(t, ca, strange, strangeKey)} {
		if resp, err := c.Get(url + "/healthz"); err == nil {
			_ = resp.Body.Close()
			t.Errorf("%s: %s, want no connection", name, resp.Status)
		}
	}
	if resp, err := http.Get(strings.Replace(url, "https", "http", 1) + "/healthz"); err == nil {
		_ = resp.Body.Close()
		if resp.StatusCode == 200 {
			t.Error("served in clear")
		}
	}
}

// A renewed certificate is served without a restart, and half a renewal harms nothing.
func TestRenewedCertificate(t *testing.T) {
	dir := t.TempDir()
	ca := authority(t, dir)
	cert, key := certificate(t, dir, "first", ca)
	s := fed(t, Config{Node: &fakeNode{}, Cert: cert, Key: key})
	serving(t, s, "https")
	name := func() string {
		conn, err := tls.Dial("tcp", s.Addr().String(), tlsClient(t, ca, "", "").Transport.(*http.Transport).TLSClientConfig)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		return conn.ConnectionState().PeerCertificates[0].Subject.CommonName
	}
	if got := name(); got != "first" {
		t.Fatalf("served: %s, want first", got)
	}
	if err := os.WriteFile(cert, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := name(); got != "first" {
		t.Errorf("in the middle of a renewal: %s, want first", got)
	}
	second, secondKey := certificate(t, dir, "second", ca)
	for to, from := range map[string]string{cert: second, key: secondKey} {
		data, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, data, 0o600); err != nil {
			t.Fatal(err)
		}
		later := time.Now().Add(time.Minute) // whatever the resolution of the file system
		if err := os.Chtimes(to, later, later); err != nil {
			t.Fatal(err)
		}
	}
	if got := name(); got != "second" {
		t.Errorf("after the renewal: %s, want second", got)
	}
}

// An address that is taken stops nothing: it is told, and served once it can be had.
func TestListensLater(t *testing.T) {
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	events := make(chan core.Event, 10)
	s := fed(t, Config{Listen: other.Addr().String(), Node: &fakeNode{}, Event: func(e core.Event) { events <- e }})
	s.again = 10 * time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	if e := <-events; e.Severity != core.Error || e.Topic != "http" || !strings.Contains(e.Message, "address already in use") {
		t.Errorf("event: %+v, want an error that names the cause", e)
	}
	if s.ListenErr() == nil || s.Addr() != nil {
		t.Errorf("ListenErr %v, Addr %v", s.ListenErr(), s.Addr())
	}
	_ = other.Close()
	if e := <-events; e.Severity != core.Info {
		t.Errorf("event: %+v, want the news that it listens", e)
	}
	if code, _ := call(t, http.DefaultClient, "GET", "http://"+s.Addr().String()+"/healthz", "", ""); code != 200 {
		t.Errorf("/healthz: %d", code)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestLargeBodiesAreRefused(t *testing.T) {
	node := &fakeNode{}
	url := serving(t, fed(t, Config{Node: node, Users: []User{{Name: "x", Token: "t", Rights: []string{RightPush}}}}), "http")
	for _, path := range []string{"/v1/metrics", "/v1/alerts"} {
		code, text := call(t, http.DefaultClient, "POST", url+path, "Bearer t", "["+strings.Repeat(" ", maxBody))
		if code != http.StatusRequestEntityTooLarge {
			t.Errorf("%s: %d %s, want 413", path, code, text)
		}
	}
}

// Clients that open connections and say nothing keep nobody out.
func TestSilentConnections(t *testing.T) {
	s := fed(t, Config{Node: &fakeNode{}})
	url := serving(t, s, "http")
	for range maxConnections + 10 {
		c, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
	}
	if code, _ := call(t, &http.Client{Timeout: 20 * time.Second}, "GET", url+"/healthz", "", ""); code != 200 {
		t.Errorf("/healthz: %d", code)
	}
}

func tlsClient(t *testing.T, ca *issuer, cert, key string) *http.Client {
	t.Helper()
	c := &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "127.0.0.1"}
	c.RootCAs.AddCert(ca.cert)
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	tr := &http.Transport{TLSClientConfig: c, DisableKeepAlives: true}
	return &http.Client{Transport: tr, Timeout: 10 * time.Second}
}
