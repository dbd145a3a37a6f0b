// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// These tests ask Debian's nginx.

// freePort is an address of the loopback where nothing listens just now.
func freePort(t *testing.T) netip.AddrPort {
	t.Helper()
	return freePorts(t, 1)[0]
}

// freePorts are several. The kernel gives none of them to a connection or to a listener
// that leaves the choice to it, so they stay free until somebody asks for them.
func freePorts(t *testing.T, n int) []netip.AddrPort {
	t.Helper()
	var at []netip.AddrPort
	for range 1000 {
		if len(at) == n {
			return at
		}
		l, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", 10_000+rand.N(22_000))) // net.ipv4.ip_local_port_range begins at 32768
		if err != nil {
			continue
		}
		defer l.Close() //nolint:errcheck // all are held until all are found: no two are the same
		at = append(at, netip.MustParseAddrPort(l.Addr().String()))
	}
	t.Fatal("no port is free")
	return nil
}

// startServer runs a server until the test ends, and returns once it accepts
// connections at each address.
func startServer(t *testing.T, at []netip.AddrPort, command string, args ...string) {
	t.Helper()
	path, err := exec.LookPath(command)
	need(t, err == nil, command)
	cmd := exec.Command(path, args...)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		select {
		case <-ended:
		case <-time.After(5 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
		}
	})
	end := time.Now().Add(ample)
	for _, a := range at {
		for {
			if c, err := net.Dial("tcp", a.String()); err == nil {
				_ = c.Close()
				break
			}
			select {
			case <-ended:
				t.Fatalf("%s ended: %s", command, out.String())
			case <-time.After(20 * time.Millisecond):
			}
			if time.Now().After(end) {
				t.Fatalf("%s does not listen on %s: %s", command, a, out.String())
			}
		}
	}
}

// A nginx is a running nginx whose configuration a test wrote.
type nginx struct {
	dir   string
	ports map[string]netip.AddrPort
}

