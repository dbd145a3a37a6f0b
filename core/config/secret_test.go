// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// secrets is a configuration with a secret at every place that takes one.
const secrets = `bus:
  servers: []
  listen: 127.0.0.1:4222
  users:
    zabbix: {password: "hunter2 bus", publish: [metric.zabbix.>]}
http:
  listen: 127.0.0.1:9190
  users:
    prometheus: {token: hunter2-token}
webhooks:
  pager: {url: https://hooks.example.org/hunter2-url, secret: hunter2-key, headers: {X-Key: hunter2-head}}
  chat:
    url: "https://hooks.example.org/hunter2/url?a=hunter2"
    timeout: 5s
probes:
  cpu: {type: snmp_cpu, community: hunter2-v2c}
  cpu3:
    type: snmp_cpu
    version: 3
    user: monitor
    auth:
      password: 'hunter2 ''auth'
    priv:
      password: |
        hunter2-priv
        hunter2-priv-again
  page:
    type: http
    headers: {X-Probe: hunter2-one, X-Other: hunter2-two}
  long: {type: http, headers: {X-Probe: "hunter2 one",
    X-Other: hunter2-two}, path: /}
  calls:
    type: grpc
    metadata:
      x-probe: hunter2-three
      x-other: hunter2-four
  disk: {type: exec, env: {A: hunter2-five, B: hunter2-six}, command: [/bin/true]}
  cpuf: {type: snmp_cpu, community_file: ./community}
  cpue: {type: snmp_cpu, community_env: STEELYARD_COMMUNITY}
`

var secretDisk = files{"/etc/s.yaml": secrets, "/etc/community": "hunter2-file\n"}

func withSecrets(o *Options) { o.Env = []string{"STEELYARD_COMMUNITY=hunter2-env"} }

func TestSecretsNeverShow(t *testing.T) {
	cfg := mustLoad(t, secretDisk.with(withSecrets))
	if got := cfg.Probes["cpuf"].SNMP.Community.Reveal(); got != "hunter2-file" {
		t.Errorf("community from a file = %q", got)
	}
	if got := cfg.Probes["cpu3"].SNMP.AuthPassword.Reveal(); got != "hunter2 'auth" {
		t.Errorf("auth password = %q", got)
	}
	asJSON, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	view, err := json.Marshal(cfg.View())
	if err != nil {
		t.Fatal(err)
	}
	exported := *cfg
	exported.tree = nil // unexported, and printed by nobody but a debugger
	for name, out := range map[string]string{
		"JSON": string(asJSON), "view": string(view), "YAML": string(cfg.YAML(false)), "YAML with origin": string(cfg.YAML(true)),
		"%v": fmt.Sprintf("%v", exported), "%+v": fmt.Sprintf("%+v", exported), "%#v": fmt.Sprintf("%#v", exported),
	} {
		if strings.Contains(out, "hunter2") {
			t.Errorf("%s shows a secret:\n%s", name, out)
		}
	}
	if n := strings.Count(string(cfg.YAML(false)), "(secret)"); n != 17 {
		t.Errorf("the view hides %d secrets, want 17:\n%s", n, cfg.YAML(false))
	}
}

// TestSecretsInBrokenFiles breaks the file at every byte, in a few ways, and
// greps whatever is said about it.
func TestSecretsInBrokenFiles(t *testing.T) {
	letter := func(i int) bool { return i >= 0 && secrets[i]|0x20 >= 'a' && secrets[i]|0x20 <= 'z' }
	for i := range len(secrets) {
		insideWord := letter(i-1) && letter(i)
		for n, broken := range []string{
			secrets[:i] + secrets[i+1:],       // a character lost
			secrets[:i] + "\"" + secrets[i:],  // a quote too much
			secrets[:i] + "x" + secrets[i:],   // a misspelling
			secrets[:i] + "*" + secrets[i:],   // an alias
			secrets[:i] + "!" + secrets[i:],   // a tag
			secrets[:i] + " " + secrets[i:],   // a space too much
			secrets[:i] + "\n" + secrets[i:],  // a line broken
			secrets[:i] + ": {" + secrets[i:], // a brace too much
		} {
			if n > 0 && i%4 != n%4 {
				continue // a quarter of the places for each, to be quick
			}
			if insideWord && n >= 6 {
				continue // "pass: {word" is nobody's slip, and no rule could know it
			}
			if strings.Count(broken, "hunter2") < strings.Count(secrets, "hunter2") {
				continue // the secret itself is broken, and what is left is no secret
			}
			disk := files{"/etc/s.yaml": broken, "/etc/community": "hunter2-file\n"}
			_, err := Load(disk.with(withSecrets))
			var problems Errors
			if !errors.As(err, &problems) {
				continue
			}
			var b bytes.Buffer
			problems.Render(&b, false)
			if strings.Contains(b.String(), "hunter2") {
				t.Fatalf("broken at %d, around %q:\n%s", i, broken[max(0, i-20):min(len(broken), i+20)], b.String())
			}
		}
	}
}

func TestDisplay(t *testing.T) {
	tests := []struct {
		name, text string
		line, col  int
		want       string
		caret      int
	}{
		{"plain", "port: 80", 1, 7, "port: 80", 7},
		{"to the end of the line", "password: a b, c # d", 1, 1, "password: (secret)", 1},
		{"in braces, to the comma", "{community: abc, port: 1}", 1, 18, "{community: (secret), port: 1}", 23},
		{"in quotes", `{community: "a, b", port: 1}`, 1, 21, "{community: (secret), port: 1}", 23},
		{"a quote left open", `{community: "a, b, port: 1}`, 1, 1, "{community: (secret)", 1},
		{"an escaped quote", `{community: "a\", b", port: 1}`, 1, 1, "{community: (secret)", 1},
		{"JSON", `{"password":"abc","port":1}`, 1, 1, `{"password":(secret),"port":1}`, 1},
		{"misspelt", "comunity: abc", 1, 1, "comunity: (secret)", 1},
		{"where the secret is, is no secret", "password_file: ./x", 1, 1, "password_file: ./x", 1},
		{"on the next line", "password:\n  abc", 2, 3, "  (secret)", 3},
		{"a block", "password: |\n  abc: def\n  ghi", 2, 3, "  (secret)", 3},
		{"after a secret", "password: abc\nport: 80", 2, 7, "port: 80", 7},
		{"in a URL", "servers: [nats://u:p@h]", 1, 11, "servers: [nats://(secret)@h]", 11},
		{"a map of secrets", "{headers: {A: b, C: d}, port: 1}", 1, 31, "{headers: (secret), port: 1}", 27},
		{"a map of secrets with quotes", `{headers: {A: "}", C: d}, port: 1}`, 1, 1, "{headers: (secret)", 1},
		{"a map of secrets on two lines", "a: {headers: {A: b,\n  C: d}, port: 1}", 2, 3, "  (secret)", 3},
		{"below a map of secrets", "headers:\n  A: b\n  C: d", 3, 3, "  (secret)", 3},
		{"behind a map of secrets", "headers:\n  A: b\nport: 80", 3, 7, "port: 80", 7},
		{"a key of three letters", "{type: exec, env: {A: b}, end: 1}", 1, 32, "{type: exec, env: (secret), end: 1}", 34},
		{"an escape", "node: \x1b[31m", 1, 7, "node: \uFFFD[31m", 7},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, caret, _ := display(strings.Split(tt.text, "\n"), tt.line, tt.col, 1)
			if got != tt.want || caret != tt.caret {
				t.Errorf("got  %q, caret %d\nwant %q, caret %d", got, caret, tt.want, tt.caret)
			}
		})
	}
}
