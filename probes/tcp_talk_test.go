// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/lab/bubbletest"
	"github.com/steelyard-lb/steelyard/probes/probestest"
)

func send(s string) core.TCPStep   { return core.TCPStep{Send: s} }
func expect(s string) core.TCPStep { return core.TCPStep{Expect: s} }

func talkTarget(addr netip.AddrPort, steps ...core.TCPStep) Target {
	target := tcpTarget(addr)
	target.Spec.TCP.Steps = steps
	return target
}

// TestTalkTakesUpToTheMatch: each expect looks at what follows the match before, however
// the bytes come in.
func TestTalkTakesUpToTheMatch(t *testing.T) {
	const greeting = "220-mail\r\n220-no spam\r\n220 ready\r\n250-SIZE\r\n250 HELP\r\nlogin: "
	tests := []struct {
		name   string
		expect []string
		got    []string // the matches; "!" means that there is none
		left   string
	}{
		{"line by line", []string{"^220 ", "^250 "}, []string{"220 ", "250 "}, "HELP\r\nlogin: "},
		{"the end of a line", []string{"^220 ready$", "^250-"}, []string{"220 ready", "250-"}, "SIZE\r\n250 HELP\r\nlogin: "},
		{"a prompt without a line end", []string{"login: $"}, []string{"login: "}, ""},
		{"over several lines", []string{"(?s)ready.*HELP"}, []string{"ready\r\n250-SIZE\r\n250 HELP"}, "\r\nlogin: "},
		{"what is over is over", []string{"HELP", "220"}, []string{"HELP", "!"}, ""},
		{"twice the same", []string{"220", "220", "220", "220"}, []string{"220", "220", "220", "!"}, ""},
	}
	for _, tt := range tests {
		for name, in := range map[string]io.Reader{
			"at once":      strings.NewReader(greeting),
			"byte by byte": iotest.OneByteReader(strings.NewReader(greeting)),
			"with its end": iotest.DataErrReader(strings.NewReader(greeting)),
		} {
			t.Run(tt.name+", "+name, func(t *testing.T) {
				var h heard
				for i, e := range tt.expect {
					got, err := h.until(in, regexp.MustCompile(e))
					if tt.got[i] == "!" {
						if err != io.EOF {
							t.Errorf("%s: got %q, %v", e, got, err)
						}
						return
					}
					if err != nil || got != tt.got[i] {
						t.Fatalf("%s: got %q, %v, want %q", e, got, err, tt.got[i])
					}
				}
				rest, err := io.ReadAll(in)
				if err != nil || string(h.buf)+string(rest) != tt.left {
					t.Errorf("%q is left, want %q; %v", string(h.buf)+string(rest), tt.left, err)
				}
			})
		}
	}
}

func TestTalkIsBounded(t *testing.T) {
	nothing := regexp.MustCompile("never")
	var h heard
	if _, err := h.until(zeros{}, nothing); !errors.Is(err, errTooMuch) || len(h.buf) > maxHeard || cap(h.buf) > maxHeard {
		t.Errorf("got %v with %d bytes in %d", err, len(h.buf), cap(h.buf))
	}
	h.drop()
	if _, err := h.until(iotest.OneByteReader(zeros{}), nothing); !errors.Is(err, errTrickle) || len(h.buf) > maxReads {
		t.Errorf("got %v with %d bytes", err, len(h.buf))
	}
	// An expression that matches nothing, too, waits until something comes.
	h.drop()
	if _, err := h.until(strings.NewReader(""), regexp.MustCompile("")); err != io.EOF {
		t.Errorf("got %v from silence", err)
	}
}

// zeros says nothing but zeros, for ever.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// trickle brings little at a time, at once, and without a line end.
type trickle struct{}

func (trickle) Read(b []byte) (int, error) {
	return copy(b, "sixty-four bytes of a line that never comes to its end, as it is"), nil
}

// TestTalkIsPaced: each piece has the expression look at all that has come, so pieces
// that come fast are left to pile up.
func TestTalkIsPaced(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		var h heard
		start := time.Now()
		if _, err := h.until(trickle{}, regexp.MustCompile("not there")); err == nil {
			t.Error("it matches")
		}
		const looked = maxHeard / 64 * maxHeard / 2 // bytes, in 1,024 looks
		if rate := looked / time.Since(start).Seconds(); rate > 2*lookRate {
			t.Errorf("the expression looked at %.3g bytes a second", rate)
		}
	})
}

