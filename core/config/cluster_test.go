// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/steelyard-lb/steelyard/core"
)

const servers = "bus: {servers: ['nats://192.0.2.53:4222']}\n"

func TestCluster(t *testing.T) {
	leader := func(c core.ClusterSpec) core.ClusterSpec {
		c.Scheduling = core.ScheduleLeader
		return c
	}
	tests := []struct {
		name, text string
		want       core.ClusterSpec
		warned     string // a part of it
	}{
		{"alone", "", core.ClusterSpec{Roles: core.AllRoles}, ""},
		{"alone, all spelt out", "roles: [apply, probe, schedule]\ncluster: {group: '', probers: 1, quorum: 1, scheduling: leader, definitions: file}", core.ClusterSpec{Roles: core.AllRoles}, ""},
		{"alone, with what means nothing", "cluster: {scheduling: local}", core.ClusterSpec{Roles: core.AllRoles}, "1:23: cluster.scheduling means nothing without cluster.group (set cluster.group, or leave it out)"},
		{"a group", "cluster: {group: edge}\n" + servers, leader(core.ClusterSpec{Group: "edge", Roles: core.AllRoles, Probers: 1, Quorum: 1}), ""},
		{"a role alone", "roles: probe\ncluster: {group: edge}\n" + servers, leader(core.ClusterSpec{Group: "edge", Roles: core.Roles{Probe: true}, Probers: 1, Quorum: 1}), ""},
		{"more than half of 2", "cluster: {group: edge, probers: 2}\n" + servers, leader(core.ClusterSpec{Group: "edge", Roles: core.AllRoles, Probers: 2, Quorum: 2}), ""},
		{"more than half of 3", "cluster: {group: edge, probers: 3}\n" + servers, leader(core.ClusterSpec{Group: "edge", Roles: core.AllRoles, Probers: 3, Quorum: 2}), ""},
		{"as it is written", "cluster: {group: edge, probers: 3, quorum: 1, scheduling: local}\n" + servers, core.ClusterSpec{Group: "edge", Roles: core.AllRoles, Probers: 3, Quorum: 1, Scheduling: core.ScheduleLocal}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := files{"/etc/s.yaml": tt.text + "\n" + web}.options()
			cfg := mustLoad(t, o)
			if d := cmp.Diff(tt.want, cfg.Cluster); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			if got := cfg.Warnings.Error(); !strings.Contains(got, tt.warned) || (got == "") != (tt.warned == "") {
				t.Errorf("warned %q, want %q", got, tt.warned)
			}
			again := mustLoad(t, files{"/etc/s.yaml": string(cfg.YAML(true))}.options())
			if again.Hash != cfg.Hash {
				t.Errorf("the effective configuration is another one:\n%s", cfg.YAML(false))
			}
		})
	}
}

// Whoever changes what nodes must agree on changes the hash.
func TestClusterIsInTheHash(t *testing.T) {
	seen := map[string]string{}
	for _, text := range []string{
		servers, "cluster: {group: a}\n" + servers, "cluster: {group: b}\n" + servers, "cluster: {group: a, probers: 2}\n" + servers,
		"cluster: {group: a, definitions: bus}\n" + servers, "roles: [probe]\ncluster: {group: a}\n" + servers,
		"http: {listen: '127.0.0.1:9190'}\n" + servers, "webhooks: {a: {url: 'https://a.example.org/x'}}\n" + servers,
	} {
		h := mustLoad(t, files{"/etc/s.yaml": text + web}.options()).Hash
		if other, ok := seen[h]; ok {
			t.Errorf("one hash for\n%s\nand\n%s", text, other)
		}
		seen[h] = text
	}
}

