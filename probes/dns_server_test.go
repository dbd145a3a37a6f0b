// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/steelyard-lb/steelyard/core"
)

// These tests ask Debian's bind9 and unbound instead of our own idea of a name server.

func dnsTarget(addr netip.AddrPort, spec core.DNSSpec) Target {
	target := tcpTarget(addr)
	target.Spec.Type, target.Spec.DNS = core.ProbeDNS, spec
	target.Spec.Timeout = 10 * time.Second
	return target
}

// bigText is more than an answer over UDP may be: 20 strings of 200 bytes.
var bigText = strings.Repeat(`"`+strings.Repeat("x", 200)+`" `, 20)

const zone = `$TTL 60
@     SOA ns1.example.org. admin.example.org. 2026112301 3600 600 86400 60
      NS  ns1.example.org.
ns1   A     192.0.2.53
www   A     192.0.2.1
www   A     192.0.2.2
alias CNAME www
txt   TXT   "status=serving" "since 1999"
big   TXT   `

// startNamed starts bind9 as the authority for example.org, and for broken.example, whose
// zone it cannot load.
func startNamed(t *testing.T) netip.AddrPort {
	t.Helper()
	dir, addr := t.TempDir(), freeDNSPort(t)
	writeFile(t, dir, "zone", zone+bigText+"\n")
	writeFile(t, dir, "named.conf", fmt.Sprintf(`
options {
	directory "%s"; pid-file none; session-keyfile none; lock-file none;
	listen-on port %d { 127.0.0.1; }; listen-on-v6 { none; };
	recursion no; dnssec-validation no; notify no; minimal-responses yes;
};
controls {};
zone "example.org" { type primary; file "zone"; };
zone "broken.example" { type primary; file "missing"; };
`, dir, addr.Port()))
	startDNS(t, addr, "named", "-g", "-c", filepath.Join(dir, "named.conf"))
	return addr
}

// startUnbound starts unbound with a zone of its own; 127.0.0.3 it refuses.
func startUnbound(t *testing.T) netip.AddrPort {
	t.Helper()
	dir, addr := t.TempDir(), freeDNSPort(t)
	writeFile(t, dir, "unbound.conf", fmt.Sprintf(`
server:
	directory: "%s"
	chroot: ""
	username: ""
	pidfile: ""
	use-syslog: no
	do-daemonize: no
	module-config: "iterator"
	interface: 127.0.0.1@%d
	access-control: 127.0.0.3/32 refuse
	max-udp-size: 1232
	local-zone: "example.org." static
	local-data: "example.org. SOA ns1.example.org. admin.example.org. 7 3600 600 86400 60"
	local-data: "www.example.org. A 192.0.2.1"
	local-data: 'big.example.org. TXT %s'
remote-control:
	control-enable: no
`, dir, addr.Port(), strings.TrimSpace(bigText)))
	startDNS(t, addr, "unbound", "-d", "-c", filepath.Join(dir, "unbound.conf"))
	return addr
}

func writeFile(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// freeDNSPort is free for UDP and for TCP.
func freeDNSPort(t *testing.T) netip.AddrPort {
	t.Helper()
	for range 20 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr := l.Addr().String()
		conn, err := net.ListenPacket("udp", addr)
		_ = l.Close()
		if err == nil {
			_ = conn.Close()
			return netip.MustParseAddrPort(addr)
		}
	}
	t.Fatal("no port is free for both UDP and TCP")
	return netip.AddrPort{}
}

// startDNS starts a server and waits until it answers. It ends with the test.
func startDNS(t *testing.T, addr netip.AddrPort, name string, args ...string) {
	t.Helper()
	binary, err := exec.LookPath(name)
	need(t, err == nil && os.Getuid() == 0, name+" and root")
	var said bytes.Buffer
	cmd := exec.Command(binary, args...)
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s: %s", name, said.String())
		}
	})
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		target := dnsTarget(addr, core.DNSSpec{Question: "example.org", Answers: 1})
		target.Spec.Timeout = time.Second
		s := ask(t, target)
		if s.OK {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not answer: %s %q", name, s.Code, s.Detail)
		}
	}
}

