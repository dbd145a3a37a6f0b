// SPDX-License-Identifier: Apache-2.0

package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/core"
)

// testNow is when the tests are.
var testNow = time.Date(2027, 1, 15, 12, 0, 0, 0, time.UTC)

// keyPair is a certificate of its own that is valid until end, and its key.
func keyPair(t *testing.T, name string, end time.Time) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: testNow.AddDate(-1, 0, 0), NotAfter: end}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
}

// elsewhere are options for a machine on which everything is there.
func elsewhere(disk files) Options {
	return disk.with(func(o *Options) {
		o.Now = testNow
		o.Executable = func(string) error { return nil }
		o.User = func(string) error { return nil }
		o.ShippedPolicies = map[string][]string{"weighted": {}, "least-cpu": {}, "least-response": {}}
	})
}

func fullProbes(t *testing.T) (disk files, cert, key string) {
	t.Helper()
	text, err := os.ReadFile("testdata/full-probes.yaml")
	if err != nil {
		t.Fatal(err)
	}
	cert, key = keyPair(t, "client", testNow.AddDate(1, 0, 0))
	full := strings.Replace(string(text), "SHA256_DIGEST", "sha256:"+strings.Repeat("AB", 32), 1)
	return files{"/etc/s.yaml": full, "/etc/ca.pem": cert, "/etc/client.pem": cert, "/etc/client.key": key}, cert, key
}

// base is a health probe with the defaults, changed.
func base(name, typ string, change func(*core.ProbeSpec)) core.ProbeSpec {
	s := core.ProbeSpec{Name: name, Type: typ, Role: core.HealthRole, Interval: 2 * time.Second, Timeout: time.Second, Jitter: 0.1, Rise: 2, Fall: 3}
	switch typ {
	case core.ProbeUDP:
		s.Interval, s.Timeout = 5*time.Second, 4*time.Second
	case core.ProbeExec:
		s.Interval, s.Timeout = 10*time.Second, 5*time.Second
	case core.ProbeResponseTime:
		s.Role, s.Rise, s.Fall = core.MetricRole, 0, 0
	case core.ProbeSNMPCPU:
		s.Role, s.Rise, s.Fall, s.Interval, s.Timeout, s.Port = core.MetricRole, 0, 0, 5*time.Second, 2*time.Second, 161
	case core.ProbeSNMP:
		s.Role, s.Rise, s.Fall, s.Interval, s.Timeout, s.Port = core.MetricRole, 0, 0, 10*time.Second, 2*time.Second, 161
	case core.ProbePrometheus:
		s.Role, s.Rise, s.Fall, s.Interval, s.Timeout = core.MetricRole, 0, 0, 10*time.Second, 5*time.Second
	}
	change(&s)
	return s
}

// TestFullProbes holds every key of every type against the field that it fills.
func TestFullProbes(t *testing.T) {
	disk, cert, key := fullProbes(t)
	cfg := mustLoad(t, elsewhere(disk))
	for name, want := range wantProbes(cert, key) {
		if d := cmp.Diff(want, cfg.Probes[name], comparable); d != "" {
			t.Errorf("probe %s (-want +got):\n%s", name, d)
		}
	}
	if got, want := len(cfg.Probes), len(wantProbes("", "")); got != want {
		t.Errorf("%d probes, %d of them expected", got, want)
	}
	again := disk
	again["/etc/again.yaml"] = strings.NewReplacer("community: (secret)", "community: hunter2").Replace(string(cfg.YAML(false)))
	for _, hidden := range []string{"hunter2", "PRIVATE KEY"} {
		if strings.Contains(string(cfg.YAML(true)), hidden) {
			t.Errorf("the view shows %s", hidden)
		}
	}
	o := elsewhere(again)
	o.Path = "/etc/again.yaml"
	if back := mustLoad(t, o); back.Hash != cfg.Hash {
		t.Errorf("the view loads as something else (-first +again):\n%s", cmp.Diff(cfg.Probes, back.Probes, comparable))
	}
	if err := compileSchema(t).Validate(instance(t, []byte(disk["/etc/s.yaml"]))); err != nil {
		t.Error(err)
	}
	if len(cfg.Warnings) > 0 {
		t.Errorf("warnings: %v", cfg.Warnings)
	}
}

// goodStatus are the statuses that count without a word about them.
var goodStatus = []core.StatusRange{{From: 200, To: 399}}