// startNginx runs nginx with a configuration in which {NAME} stands for a port, and
// DIR for a directory that holds the files.
func startNginx(t *testing.T, files map[string]string, ports []string, conf string) *nginx {
	t.Helper()
	n := &nginx{dir: t.TempDir(), ports: make(map[string]netip.AddrPort)}
	all := freePorts(t, len(ports))
	for i, name := range ports {
		n.ports[name] = all[i]
		conf = strings.ReplaceAll(conf, "{"+name+"}", n.ports[name].String())
	}
	// There alone: a certificate in base64 may have these letters by chance.
	files["nginx.conf"] = strings.ReplaceAll(`daemon off; error_log stderr; pid DIR/pid; worker_processes 1; `+nginxUser()+"\n"+conf, "DIR", n.dir)
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(n.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	startServer(t, all, "nginx", "-e", "stderr", "-p", n.dir, "-c", filepath.Join(n.dir, "nginx.conf"))
	return n
}

// nginxUser keeps the worker able to read the test's directory.
func nginxUser() string {
	if os.Getuid() == 0 {
		return "user root;"
	}
	return ""
}

const nginxWeb = `
events {}
http {
	access_log off; default_type text/plain;
	client_body_temp_path DIR/t1; proxy_temp_path DIR/t2; fastcgi_temp_path DIR/t3; uwsgi_temp_path DIR/t4; scgi_temp_path DIR/t5;
	ssl_certificate DIR/web.crt; ssl_certificate_key DIR/web.key;
	server {
		listen {plain} default_server; root DIR;
		location /down { return 503 "going down\n"; }
		location /moved { return 301 http://example.org/; }
		location /who { return 200 "method=$request_method host=$http_host agent=$http_user_agent token=$http_x_token encoding=$http_accept_encoding length=$content_length\n"; }
		location /json { default_type application/json; return 200 '{"status":"ok","db":{"lag":1.5,"up":true},"queue":[{"len":3},{"len":4}],"served":$connection_requests}'; }
	}
	server { listen {plain}; server_name www.example.org; return 200 "this is www\n"; }
	server { listen {tls} ssl default_server; return 200 "$ssl_protocol $ssl_server_name $http_host\n"; }
	server { listen {tls} ssl; server_name api.example.org; ssl_certificate DIR/api.crt; ssl_certificate_key DIR/api.key; return 200 "this is api\n"; }
	server { listen {mutual} ssl; ssl_client_certificate DIR/ca.crt; ssl_verify_client on; return 200 "hello $ssl_client_s_dn\n"; }
	server { listen {expired} ssl; ssl_certificate DIR/expired.crt; ssl_certificate_key DIR/expired.key; return 200; }
	server { listen {self} ssl; ssl_certificate DIR/self.crt; ssl_certificate_key DIR/self.key; return 200; }
	server { listen {h2} ssl http2; root DIR; location = / { return 200 "$server_protocol $http_host\n"; } }
	server { listen {h2c} http2; root DIR; location = / { return 200 "$server_protocol $http_host\n"; } }
}`

// nginxFiles are what nginxWeb needs.
func nginxFiles(t *testing.T) (files map[string]string, ca, client *credential) {
	t.Helper()
	ca = issue(t, nil, in(300), "Test CA")
	client = issue(t, ca, in(30), "probe", "probe.example.org")
	files = map[string]string{
		"ca.crt": ca.cert,
		"page":   "all is well\n",
		"big":    strings.Repeat("0123456789abcdef", 8192), // 128 KiB
	}
	for name, id := range map[string]*credential{
		"web":     issue(t, ca, in(90), "www", "www.example.org", "127.0.0.1"),
		"api":     issue(t, ca, in(60), "api", "api.example.org"),
		"expired": issue(t, ca, in(-3), "old", "127.0.0.1"),
		"self":    issue(t, nil, in(90), "self", "127.0.0.1"),
	} {
		files[name+".crt"], files[name+".key"] = id.cert, id.key
	}
	return files, ca, client
}

func TestNginx(t *testing.T) {
	files, ca, client := nginxFiles(t)
	n := startNginx(t, files, []string{"plain", "tls", "mutual", "expired", "self", "h2", "h2c"}, nginxWeb)
	https := core.TLSSpec{Enabled: true, CA: ca.cert}
	insecure := core.TLSSpec{Enabled: true, Insecure: true}
	mine := core.TLSSpec{Enabled: true, CA: ca.cert, Cert: client.cert, Key: core.Secret(client.key)}
	named := https
	named.ServerName = "www.example.org"
	md5sum, sha := md5.Sum([]byte("all is well\n")), sha256.Sum256([]byte("all is well\n"))
	hashMD5, hashSHA := "md5:"+hex.EncodeToString(md5sum[:]), "sha256:"+strings.ToUpper(hex.EncodeToString(sha[:]))
	big := sha256.Sum256([]byte(files["big"]))
	hashBig := "sha256:" + hex.EncodeToString(big[:])
	json := func(rules ...core.JSONRule) core.HTTPSpec { return core.HTTPSpec{Path: "/json", JSON: rules} }
	only := func(status int) []core.StatusRange { return []core.StatusRange{{From: status, To: status}} }
	headers := []core.Header{{Name: "X-Token", Value: "s3cret"}, {Name: "user-agent", Value: "check/1"}}
	tests := []struct {
		name, port string
		spec       core.HTTPSpec
		code       core.Code
		want       string
	}{
		{"a page", "plain", core.HTTPSpec{Path: "/page"}, core.L7OK, "HTTP status 200"},
		{"no page", "plain", core.HTTPSpec{Path: "/nothing"}, core.L7Status, "404 Not Found, want 200-399"},
		{"a 503", "plain", core.HTTPSpec{Path: "/down"}, core.L7Status, "503"},
		{"a 503 that is wished for", "plain", core.HTTPSpec{Path: "/down", Status: only(503)}, core.L7OK, "503"},
		{"a redirect is a status", "plain", core.HTTPSpec{Path: "/moved"}, core.L7OK, "301"},
		{"a redirect that is not wished for", "plain", core.HTTPSpec{Path: "/moved", Status: only(200)}, core.L7Status, "301"},
		{"by its host", "plain", core.HTTPSpec{Host: "www.example.org", Expect: "this is www"}, core.L7OK, "200"},
		{"another host", "plain", core.HTTPSpec{Host: "nobody.example.org", Path: "/page", Expect: "this is www"}, core.L7Expect, "does not match expect `this is www`"},
		{"method, headers and body", "plain", core.HTTPSpec{Path: "/who", Method: "REPORT", Headers: headers, Body: "hello",
			Expect: `method=REPORT host=127\.0\.0\.1:\d+ agent=check/1 token=s3cret encoding=identity length=5`}, core.L7OK, "200"},
		{"a header that is a host", "plain", core.HTTPSpec{Path: "/", Headers: []core.Header{{Name: "Host", Value: "www.example.org"}}, Expect: "this is www"}, core.L7OK, "200"},
		{"reject", "plain", core.HTTPSpec{Path: "/page", Reject: "is (well|ill)"}, core.L7Expect, "matches reject `is (well|ill)`: \"is well\""},
		{"md5", "plain", core.HTTPSpec{Path: "/page", Digest: hashMD5}, core.L7OK, "200"},
		{"sha256", "plain", core.HTTPSpec{Path: "/page", Digest: hashSHA}, core.L7OK, "200"},
		{"another digest", "plain", core.HTTPSpec{Path: "/big", Digest: hashMD5}, core.L7Expect, "only its first 65536 bytes were read"},
		{"a match beyond max_body", "plain", core.HTTPSpec{Path: "/big", MaxBody: 10, Expect: "abcdef"}, core.L7Expect, "raise max_body"},
		{"a big body", "plain", core.HTTPSpec{Path: "/big", MaxBody: 1 << 20, Expect: "^[0-9a-f]{1000}"}, core.L7OK, "200"},
		{"json", "plain", json(core.JSONRule{Path: "status", Want: "ok"}, core.JSONRule{Path: "db.lag", Op: "<", Want: "2"},
			core.JSONRule{Path: "db.up", Want: "true"}, core.JSONRule{Path: "queue.1.len", Op: ">=", Want: "4"}), core.L7OK, "200"},
		{"json that is otherwise", "plain", json(core.JSONRule{Path: "db.lag", Op: "<=", Want: "1"}), core.L7Expect, `"db.lag" of the body is 1.5, want <= 1`},
		{"json that is not there", "plain", json(core.JSONRule{Path: "cache.up", Want: "true"}), core.L7Expect, `"cache.up" of the body is not there`},
		{"no json", "plain", core.HTTPSpec{Path: "/page", JSON: []core.JSONRule{{Path: "a", Want: "b"}}}, core.L7Expect, "not JSON"},
		{"TLS", "tls", core.HTTPSpec{TLS: https, Expect: `TLSv1\.[23]  127`}, core.L7OK, "200"},
		{"SNI and Host", "tls", core.HTTPSpec{TLS: https, Host: "www.example.org", Expect: `TLSv1\.[23] www\.example\.org www\.example\.org`}, core.L7OK, "200"},
		{"SNI of another server", "tls", core.HTTPSpec{TLS: https, Host: "api.example.org", Expect: "this is api"}, core.L7OK, "200"},
		{"SNI by itself", "tls", core.HTTPSpec{TLS: named, Host: "127.0.0.1", Expect: `www\.example\.org 127`}, core.L7OK, "200"},
		{"a name that the certificate has not", "tls", core.HTTPSpec{TLS: https, Host: "mail.example.org"}, core.L6Response, `is for www.example.org, 127.0.0.1, not for "mail.example.org"`},
		{"http asked of https", "tls", core.HTTPSpec{}, core.L7Status, "the port speaks https"},
		{"https asked of http", "plain", core.HTTPSpec{TLS: https}, core.L6Response, "does not speak TLS"},
		{"no client certificate", "mutual", core.HTTPSpec{TLS: https}, core.L7Status, "it wants a client certificate"},
		{"a client certificate", "mutual", core.HTTPSpec{TLS: mine, Expect: "hello CN=probe"}, core.L7OK, "200"},
		{"expired", "expired", core.HTTPSpec{TLS: https}, core.L6Response, "3 days ago"},
		{"expired, insecure", "expired", core.HTTPSpec{TLS: insecure}, core.L7OK, "200"},
		{"self-signed", "self", core.HTTPSpec{TLS: https}, core.L6Response, "signed itself"},
		{"self-signed, named as CA", "self", core.HTTPSpec{TLS: core.TLSSpec{Enabled: true, CA: files["self.crt"]}}, core.L7OK, "200"},
		{"h2", "h2", core.HTTPSpec{TLS: https, HTTP2: true, Host: "www.example.org", Expect: `^HTTP/2\.0 www\.example\.org`}, core.L7OK, "200"},
		{"h2 without a host", "h2", core.HTTPSpec{TLS: https, HTTP2: true, Expect: `^HTTP/2\.0 127`}, core.L7OK, "200"},
		{"h2, a big body", "h2", core.HTTPSpec{TLS: https, HTTP2: true, Path: "/big"}, core.L7OK, "200"},
		{"h2, all of a big body", "h2", core.HTTPSpec{TLS: https, HTTP2: true, Path: "/big", MaxBody: 1 << 20, Digest: hashBig}, core.L7OK, "200"},
		{"h2, no page", "h2", core.HTTPSpec{TLS: https, HTTP2: true, Path: "/nothing"}, core.L7Status, "404"},
		{"h2 of a server without", "tls", core.HTTPSpec{TLS: https, HTTP2: true}, core.L6Response, "it speaks none of h2"},
		{"h2 without TLS", "h2c", core.HTTPSpec{HTTP2: true, Expect: `^HTTP/2\.0 127`}, core.L7OK, "200"},
		{"h2 without TLS of a server without", "plain", core.HTTPSpec{HTTP2: true}, core.L7Response, "answer of 127.0.0.1"},
		{"HTTP/1.1 by ALPN", "h2", core.HTTPSpec{TLS: https, Expect: `^HTTP/1\.1`}, core.L7OK, "200"},
		{"HTTP/1.1 of a server without", "h2c", core.HTTPSpec{}, core.L7Response, "answer of 127.0.0.1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			target := httpTarget(n.ports[tt.port], tt.spec)
			s := ask(t, target)
			wantCode(t, s, tt.code == core.L7OK, tt.code, tt.want)
			noKey(t, s)
			if strings.Contains(s.Detail, "s3cret") {
				t.Errorf("a secret is in %q", s.Detail)
			}
			if s.OK {
				wantHTTPMetrics(t, s, tt.spec.TLS.Enabled)
			}
		})
	}
}