func TestListenerAndWebhooks(t *testing.T) {
	disk := files{"/etc/s.yaml": `
http:
  listen: 192.0.2.1:9190
  tls: {cert: http.pem, key: http.key, ca: clients.pem}
  users:
    prometheus: {token_file: token}
    zabbix: {password_env: PW, rights: [push, read]}
webhooks:
  pager: {url_file: url, events: health.>, headers: {X-B: "2", X-A: "1"}, retry_for: 0, template: '{{json .Text}}', secret: whsec_aGk=}
  chat: {url: "http://[::1]:8080/x"}
  clear: {url: "http://hooks.example.org/hunter2"}
bus:
  listen: 192.0.2.1:4222
  cloudevents: true
  tls: {cert: http.pem, key: http.key, ca: clients.pem}
  users:
    a: {nkey: ` + exampleNKey + `}
    b: {certificate: b.example.org, publish: []}
`, "/etc/http.pem": "x", "/etc/http.key": "x", "/etc/clients.pem": "x", "/etc/token": "abc\n", "/etc/url": "https://hooks.example.org/T0/hunter2\n"}
	var keys, templates []string
	cfg := mustLoad(t, disk.with(func(o *Options) {
		o.Env = []string{"PW=secret"}
		o.BusKey = func(k string) error { keys = append(keys, k); return nil }
		o.Template = func(text string) error { templates = append(templates, text); return nil }
	}))
	pem := BusTLS{Cert: "/etc/http.pem", Key: "/etc/http.key", CA: "/etc/clients.pem"}
	want := &Config{
		HTTP: HTTP{Listen: "192.0.2.1:9190", TLS: HTTPTLS(pem), MaxSeries: 100000, Users: []HTTPUser{
			{Name: "prometheus", Token: "abc", Rights: []string{"read"}}, {Name: "zabbix", Password: "secret", Rights: []string{"push", "read"}}}},
		Webhooks: []Webhook{
			{Name: "chat", URL: "http://[::1]:8080/x", Host: "http://[::1]:8080", Events: []string{"health.>", "event.>"}, Timeout: 5 * time.Second, RetryFor: 10 * time.Minute},
			{Name: "clear", URL: "http://hooks.example.org/hunter2", Host: "http://hooks.example.org", Events: []string{"health.>", "event.>"}, Timeout: 5 * time.Second, RetryFor: 10 * time.Minute},
			{Name: "pager", URL: "https://hooks.example.org/T0/hunter2", Host: "https://hooks.example.org", Events: []string{"health.>"}, Secret: "whsec_aGk=", Timeout: 5 * time.Second,
				Headers: []core.Header{{Name: "X-A", Value: "1"}, {Name: "X-B", Value: "2"}}, Template: "{{json .Text}}"},
		},
		Bus: Bus{Listen: "192.0.2.1:4222", Servers: []string{}, TLS: pem, CloudEvents: true, Users: []BusUser{{Name: "a", NKey: exampleNKey}, {Name: "b", Certificate: "b.example.org", Publish: []string{}}}},
	}
	got := &Config{HTTP: cfg.HTTP, Webhooks: cfg.Webhooks, Bus: cfg.Bus}
	if d := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Config{})); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if d := cmp.Diff([][]string{{exampleNKey}, {"{{json .Text}}"}}, [][]string{keys, templates}); d != "" {
		t.Errorf("what the hooks were asked (-want +got):\n%s", d)
	}
	const clear = "11:11: webhooks.clear.url: what webhook clear is told crosses the network in clear (use https)"
	if w := cfg.Warnings.Error(); !strings.Contains(w, clear) || strings.Contains(w, "hunter2") {
		t.Errorf("warnings %q, want %q", w, clear)
	}
}

// What the parts themselves refuse is told at its place, and a template that is not
// of JSON is theirs to judge.
func TestHooksOfOthers(t *testing.T) {
	o := files{"/etc/s.yaml": `
webhooks:
  a: {url: 'https://a.example.org', template: '{{'}
  b: {url: 'https://a.example.org', template: '{{', headers: {content-type: text/plain}}
bus: {listen: '127.0.0.1:4222', users: {a: {nkey: ` + exampleNKey + `}}}
`}.options()
	o.Template = func(string) error { return errors.New("unclosed") }
	o.BusKey = func(string) error { return errors.New("checksum") }
	_, err := Load(o)
	want := "/etc/s.yaml:3:47: webhooks.a.template: unclosed\n/etc/s.yaml:5:51: bus.users.a.nkey: checksum (copy it once more, as `nk -inkey FILE -pubout` prints it)"
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}