func wantProbes(cert, key string) map[string]core.ProbeSpec {
	probe := func(typ string, change func(*core.ProbeSpec)) core.ProbeSpec { return base("", typ, change) }
	all := map[string]core.ProbeSpec{
		"smtp": probe(core.ProbeTCP, func(s *core.ProbeSpec) {
			s.Role, s.Interval, s.Timeout, s.Jitter, s.Port, s.Rise, s.Fall = core.MetricRole, 7*time.Second, 900*time.Millisecond, 0.25, 25, 4, 5
			s.FastInterval, s.DownInterval = time.Second, 30*time.Second
			s.Way = core.Way{Source: netip.MustParseAddr("10.0.0.2"), Device: "eth0", Mark: 16, Netns: "blue"}
			s.TCP = core.TCPSpec{
				TLS:   core.TLSSpec{Enabled: true, ServerName: "mail.example.org", CA: cert, Cert: cert, Key: core.Secret(key)},
				Steps: []core.TCPStep{{Expect: "^220 "}, {Send: "STARTTLS\r\n"}, {Expect: "^220"}, {StartTLS: true}, {Send: "QUIT\r\n"}},
			}
		}),
		"ssh": probe(core.ProbeTCP, func(s *core.ProbeSpec) {
			s.TCP.Steps = []core.TCPStep{{Send: "x\n"}, {Expect: `^SSH-2\.0-`}}
		}),
		"redis": probe(core.ProbeTCP, func(s *core.ProbeSpec) {
			s.TCP = core.TCPSpec{TLS: core.TLSSpec{Enabled: true}, Steps: []core.TCPStep{{Send: "PING\r\n"}, {Expect: "PONG"}}}
		}),
		"page": probe(core.ProbeHTTP, func(s *core.ProbeSpec) {
			s.HTTP = core.HTTPSpec{
				TLS: core.TLSSpec{Enabled: true, Insecure: true}, HTTP2: true, Method: "POST", Path: "/health", Host: "www.example.org",
				Headers: []core.Header{{Name: "Authorization", Value: "Bearer hunter2"}, {Name: "X-Probe", Value: "one two"}, {Name: "accept", Value: "text/plain"}},
				Body:    `{"deep": true}`, Status: []core.StatusRange{{From: 200, To: 299}, {From: 304, To: 304}}, Expect: "(?i)all is well", Reject: "error",
				JSON: []core.JSONRule{
					{Path: `a\.b`, Want: "1.5", Op: "<"}, {Path: "checks.*.state", Want: "down", Op: "!="}, {Path: "error", Want: "null"}, {Path: "odd", Want: "="}, {Path: "queue.length", Want: "3", Op: ">="},
					{Path: "ready", Want: "true"}, {Path: "status", Want: "ok"}, {Path: "version", Want: "2"},
				},
				Digest: "sha256:" + strings.Repeat("ab", 32), MaxBody: 1024,
			}
			s.Metrics = []core.MetricSpec{{Name: "queue_length", From: "queue.length", Kind: core.GaugeKind, Scale: 1, Unit: "count", Aggregate: core.MaxOf}}
		}),
		"flat": probe(core.ProbeHTTP, func(s *core.ProbeSpec) {
			s.HTTP = core.HTTPSpec{TLS: core.TLSSpec{Enabled: true, Insecure: true}, Method: "GET", Path: "/", Status: goodStatus, MaxBody: 65536}
		}),
		"off": probe(core.ProbeHTTP, func(s *core.ProbeSpec) {
			s.HTTP = core.HTTPSpec{Method: "GET", Path: "/", Status: goodStatus, MaxBody: 65536}
		}),
		"echo": probe(core.ProbePing, func(s *core.ProbeSpec) {
			s.Ping, s.Interval, s.Timeout = core.PingSpec{Count: 5, Size: 1000}, 5*time.Second, 4*time.Second
		}),
		"zone": probe(core.ProbeDNS, func(s *core.ProbeSpec) {
			s.DNS = core.DNSSpec{Question: "www.example.org", Record: "AAAA", TCP: true, NoRecurse: true, RCodes: []string{"NOERROR", "NXDOMAIN"}, Expect: "^2001:db8:", Answers: 2}
		}),
		"calls": probe(core.ProbeGRPC, func(s *core.ProbeSpec) {
			s.GRPC = core.GRPCSpec{TLS: core.TLSSpec{Enabled: true, ServerName: "api.example.org"}, Service: "shop.Orders", Host: "api.example.org",
				Metadata: []core.Header{{Name: "x-token", Value: "hunter2"}}}
		}),
		"radius": probe(core.ProbeUDP, func(s *core.ProbeSpec) {
			s.Port = 1812
			s.UDP = core.UDPSpec{Payload: []byte{0x0a, 0x1b, 0x2c}, Reply: []byte{0x0a, 0, 0xf0}, Mask: []byte{0xff, 0, 0xff}}
		}),
		"ntp": probe(core.ProbeUDP, func(s *core.ProbeSpec) {
			s.UDP = core.UDPSpec{Payload: []byte("hello"), Expect: "^h", Need: true}
		}),
		"disk": probe(core.ProbeExec, func(s *core.ProbeSpec) {
			s.Way.Netns = "/run/netns/red"
			s.Exec = core.ExecSpec{
				Command: []string{"/usr/lib/nagios/plugins/check_disk", "-H", "{address}", "-p", "{port}", "{service}/{backend}"}, User: "monitor",
				Env: map[string]core.Secret{"LANG": "C", "PASSWORD": "hunter2"}, Convention: core.Nagios, WarningIsBad: true,
			}
			s.Metrics = []core.MetricSpec{{Name: "free", From: "/var", Kind: core.CounterKind, Scale: 1 << 20, Unit: "bytes"}}
		}),
		"misc": probe(core.ProbeExec, func(s *core.ProbeSpec) {
			s.Exec = core.ExecSpec{Command: []string{"/usr/local/bin/check"}, Convention: core.Keepalived, DynamicWeight: true}
		}),
		"zero": probe(core.ProbeExec, func(s *core.ProbeSpec) {
			s.Exec = core.ExecSpec{Command: []string{"/bin/true"}, Convention: core.ExitZero}
		}),
		"agent": probe(core.ProbeAgent, func(s *core.ProbeSpec) {
			s.Rise, s.Fall = 1, 1
			s.Role, s.Port, s.Agent = core.MetricRole, 9777, core.AgentSpec{Send: "status\n"}
		}),
		"answer": probe(core.ProbeResponseTime, func(s *core.ProbeSpec) {
			s.HTTP = core.HTTPSpec{Method: "HEAD", Path: "/", Headers: []core.Header{{Name: "X-Probe", Value: "x"}}, Status: goodStatus}
			s.Response.Samples = 100
		}),
		"connect": probe(core.ProbeResponseTime, func(s *core.ProbeSpec) {
			s.TCP.TLS = core.TLSSpec{Enabled: true, Insecure: true}
			s.HTTP, s.Response.Samples = core.HTTPSpec{Method: "GET", Status: goodStatus}, 60
		}),
	}
	for name, s := range wantMetricProbes(probe, cert) {
		all[name] = s
	}
	for name, s := range all {
		s.Name = name
		all[name] = s
	}
	return all
}