func TestDNSNamed(t *testing.T) {
	addr := startNamed(t)
	tests := []struct {
		name   string
		spec   core.DNSSpec
		ok     bool
		code   core.Code
		detail string
		count  float64
	}{
		{"SOA", core.DNSSpec{Question: "example.org"}, true, core.DNSOK, "NOERROR, 1 record for example.org. SOA", 1},
		{"two addresses", core.DNSSpec{Question: "www.example.org", Record: "a", Answers: 2}, true, core.DNSOK, "192.0.2.", 2},
		{"too few", core.DNSSpec{Question: "www.example.org", Record: "A", Answers: 3}, false, core.DNSAnswer, "has 2 records, want 3", 0},
		{"through a CNAME", core.DNSSpec{Question: "alias.example.org.", Record: "A", Answers: 2}, true, core.DNSOK, "", 2},
		{"only a CNAME", core.DNSSpec{Question: "alias.example.org.", Record: "MX", Answers: 1}, false, core.DNSAnswer, "the first is CNAME www.example.org.", 0},
		{"matches", core.DNSSpec{Question: "txt.example.org", Record: "TXT", Expect: `^"status=serving"`}, true, core.DNSOK, "since 1999", 1},
		{"one of two matches", core.DNSSpec{Question: "www.example.org", Record: "A", Expect: `^192\.0\.2\.2$`}, true, core.DNSOK, "192.0.2.2", 2},
		{"does not match", core.DNSSpec{Question: "txt.example.org", Record: "TXT", Expect: "draining"}, false, core.DNSAnswer, "status=serving", 0},
		{"no data", core.DNSSpec{Question: "www.example.org", Record: "AAAA"}, true, core.DNSOK, "0 records", 0},
		{"no data, want one", core.DNSSpec{Question: "www.example.org", Record: "AAAA", Answers: 1}, false, core.DNSAnswer, "0 records", 0},
		{"no such name", core.DNSSpec{Question: "nowhere.example.org"}, false, core.DNSRCode, "NXDOMAIN", 0},
		{"no such name, as wanted", core.DNSSpec{Question: "nowhere.example.org", RCodes: []string{"nxdomain"}}, true, core.DNSOK, "NXDOMAIN", 0},
		{"foreign zone", core.DNSSpec{Question: "example.com"}, false, core.DNSRCode, "REFUSED to example.com. SOA, want NOERROR: it has no such zone", 0},
		{"broken zone", core.DNSSpec{Question: "broken.example"}, false, core.DNSRCode, "SERVFAIL", 0},
		{"truncated", core.DNSSpec{Question: "big.example.org", Record: "TXT", Answers: 1, Expect: "xxx"}, true, core.DNSOK, "truncated over UDP, then over TCP: NOERROR, 1 record", 1},
		{"big over TCP", core.DNSSpec{Question: "big.example.org", Record: "TXT", Answers: 1, TCP: true}, true, core.DNSOK, "NOERROR, 1 record", 1},
		{"over TCP", core.DNSSpec{Question: "example.org", TCP: true, NoRecurse: true}, true, core.DNSOK, "NOERROR, 1 record", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := ask(t, dnsTarget(addr, tt.spec))
			wantCode(t, s, tt.ok, tt.code, tt.detail)
			if m, _ := s.Metric("answers"); m.Value != tt.count {
				t.Errorf("answers %+v, want %g", m, tt.count)
			}
		})
	}
	s := ask(t, dnsTarget(addr, core.DNSSpec{Question: "EXAMPLE.org"}))
	wantMetrics(t, s, core.MetricResponse, "answers", "serial")
	if m, _ := s.Metric("serial"); m.Value != 2026112301 {
		t.Errorf("serial %+v", m)
	}
}

func TestDNSUnbound(t *testing.T) {
	addr := startUnbound(t)
	soa := ask(t, dnsTarget(addr, core.DNSSpec{Question: "example.org", Answers: 1}))
	wantCode(t, soa, true, core.DNSOK, "NOERROR")
	big := core.DNSSpec{Question: "big.example.org", Record: "TXT", Answers: 1}
	wantCode(t, ask(t, dnsTarget(addr, big)), true, core.DNSOK, "truncated over UDP")
	wantCode(t, ask(t, dnsTarget(addr, core.DNSSpec{Question: "nowhere.example.org"})), false, core.DNSRCode, "NXDOMAIN")
	for _, tcp := range []bool{false, true} {
		target := dnsTarget(addr, core.DNSSpec{Question: "example.org", TCP: tcp})
		target.Spec.Way.Source = netip.MustParseAddr("127.0.0.3")
		wantCode(t, ask(t, target), false, core.DNSRCode, "REFUSED")
	}
}

// TestUDPAsksUnbound: a DNS question as plain bytes, and the reply's id, its bit for
// "answer" and its rcode under a mask.
func TestUDPAsksUnbound(t *testing.T) {
	addr := startUnbound(t)
	payload := func(name string) []byte {
		msg := new(dns.Msg).SetQuestion(name, dns.TypeA)
		msg.Id = 0x1234
		raw, err := msg.Pack()
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	spec := core.UDPSpec{Payload: payload("www.example.org."), Reply: []byte{0x12, 0x34, 0x80, 0}, Mask: []byte{0xff, 0xff, 0x80, 0x0f}}
	wantCode(t, ask(t, udpTarget(addr, spec)), true, core.L7OK, "a reply of")
	spec.Payload = payload("nowhere.example.org.")
	wantCode(t, ask(t, udpTarget(addr, spec)), false, core.L7Expect, "byte 3 of the reply")
}