func TestTalkFailures(t *testing.T) {
	says := func(s string) netip.AddrPort { return probestest.Script(t, s) }
	tests := []struct {
		name   string
		target Target
		code   core.Code
		want   string
	}{
		{"refused", talkTarget(probestest.Refused(t), expect("x")), core.L4Refused, "refused"},
		{"mute", talkTarget(probestest.Mute(t), expect("^220")), core.L7Timeout, "step 1 of 1: nothing that matches `^220` came"},
		{"something else", talkTarget(says("-LOADING the dataset\r\n"), send("PING\r\n"), expect(`^\+PONG`)), core.L7Expect, `step 2 of 2: nothing that matches ` + "`^\\+PONG`" + ` came, but "-LOADING the dataset"`},
		{"hangs up", talkTarget(says(""), send("PING\r\n"), expect(`^\+PONG`)), core.L7Response, "before it hung up"},
		{"resets", talkTarget(hangUp(t), send("PING\r\n"), expect(`^\+PONG`)), core.L7Response, "reset"},
		{"no regular expression", talkTarget(says(""), expect("(")), core.Internal, "step 1: expect: "},
		{"an empty step", talkTarget(says(""), core.TCPStep{}), core.Internal, "step 1 is none of"},
		{"two at once", talkTarget(says(""), core.TCPStep{Send: "a", Expect: "b"}), core.Internal, "or several"},
		{"secure twice", talkTarget(says(""), core.TCPStep{StartTLS: true}, core.TCPStep{StartTLS: true}), core.Internal, "only once"},
		{"starttls of a server that goes on plain", talkTarget(says("220 go on\r\n"), send("STARTTLS\r\n"), expect("^220"), core.TCPStep{StartTLS: true}), core.L6Response, "hung up"},
		{"a server that talks and talks", talkTarget(says(strings.Repeat("x", 100_000)), send("a"), expect("y")), core.L7Expect, "nothing that matches `y`"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := ask(t, inVain(tt.target, tt.code))
			wantCode(t, s, false, tt.code, tt.want)
		})
	}
}

// TestTalkKeepsSecrets: what is sent may be a password.
func TestTalkKeepsSecrets(t *testing.T) {
	target := talkTarget(probestest.Script(t, "-WRONGPASS\r\n"), send("AUTH s3cret\r\n"), expect(`^\+OK`))
	var notes []string
	ctx := traced(t.Context(), func(step, text string) { notes = append(notes, step+": "+text) })
	r := newProber(target).probe(ctx)
	all := strings.Join(append(notes, r.detail), "\n")
	if strings.Contains(all, "s3cret") || !strings.Contains(all, "WRONGPASS") || !strings.Contains(all, "AUTH") {
		t.Errorf("got %s", all)
	}
}

// TestRedis asks Debian's redis-server.
func TestRedis(t *testing.T) {
	at := freePort(t)
	startServer(t, []netip.AddrPort{at}, "redis-server", "--port", port(at), "--bind", "127.0.0.1", "--save", "", "--dir", t.TempDir(), "--requirepass", "s3cret")
	auth := []core.TCPStep{send("AUTH s3cret\r\n"), expect(`^\+OK`)}
	role := append(auth, send("INFO replication\r\n"), expect("^role:master"), send("PING\r\n"), expect(`^\+PONG`), send("QUIT\r\n"), expect(`^\+OK`))
	s := ask(t, talkTarget(at, role...))
	wantCode(t, s, true, core.L7OK, "8 steps with 127.0.0.1")
	wantMetrics(t, s, core.MetricConnect, core.MetricResponse)
	inHex := core.TCPStep{SendHex: "5049 4e47 0d0a"} // PING and the end of a line
	wantCode(t, ask(t, talkTarget(at, append(auth, inHex, expect(`^\+PONG`))...)), true, core.L7OK, "4 steps")
	wantCode(t, ask(t, inVain(talkTarget(at, send("PING\r\n"), expect(`^\+PONG`)), core.L7Expect)), false, core.L7Expect, "NOAUTH")
	wantCode(t, ask(t, inVain(talkTarget(at, append(auth, send("INFO replication\r\n"), expect("^role:slave"))...), core.L7Expect)), false, core.L7Expect, "role:slave")
}