func wantMetricProbes(probe func(string, func(*core.ProbeSpec)) core.ProbeSpec, cert string) map[string]core.ProbeSpec {
	v2c := core.SNMPSpec{Version: "2c", Community: "hunter2"}
	return map[string]core.ProbeSpec{
		"cpu": probe(core.ProbeSNMPCPU, func(s *core.ProbeSpec) {
			s.SNMP = core.SNMPSpec{Version: "1", Community: "hunter2"}
			s.CPU = core.CPUSpec{Source: core.CPUFromUCD, Window: 20 * time.Second, ExcludeSteal: true, IncludeWait: true}
		}),
		"cpu-host": probe(core.ProbeSNMPCPU, func(s *core.ProbeSpec) {
			s.SNMP, s.CPU = v2c, core.CPUSpec{Source: core.CPUFromHost, Window: 10 * time.Second}
		}),
		"cpu-oid": probe(core.ProbeSNMPCPU, func(s *core.ProbeSpec) {
			s.SNMP, s.CPU = v2c, core.CPUSpec{Source: core.CPUFromOID, OID: "1.3.6.1.4.1.2021.11.11.0", Scale: 0.02, Idle: true, Window: 10 * time.Second}
		}),
		"any": probe(core.ProbeSNMP, func(s *core.ProbeSpec) {
			s.SNMP = core.SNMPSpec{Version: "3", User: "monitor", Context: "vm", AuthProtocol: "SHA512", AuthPassword: "hunter2hunter2", PrivProtocol: "AES256C", PrivPassword: "hunter2hunter2"}
			s.Metrics = []core.MetricSpec{
				{Name: "bytes_in", From: "1.3.6.1.2.1.2.2.1.10", Kind: core.CounterKind, Scale: 1, Unit: "bytes_per_second", Aggregate: core.SumOf},
				{Name: "cpu", From: "1.3.6.1.2.1.25.3.3.1.2", Kind: core.GaugeKind, Scale: 0.01, Unit: "ratio", Aggregate: core.AvgOf, Complement: true},
				{Name: "load", From: "1.3.6.1.4.1.2021.10.1.3.1", Kind: core.GaugeKind, Scale: 1, Unit: "count"},
			}
		}),
		"node": probe(core.ProbePrometheus, func(s *core.ProbeSpec) {
			s.Port = 9100
			s.Prometheus = core.PrometheusSpec{TLS: core.TLSSpec{Enabled: true, CA: cert}, Path: "/probe", Host: "exporter", Headers: []core.Header{{Name: "Authorization", Value: "Bearer hunter2"}}}
			s.Metrics = []core.MetricSpec{
				{Name: "errors", From: `http_requests_total{code="500"}`, Kind: core.CounterKind, Scale: 1, Unit: "per_second", Aggregate: core.SumOf},
				{Name: "load1", From: "node_load1", Kind: core.GaugeKind, Scale: 1},
			}
		}),
	}
}

