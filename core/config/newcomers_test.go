// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"io/fs"
	"strings"
	"testing"
)

// TestNewcomers: what is written by those who bring their checks along leads on.
func TestNewcomers(t *testing.T) {
	const service = "services: {web: {vip: 192.0.2.10, port: 80, probes: [p], backends: {web1: {address: 10.0.0.11}}}}\n"
	for _, tt := range []struct{ probe, hint string }{
		{"type: agent, port: 9, agent-addr: 10.0.0.1", "leave it out, for a probe asks the address of the backend"},
		{"type: tcp, connect_ip: 10.0.0.1", "leave it out, for a probe asks the address of the backend"},
		{"type: http, tls: true, verify: none", "write tls: {insecure: true}"},
		{"type: http, crt: a.pem", "write tls: {ca_file: ./ca.pem"},
		{"type: http, check-alpn: h2", "write http2: true"},
		{"type: tcp, connect: true", "leave it out, for a tcp probe connects anyway"},
		{"type: tcp, check-send-proxy: true", "leave it out, for no probe speaks the PROXY protocol"},
		{"type: http, http: {method: GET}", "write type: http, and its keys beside that"},
		{"type: redis-check", `write type: tcp, send: "PING\r\n" and expect: '^\+PONG'`},
		{"type: smtpchk", "write type: tcp and expect: \"^220 \""},
		{"type: pgsql-check", "check_pgsql"},
		{"type: ldap-check", "check_ldap"},
		{"type: ssl-hello-chk", "write type: tcp and tls: true"},
		{"type: pop3s_banner", `'^\+OK'`}, // ^+OK, as in blackbox_exporter's own example, does not match +OK
		{"type: snmp_cpu, community: x, version: 2", `did you mean "2c"?`},
		{"type: http, tls: yes", "write true"},
		{"type: http, http2: on", "write true"},
		{"type: http, expect: {status: 200}", "a regular expression"},
		{`type: exec, command: "/bin/sh -c foo"`, "write it in brackets: [/bin/sh, -c, foo]"},
		{`type: exec, command: "/bin/sh -c 'a b'"`, "write it in brackets: [a, b]"},
		{"type: http, digest: 640205b7b0fc66c1ea91c463fac6334d", "write md5: before 32 hexadecimal digits"},
		{"type: prometheus, metrics: {m: {series: 'rate(a[5m])'}}", "kind: counter"},
		{"type: tcp, jitter: 10%", `did you mean "0.1"?`},
	} {
		t.Run(tt.probe, func(t *testing.T) {
			_, err := Load(files{"/etc/s.yaml": "probes: {p: {" + tt.probe + "}}\n" + service}.options())
			if got := fmt.Sprint(err); !strings.Contains(got, tt.hint) {
				t.Errorf("want %q in it:\n%s", tt.hint, got)
			}
		})
	}
}

// A file that may not be read is not looked for elsewhere.
func TestUnreadableFile(t *testing.T) {
	for err, hint := range map[error]string{
		fs.ErrPermission: "run it as a user that may read the file, such as root",
		fs.ErrNotExist:   "the path is relative to the file that names it",
	} {
		if got := fileHint(&fs.PathError{Op: "open", Path: "x", Err: err}); got != hint {
			t.Errorf("%v: %q, want %q", err, got, hint)
		}
	}
}