// wantHTTPMetrics expects all phases, which add up, and a plausible expiry.
func wantHTTPMetrics(t *testing.T, s core.Sample, secure bool) {
	t.Helper()
	if !secure {
		wantMetrics(t, s, core.MetricConnect, core.MetricTTFB, core.MetricTransfer, core.MetricResponse)
		return
	}
	wantMetrics(t, s, core.MetricConnect, core.MetricTLS, core.MetricTTFB, core.MetricTransfer, core.MetricResponse, core.MetricExpiry)
	if m, _ := s.Metric(core.MetricExpiry); m.Value > 91*86400 || m.Value < -4*86400 || m.Value == 0 {
		t.Errorf("the certificate expires in %g s", m.Value)
	}
}

// TestNginxMetrics reads numbers out of a page: a gauge, a sum over an array, and the
// rate of a counter, which needs a second answer.
func TestNginxMetrics(t *testing.T) {
	files, _, _ := nginxFiles(t)
	n := startNginx(t, files, []string{"plain"}, `
events {}
http {
	access_log off; default_type text/plain;
	client_body_temp_path DIR/t1; proxy_temp_path DIR/t2; fastcgi_temp_path DIR/t3; uwsgi_temp_path DIR/t4; scgi_temp_path DIR/t5;
	server { listen {plain}; location = /json { return 200 '{"lag":1500,"queue":[{"len":3},{"len":4}],"up":true,"served":$connection}'; } location / { return 200 "text"; } }
}`)
	target := httpTarget(n.ports["plain"], core.HTTPSpec{Path: "/json"})
	target.Spec.Metrics = []core.MetricSpec{
		{Name: "alive", From: "up"},
		{Name: "lag", From: "lag", Scale: 0.001, Unit: "seconds"},
		{Name: "queued", From: "queue.*.len", Aggregate: core.SumOf, Unit: "count"},
		{Name: "served", From: "served", Kind: core.CounterKind},
	}
	p := newProber(target)
	s := askWith(t, target, p)
	wantCode(t, s, true, core.L7OK, "served after the next answer")
	if again := p.(patient).enough(result{}); again <= 0 {
		t.Error("a rate needs a second answer, and nobody is told so")
	}
	s = askWith(t, target, p)
	wantCode(t, s, true, core.L7OK, "lag 1.5 seconds")
	for name, want := range map[string]string{"alive": "1 ", "lag": "1.5 seconds", "queued": "7 count"} {
		if m, _ := s.Metric(name); fmt.Sprint(m.Value, " ", m.Unit) != want {
			t.Errorf("%s is %v %s, want %s", name, m.Value, m.Unit, want)
		}
	}
	if m, _ := s.Metric("served"); m.Value <= 0 || m.Unit != "per_second" || m.Window <= 0 {
		t.Errorf("served is %+v", m)
	}
	if again := p.(patient).enough(result{}); again != 0 {
		t.Errorf("all is there, and one more is asked for in %s", again)
	}
	// Numbers that are not there never speak against a backend, only against a probe
	// that is for nothing else.
	other := httpTarget(n.ports["plain"], core.HTTPSpec{Path: "/"})
	other.Spec.Metrics = target.Spec.Metrics[:1]
	wantCode(t, ask(t, other), true, core.L7OK, `alive: no number for "up"`)
	role := *other.Spec
	role.Role = core.MetricRole
	other.Spec = &role
	wantCode(t, ask(t, other), false, core.MetricNone, `alive: no number for "up"`)
}