// TestFullHealth is the rest of the same file: what is not of one probe.
func TestFullHealth(t *testing.T) {
	disk, _, _ := fullProbes(t)
	cfg := mustLoad(t, elsewhere(disk))
	var got []any
	for _, s := range cfg.Services {
		got = append(got, s.Name, s.Health, s.Passive)
	}
	want := []any{
		"dns", core.HealthRule{Need: 1, Critical: []string{"zone"}, Start: core.Up}, core.PassiveRule{},
		"web", core.HealthRule{Need: 2, Critical: []string{"page"}, Start: core.Down, FlapLimit: 5, FlapWindow: 20 * time.Minute, FlapHold: 2 * time.Minute, FlapMax: time.Hour},
		core.PassiveRule{Unanswered: 5, Resets: 3, Eject: 20 * time.Second, Max: 10 * time.Minute, MaxRatio: 0.3},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("health (-want +got):\n%s", d)
	}
	probing := core.Probing{Concurrency: map[string]int{"exec": 16, "tcp": 500}, SuspectRatio: 0.5, SuspectMin: 20, SuspectFor: time.Minute}
	if d := cmp.Diff(probing, cfg.Probing); d != "" {
		t.Errorf("probing (-want +got):\n%s", d)
	}
	windows := []core.Maintenance{
		{Name: "daily", Backends: []string{"web/web2"}, From: 2 * time.Hour, To: 3 * time.Hour},
		{Name: "once", Backends: []string{"web/web1", "*/dns2"}, Reason: "kernel update", Start: time.Date(2027, 3, 1, 21, 0, 0, 0, time.UTC), End: time.Date(2027, 3, 2, 1, 0, 0, 0, time.UTC)},
		{Name: "weekly", Backends: []string{"web/web2"}, Days: []time.Weekday{time.Sunday, time.Saturday}, From: 22*time.Hour + 30*time.Minute, To: 4 * time.Hour, Zone: "Europe/Berlin"},
	}
	if d := cmp.Diff(windows, cfg.Maintenance); d != "" {
		t.Errorf("maintenance (-want +got):\n%s", d)
	}
}

// TestFullProbesHash: every key of the file is part of what a reload compares,
// but for secrets.
func TestFullProbesHash(t *testing.T) {
	disk, _, _ := fullProbes(t)
	first := mustLoad(t, elsewhere(disk)).Hash
	for old, other := range map[string]string{
		"mark: 0x10": "mark: 0x11", "source: 10.0.0.2": "source: 10.0.0.3", `"^220 "`: `"^221 "`, "max_body: 1024": "max_body: 1025", "kernel update": "update",
		"T22:00:00": "T22:00:01", "[sun, sat]": "[sun]", "scale: 0.02": "scale: 0.03", "start: up": "start: down", "exec: 16": "exec: 17", "0axXF0": "0axXF1", "/var": "/srv", "resets: 3": "resets: 4", "complement: true": "complement: false",
	} {
		changed := files{}
		for name, text := range disk {
			changed[name] = text
		}
		changed["/etc/s.yaml"] = strings.Replace(disk["/etc/s.yaml"], old, other, 1)
		if changed["/etc/s.yaml"] == disk["/etc/s.yaml"] {
			t.Fatalf("%q is not in the file", old)
		}
		if mustLoad(t, elsewhere(changed)).Hash == first {
			t.Errorf("%s in the place of %s left the hash as it was", other, old)
		}
	}
	disk["/etc/s.yaml"] = strings.ReplaceAll(disk["/etc/s.yaml"], "hunter2", "hunter3")
	if mustLoad(t, elsewhere(disk)).Hash != first {
		t.Error("a secret is in the hash")
	}
}

