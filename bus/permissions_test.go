// SPDX-License-Identifier: Apache-2.0

package bus_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/steelyard-lb/steelyard/bus"
	"github.com/steelyard-lb/steelyard/bus/bustest"
	"github.com/steelyard-lb/steelyard/core"
)

// snippets are the files in packaging/nats that say what somebody may do.
var snippets = []struct {
	file, name, group string
	roles             []bus.Role
}{
	{"prober.conf", "prober1", "edge", []bus.Role{bus.ProberRole}},
	{"scheduler.conf", "scheduler1", "edge", []bus.Role{bus.SchedulerRole}},
	{"balancer.conf", "balancer1", "edge", []bus.Role{bus.BalancerRole}},
	{"node.conf", "lb1", "edge", append(bus.NodeRoles(core.AllRoles), bus.IngestRole, bus.FollowerRole)},
	{"pusher.conf", "deploy", "edge", []bus.Role{bus.PusherRole}},
	{"monitor.conf", "zabbix", "", []bus.Role{bus.MonitorRole}},
	{"viewer.conf", "grafana", "", []bus.Role{bus.ViewerRole}},
}

func snippet(name string) string { return filepath.Join("..", "packaging", "nats", name) }

// TestSnippetsAreOfTheTable: what is packaged is what the program prints. STEELYARD_UPDATE
// writes it.
func TestSnippetsAreOfTheTable(t *testing.T) {
	for _, s := range snippets {
		want, err := bus.PermissionsConfig(s.roles, s.name, s.group)
		if err != nil {
			t.Fatal(err)
		}
		if os.Getenv("STEELYARD_UPDATE") != "" {
			if err := os.WriteFile(snippet(s.file), []byte(want), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(snippet(s.file))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("%s: -table +file; STEELYARD_UPDATE=1 go test ./bus -run Snippets writes it\n%s", s.file, diff)
		}
	}
}

// TestDocumentHasTheTable: what docs/bus.md says of roles is what the program grants.
func TestDocumentHasTheTable(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join("..", "docs", "bus.md"))
	if err != nil {
		t.Fatal(err)
	}
	table := bus.PermissionsTable()
	head, _, _ := strings.Cut(table, "\n")
	if strings.Contains(string(doc), head) && !strings.Contains(string(doc), table) {
		t.Errorf("docs/bus.md has another table of roles; it should have\n%s", table)
	}
}

func TestPermissionsAreChecked(t *testing.T) {
	tests := []struct {
		roles       []bus.Role
		node, group string
		want        string
	}{
		{nil, "lb1", "edge", "no role; give one or more of prober, scheduler"},
		{[]bus.Role{"root"}, "lb1", "edge", `unknown role "root"`},
		{[]bus.Role{bus.ProberRole, "apply"}, "lb1", "edge", `unknown role "apply"; a node with apply among its roles is a balancer here`},
		{[]bus.Role{bus.ProberRole}, "", "edge", "no name"},
		{[]bus.Role{bus.PusherRole}, "deploy", "", "role pusher needs a group"},
		{[]bus.Role{bus.FollowerRole}, "lb1", "a.b", `group "a.b"`},
	}
	for _, tt := range tests {
		if _, err := bus.PermissionsConfig(tt.roles, tt.node, tt.group); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v, %q, %q: %v, want %q in it", tt.roles, tt.node, tt.group, err, tt.want)
		}
	}
	// Names are tokens: one with a dot or a wildcard reaches no further than another.
	for _, name := range []string{"a.b", "*", ">", "a b", "\"x\n"} {
		for _, role := range bus.Roles {
			publish, subscribe := bus.RolePermissions(role, name, "edge")
			for _, s := range slices.Concat(publish, subscribe) {
				plain, _ := bus.RolePermissions(role, "x", "edge")
				if strings.ContainsAny(s, " \n\"") || strings.Count(s, ">") > 1 || len(plain) != len(publish) {
					t.Errorf("%s %q: %q", role, name, s)
				}
			}
		}
	}
	// Alone, a node has no group to meet.
	publish, _ := bus.PermissionsOf(bus.NodeRoles(core.AllRoles), "lb1", "")
	want := []string{"steelyard.v1.commit.lb1", "steelyard.v1.decision.*", "steelyard.v1.event.*.*", "steelyard.v1.health.*.*", "steelyard.v1.probe.*.*.*.lb1"}
	if diff := cmp.Diff(want, publish); diff != "" {
		t.Errorf("alone: -want +got\n%s", diff)
	}
	if publish, subscribe := bus.RolePermissions("root", "lb1", "edge"); len(publish)+len(subscribe) > 0 {
		t.Errorf("an unknown role may %q, %q", publish, subscribe)
	}
}

// A packaged is a real nats-server with the packaged configuration.
type packaged struct {
	port int
	keys map[string]testKey // of those who have one
}

func startPackaged(t *testing.T) packaged {
	t.Helper()
	p := packaged{port: freePort(t), keys: make(map[string]testKey)}
	for _, name := range []string{"prober1", "scheduler1", "balancer1", "lb1", "deploy"} {
		p.keys[name] = newKey(t)
		t.Setenv(strings.ToUpper(name)+"_NKEY", p.keys[name].public)
	}
	t.Setenv("ZABBIX_PASSWORD", "secret")
	t.Setenv("GRAFANA_PASSWORD", "secret")
	t.Setenv("NATS_STORE", t.TempDir())
	bustest.ServeFile(t, p.port, snippet("server.conf"))
	return p
}

func (p packaged) login(name string) bus.Login {
	if k, ok := p.keys[name]; ok {
		return bus.Login{NKey: core.Secret(k.seed)}
	}
	return bus.Login{User: name, Password: "secret"}
}