// TestSendHex: every byte goes out as it is, those that are no text too, and what is no
// hexadecimal is told.
func TestSendHex(t *testing.T) {
	steps := []core.TCPStep{{SendHex: "00 00 00 08 04 D2 16 2F"}, expect("^N$")} // PostgreSQL's SSLRequest
	got := make(chan []byte, 1)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		buf := make([]byte, 8)
		_, _ = io.ReadFull(c, buf)
		_, _ = c.Write([]byte("N"))
		got <- buf
	}()
	wantCode(t, ask(t, talkTarget(l.Addr().(*net.TCPAddr).AddrPort(), steps...)), true, core.L7OK, "2 steps")
	if want := []byte{0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f}; !bytes.Equal(<-got, want) {
		t.Errorf("sent other bytes than % x", want)
	}
	wantCode(t, ask(t, talkTarget(probestest.Refused(t), core.TCPStep{SendHex: "0x1"})), false, core.Internal, "step 1: send_hex")
}

func port(a netip.AddrPort) string { return strings.TrimPrefix(a.String(), a.Addr().String()+":") }

// TestSMTP holds keepalived's SMTP_CHECK with nginx's mail proxy, plain, with STARTTLS and
// over TLS from the start.
func TestSMTP(t *testing.T) {
	const module = "/usr/lib/nginx/modules/ngx_mail_module.so"
	_, err := os.Stat(module)
	need(t, err == nil, "libnginx-mod-mail")
	ca := issue(t, nil, in(300), "Test CA")
	id := issue(t, ca, in(30), "mail", "mail.example.org")
	n := startNginx(t, map[string]string{"mail.crt": id.cert, "mail.key": id.key}, []string{"smtp", "smtps"}, `
load_module `+module+`;
events {}
mail {
	server_name mail.example.org; auth_http 127.0.0.1:9/; smtp_auth none; smtp_greeting_delay 0;
	ssl_certificate DIR/mail.crt; ssl_certificate_key DIR/mail.key; smtp_capabilities "SIZE 1000" "PIPELINING";
	server { listen {smtp}; protocol smtp; starttls on; }
	server { listen {smtps} ssl; protocol smtp; }
}`)
	ehlo := []core.TCPStep{expect("^220 "), send("EHLO probe.example.org\r\n"), expect("^250 ")}
	quit := []core.TCPStep{send("QUIT\r\n"), expect("^221 ")}
	start := []core.TCPStep{send("STARTTLS\r\n"), expect("^220 "), {StartTLS: true}, send("EHLO probe.example.org\r\n"), expect("^250 ")}
	all := func(parts ...[]core.TCPStep) (steps []core.TCPStep) {
		for _, p := range parts {
			steps = append(steps, p...)
		}
		return steps
	}
	secure := core.TLSSpec{Enabled: true, CA: ca.cert, ServerName: "mail.example.org"}
	wrong := secure
	wrong.ServerName = "imap.example.org"
	tests := []struct {
		name, port string
		tls        core.TLSSpec
		steps      []core.TCPStep
		code       core.Code
		want       string
	}{
		{"plain", "smtp", core.TLSSpec{}, all(ehlo, quit), core.L7OK, "5 steps"},
		{"starttls", "smtp", secure, all(ehlo, start, quit), core.L7OK, "10 steps"},
		{"starttls, not enabled by itself", "smtp", core.TLSSpec{Insecure: true}, all(ehlo, start, quit), core.L7OK, "10 steps"},
		{"starttls, wrong name", "smtp", wrong, all(ehlo, start, quit), core.L6Response, "is for mail.example.org"},
		{"over TLS", "smtps", secure, all(ehlo, quit), core.L7OK, "5 steps"},
		{"TLS alone", "smtps", secure, nil, core.L7OK, "TLS 1."},
		{"TLS of a plain port", "smtp", secure, nil, core.L6Response, `its answer begins with "220 m"`},
		{"plain of a TLS port", "smtps", core.TLSSpec{}, ehlo, core.L7Timeout, "step 1 of 3"},
		{"a capability that is not there", "smtp", core.TLSSpec{}, all(ehlo[:2], []core.TCPStep{expect("^250.CHUNKING")}), core.L7Expect, "`^250.CHUNKING`"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			target := talkTarget(n.ports[tt.port], tt.steps...)
			target.Spec.TCP.TLS = tt.tls
			s := ask(t, inVain(target, tt.code))
			wantCode(t, s, tt.code == core.L7OK, tt.code, tt.want)
			if s.OK && (strings.Contains(tt.name, "starttls") || tt.tls.Enabled) {
				wantMetrics(t, s, core.MetricConnect, core.MetricTLS, core.MetricResponse, core.MetricExpiry)
			}
		})
	}
}