// TestTLSFiles: what is wrong with a certificate or a key is told with its file.
func TestTLSFiles(t *testing.T) {
	cert, key := keyPair(t, "one", testNow.AddDate(1, 0, 0))
	other, otherKey := keyPair(t, "two", testNow.AddDate(0, 0, -1))
	soon, soonKey := keyPair(t, "three", testNow.AddDate(0, 0, 2))
	der, _ := pem.Decode([]byte(cert))
	disk := files{
		"/etc/one.pem": cert, "/etc/one.key": key, "/etc/two.pem": other, "/etc/two.key": otherKey, "/etc/three.pem": soon, "/etc/three.key": soonKey,
		"/etc/one.der": string(der.Bytes), "/etc/text": "hello", "/etc/broken.pem": strings.Replace(cert, "MII", "AAA", 1),
		"/etc/locked.key": "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
		"/etc/odd.key":    "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
	}
	tests := []struct{ name, tls, wrong, warned string }{
		{"a pair", "{cert_file: one.pem, key_file: one.key, ca_file: one.pem}", "", ""},
		{"of two pairs", "{cert_file: one.pem, key_file: two.key}",
			"key_file: /etc/two.key is not the key of the certificate in /etc/one.pem (name the two files of one pair; the first certificate of cert_file is the one that counts)", ""},
		{"the other way round", "{cert_file: one.key, key_file: one.pem}", "cert_file: /etc/one.key holds no certificate in PEM form (a certificate, which begins with -----BEGIN CERTIFICATE-----)", ""},
		{"no key in it", "{cert_file: one.pem, key_file: one.pem}", "key_file: /etc/one.pem holds no private key in PEM form (a key begins with a line such as -----BEGIN PRIVATE KEY-----)", ""},
		{"encrypted", "{cert_file: one.pem, key_file: locked.key}", "key_file: /etc/locked.key is encrypted, and nobody could type its passphrase (openssl pkey -in FILE writes it without one; keep such a file mode 0600)", ""},
		{"a key that is none", "{cert_file: one.pem, key_file: odd.key}", "key_file: /etc/odd.key holds a key that cannot be used (a PKCS #8 or PKCS #1 key of RSA, ECDSA or Ed25519)", ""},
		{"DER", "{ca_file: one.der}", "ca_file: /etc/one.der holds no certificate in PEM form (it is in DER form: openssl x509 -inform der -in FILE makes PEM of it)", ""},
		{"text", "{ca_file: text}", "ca_file: /etc/text holds no certificate in PEM form (a certificate of the authority, which begins with -----BEGIN CERTIFICATE-----)", ""},
		{"broken", "{ca_file: broken.pem}", "ca_file: /etc/broken.pem holds a certificate that is broken: ", ""},
		{"not there", "{ca_file: none.pem}", "ca_file: read /etc/none.pem: file does not exist (the path is relative to the file that names it)", ""},
		{"half a pair", "{key_file: one.key}", "a certificate to show needs both cert_file and key_file (name both, or none)", ""},
		{"nothing is verified", "{ca_file: one.pem, insecure: true}", "ca_file means nothing with insecure: no certificate is verified (leave one of them out)", ""},
		{"expired", "{ca_file: two.pem}", "", `the certificate "two" in /etc/two.pem expired on 2027-01-14 12:00 UTC (renew it)`},
		{"soon", "{cert_file: three.pem, key_file: three.key}", "", `the certificate "three" in /etc/three.pem expires on 2027-01-17 12:00 UTC (renew it)`},
		{"a name that is none", "{server_name: a b}", `server_name: "a b" is no host name`, ""},
		{"an address as name", "{server_name: 192.0.2.1}", "", ""},
		{"off", "{enabled: false, ca_file: one.pem}", "ca_file means nothing with tls switched off (leave it out, or leave enabled out)", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			disk["/etc/s.yaml"] = "probes: {a: {type: grpc, tls: " + tt.tls + "}}\nservices: {web: {vip: 192.0.2.10, port: 80, probes: [a], backends: {web1: {address: 10.0.0.11}}}}"
			cfg, err := Load(elsewhere(disk))
			if tt.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wrong) {
					t.Errorf("got  %v\nwant %s", err, tt.wrong)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := cfg.Warnings.Error(); !strings.Contains(got, tt.warned) || (got == "") != (tt.warned == "") {
				t.Errorf("warning %q, want %q", got, tt.warned)
			}
		})
	}
}