func (p packaged) dial(t *testing.T, name string) (*nats.Conn, <-chan error) {
	t.Helper()
	refusals := make(chan error, 64)
	login := nats.UserInfo(name, "secret")
	if k, ok := p.keys[name]; ok {
		login = nats.Nkey(k.public, k.pair.Sign)
	}
	nc, err := nats.Connect(fmt.Sprintf("nats://127.0.0.1:%d", p.port), login,
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refusals <- err }))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	t.Cleanup(nc.Close)
	return nc, refusals
}

// TestWhoMayDoWhat tries on a real nats-server, for each of the packaged users, what it
// may do and what belongs to others. The table says the same as that of the program, in
// another way.
func TestWhoMayDoWhat(t *testing.T) {
	p := startPackaged(t)
	columns := []string{"prober1", "scheduler1", "balancer1", "lb1", "deploy", "zabbix", "grafana"}
	// NAME is the user's own.
	tests := []struct{ may, verb, subject string }{
		//P S B N D M V
		{"y . . y . . .", "pub", "steelyard.v1.probe.web.web1.http.NAME"},
		{". . . . . . .", "pub", "steelyard.v1.probe.web.web1.http.other"},
		{"y y y y . . .", "pub", "steelyard.v1.node.edge.NAME"},
		{". . . . . . .", "pub", "steelyard.v1.node.edge.other"},
		{". . . . . . .", "pub", "steelyard.v1.node.core.NAME"},
		{". y . y . . .", "pub", "steelyard.v1.weights.edge.web.NAME"},
		{". . . . . . .", "pub", "steelyard.v1.weights.edge.web.other"},
		{". . . . . . .", "pub", "steelyard.v1.weights.core.web.NAME"},
		{". y y y . . .", "pub", "steelyard.v1.decision.web"},
		{". . y y . . .", "pub", "steelyard.v1.flows.edge.web.NAME"},
		{". . . . . . .", "pub", "steelyard.v1.flows.edge.web.other"},
		{". . y y . . .", "pub", "steelyard.v1.commit.NAME"},
		{". . . . . . .", "pub", "steelyard.v1.commit.other"},
		{"y y y y . . .", "pub", "steelyard.v1.health.web.web1"},
		{"y y y y . . .", "pub", "steelyard.v1.event.info.x"},
		{". . . y . y .", "pub", "steelyard.v1.metric.NAME.web.web1.load"},
		{". . . y . y .", "pub", "steelyard.v1.metric.NAME.web1.load"},
		{". . . y . . .", "pub", "steelyard.v1.metric.other.web1.load"},
		{". . . . y . .", "pub", "$KV.STEELYARD_edge.definitions"},
		{". . . . y . .", "pub", "$O.STEELYARD_edge.M.x"},
		{". . . . . . .", "pub", "$KV.STEELYARD_core.definitions"},
		{". . . y y . .", "pub", "$JS.API.STREAM.INFO.KV_STEELYARD_edge"},
		{". . . . . . .", "pub", "$JS.API.STREAM.INFO.KV_STEELYARD_core"},
		{". . . . y . .", "pub", "$JS.API.STREAM.CREATE.KV_STEELYARD_edge"},
		{". . . . . . .", "pub", "$JS.API.STREAM.CREATE.x"},
		{". . . . . . .", "pub", "$JS.API.STREAM.UPDATE.KV_STEELYARD_edge"},
		{". . . . . . .", "pub", "$JS.API.STREAM.DELETE.KV_STEELYARD_edge"},
		{". . . . . . .", "pub", "$JS.API.CONSUMER.CREATE.KV_STEELYARD_edge"},
		{". . . . . . .", "pub", "$JS.API.STREAM.MSG.DELETE.KV_STEELYARD_edge"},
		{". . . . . . .", "pub", "$SYS.REQ.SERVER.PING"},
		{". . . . . . .", "pub", "_INBOX_other.x"},
		{". . . . . . .", "pub", "x"},
		{"y y y y . . y", "sub", "steelyard.v1.>"},
		{"y y y y . . y", "sub", "steelyard.v1.weights.edge.*.*"},
		{". . . . . . .", "sub", ">"},
		{". . . . . . .", "sub", "*.>"},
		{". . . y . . .", "sub", "$KV.STEELYARD_edge.>"},
		{". . . . . . .", "sub", "$KV.>"},
		{". . . . . . .", "sub", "$O.>"},
		{". . . . . . .", "sub", "$JS.>"},
		{". . . . . . .", "sub", "$SYS.>"},
		{"y y y y y y y", "sub", "_INBOX_NAME.>"},
		{". . . . . . .", "sub", "_INBOX_other.>"},
		{". . . . . . .", "sub", "_INBOX.>"},
	}
	for i, name := range columns {
		nc, refusals := p.dial(t, name)
		refused := func(subject string) {
			t.Helper()
			if err := next(t, refusals); !errors.Is(err, nats.ErrPermissionViolation) || !strings.Contains(err.Error(), `"`+subject+`"`) {
				t.Errorf("%s: %v, want a refusal of %s", name, err, subject)
			}
		}
		for _, tt := range tests {
			subject := strings.ReplaceAll(tt.subject, "NAME", name)
			var err error
			if tt.verb == "pub" {
				err = nc.Publish(subject, nil)
			} else {
				_, err = nc.QueueSubscribeSync(subject, "group")
			}
			if err != nil {
				t.Fatal(err)
			}
			if strings.Fields(tt.may)[i] != "y" {
				refused(subject)
			}
		}
		// Refusals come in order: one that should not be is before this.
		if err := nc.Publish("the.end", nil); err != nil {
			t.Fatal(err)
		}
		refused("the.end")
	}
}