// TestStartTLSWaitsForTheLine: a server may flush in the middle of its line.
func TestStartTLSWaitsForTheLine(t *testing.T) {
	id := issue(t, nil, in(9), "slow", "127.0.0.1")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1) // one connection
	go func() {
		c, err := l.Accept()
		if err != nil {
			served <- err
			return
		}
		defer c.Close() //nolint:errcheck // the probe has its answer
		for _, part := range []string{"220 2.0", ".0 go ah", "ead\r\n"} {
			_, _ = c.Write([]byte(part)) // a client that is gone shows in the handshake
			time.Sleep(20 * time.Millisecond)
		}
		secure := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{id.pair(t)}})
		if err = secure.Handshake(); err == nil {
			_, err = secure.Write([]byte("hello\r\n"))
		}
		served <- err
	}()
	target := talkTarget(netip.MustParseAddrPort(l.Addr().String()), expect("^220 "), core.TCPStep{StartTLS: true}, expect("^hello$"))
	target.Spec.TCP.TLS = core.TLSSpec{CA: id.cert}
	wantCode(t, ask(t, target), true, core.L7OK, "3 steps")
	_ = l.Close()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// TestOpenSSL talks to openssl s_server, which reverses each line, and asks for a client
// certificate.
func TestOpenSSL(t *testing.T) {
	ca := issue(t, nil, in(300), "Test CA")
	id, client := issue(t, ca, in(30), "rev", "127.0.0.1"), issue(t, ca, in(30), "probe", "probe")
	dir := t.TempDir()
	for name, text := range map[string]string{"ca": ca.cert, "cert": id.cert, "key": id.key} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, version := range map[string]string{"TLS 1.2": "-tls1_2", "TLS 1.3": "-tls1_3"} {
		t.Run(name, func(t *testing.T) {
			at := freePort(t)
			startServer(t, []netip.AddrPort{at}, "openssl", "s_server", "-accept", at.String(), "-rev", "-quiet", version,
				"-cert", filepath.Join(dir, "cert"), "-key", filepath.Join(dir, "key"), "-CAfile", filepath.Join(dir, "ca"), "-Verify", "1", "-verify_return_error")
			target := talkTarget(at, send("steelyard\n"), expect("^drayleets$"))
			target.Spec.TCP.TLS = core.TLSSpec{Enabled: true, CA: ca.cert}
			wantCode(t, ask(t, target), false, core.L6Response, "client certificate")
			target.Spec.TCP.TLS.Cert, target.Spec.TCP.TLS.Key = client.cert, core.Secret(client.key)
			wantCode(t, ask(t, target), true, core.L7OK, "2 steps")
		})
	}
}

// FuzzTalk: whatever comes and however it is cut, an expect finds what the same
// expression finds in the whole, never keeps more than it may, and never takes more than
// came.
func FuzzTalk(f *testing.F) {
	f.Add([]byte("220 mail\r\n250 ok\r\n"), "^250 ", uint8(3))
	f.Add([]byte("login: "), "in: $", uint8(1))
	f.Add([]byte("\r\n\n\r"), "", uint8(2))
	f.Add([]byte("\xff\x00\n"), `\x00$`, uint8(1))
	f.Fuzz(func(t *testing.T, said []byte, expr string, piece uint8) {
		re, err := regexp.Compile(expr)
		if err != nil || len(said) > maxHeard-1 || len(said) > int(piece)*100 {
			return
		}
		var h heard
		in := bytes.NewReader(said)
		got, err := h.until(pieces{in, max(int(piece), 1)}, re)
		if len(h.buf) > maxHeard || h.tried > len(h.buf) || len(got)+len(h.buf)+in.Len() > len(said) {
			t.Fatalf("got %q, %d kept, %d tried, %d left of %d", got, len(h.buf), h.tried, in.Len(), len(said))
		}
		if !bytes.HasSuffix(said, append(bytes.Clone(h.buf), said[len(said)-in.Len():]...)) {
			t.Errorf("%q is left of %q", h.buf, said)
		}
		if err != nil && len(said) > 0 && re.Match(said) {
			t.Errorf("%q matches %q as a whole, and was not found: %v", expr, said, err)
		}
		if err == nil && !bytes.Contains(said, []byte(got)) {
			t.Errorf("found %q in %q", got, said)
		}
	})
}

// pieces hands out a few bytes at a time.
type pieces struct {
	io.Reader
	n int
}

func (p pieces) Read(b []byte) (int, error) { return p.Reader.Read(b[:min(len(b), p.n)]) }