// TestTLSInLayers: a later layer may switch TLS off and on by one word.
func TestTLSInLayers(t *testing.T) {
	disk := files{"/etc/s.yaml": "probes: {a: {type: http, tls: {server_name: www.example.org}}, b: {type: http}}\n" + web}
	load := func(env ...string) (a, b core.TLSSpec) {
		t.Helper()
		cfg := mustLoad(t, disk.with(func(o *Options) { o.Env = env }))
		return cfg.Probes["a"].HTTP.TLS, cfg.Probes["b"].HTTP.TLS
	}
	named := core.TLSSpec{Enabled: true, ServerName: "www.example.org"}
	if a, b := load(); a != named || b.Enabled {
		t.Errorf("as written: %+v, %+v", a, b)
	}
	if a, b := load("STEELYARD_PROBES__B__TLS=true", "STEELYARD_PROBES__A__TLS__INSECURE=true"); !a.Insecure || !b.Enabled {
		t.Errorf("by the environment: %+v, %+v", a, b)
	}
	if _, b := load("STEELYARD_PROBES__B__TLS__SERVER_NAME=x"); !b.Enabled || b.ServerName != "x" {
		t.Errorf("by one key of it: %+v", b)
	}
	disk["/etc/conf.d/a.yaml"] = "probes: {a: {tls: false}}"
	_, err := Load(disk.options())
	if want := "server_name means nothing with tls switched off"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
	disk["/etc/conf.d/a.yaml"] = "probes: {a: {tls: {enabled: false, server_name: ''}}}"
	if a, _ := load(); a.Enabled {
		t.Errorf("switched off: %+v", a)
	}
}

// TestProbesOutsideFiles sets keys whose names have dots, _ and capitals from the
// environment and by flags.
func TestProbesOutsideFiles(t *testing.T) {
	o := elsewhere(files{"/etc/s.yaml": "probes: {a: {type: http}, p: {type: prometheus, metrics: {queue_length: {series: a}}}}\n" + web})
	o.Env = []string{"STEELYARD_PROBES__P__METRICS__QUEUE_LENGTH__SERIES=b", "STEELYARD_PROBING__CONCURRENCY__SNMP_CPU=7", "STEELYARD_SERVICES__WEB__PROBES=a", "STEELYARD_SERVICES__WEB__HEALTH__CRITICAL=a", "STEELYARD_SERVICES__WEB__HEALTH__NEED=1"}
	o.Flags = map[string]string{"probes.a.json.checks.0.state": "!= down", "probes.a.headers.X-Probe": "x"}
	cfg := mustLoad(t, o)
	got := []any{cfg.Probes["p"].Metrics[0].From, cfg.Probing.Concurrency, cfg.Services[0].Health, cfg.Probes["a"].HTTP.JSON, cfg.Probes["a"].HTTP.Headers}
	want := []any{"b", map[string]int{"snmp_cpu": 7}, core.HealthRule{Need: 1, Critical: []string{"a"}},
		[]core.JSONRule{{Path: "checks.0.state", Want: "down", Op: "!="}}, []core.Header{{Name: "X-Probe", Value: "x"}}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestSeries asks whoever can read series, where there is somebody.
func TestSeries(t *testing.T) {
	o := files{"/etc/s.yaml": "probes: {p: {type: prometheus, metrics: {load: {series: 'a{'}}}}\n" + web}.options()
	o.Series = func(text string) error { return errors.New("bad " + text) }
	_, err := Load(o)
	if want := `1:57: "a{" is no series: bad a{ (such as node_load1`; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
}
