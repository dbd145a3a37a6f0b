// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/bus/bustest"
	"github.com/steelyard-lb/steelyard/core/config"
	"github.com/steelyard-lb/steelyard/core/lab/labtest"
)

// A pushLab is a nats-server with JetStream and a configuration to push there, by a
// user who may do that and nothing else.
type pushLab struct {
	dir, file, server string
}

func newPushLab(t *testing.T) *pushLab {
	t.Helper()
	needPlainWorker(t)
	l := &pushLab{dir: t.TempDir()}
	snippet, _, code := runAll(t, nil, "", "bus", "permissions", "--role", "pusher", "--node", "ops", "--group", "edge")
	if code != 0 {
		t.Fatal(snippet)
	}
	follower, _, _ := runAll(t, nil, "", "bus", "permissions", "--role", "prober,follower", "--node", "lb1", "--group", "edge")
	conf := snippet + follower + "jetstream { store_dir: " + filepath.Join(l.dir, "js") + " }\n" +
		"authorization { users: [ {user: ops, password: hunter2, permissions: $MAY_OPS}, {user: lb1, password: hunter2, permissions: $MAY_LB1} ] }\n"
	port := bustest.FreePort(t)
	bustest.StartServer(t, port, nil, "-c", write(t, l.dir, "nats.conf", conf))
	l.server = fmt.Sprintf("nats://127.0.0.1:%d", port)
	write(t, l.dir, "password", "hunter2\n")
	write(t, l.dir, "mine.lua", "function schedule(s)\n  return s.weight\nend\n")
	l.configure(t, "ops", "100")
	return l
}

// configure writes the file anew, with another weight.
func (l *pushLab) configure(t *testing.T, user, weight string) {
	t.Helper()
	l.file = write(t, l.dir, user+".yaml", `
node: lb1
cluster: {group: edge, definitions: bus}
bus: {servers: ["`+l.server+`"], login: {user: `+user+`, password_file: ./password}}
policies: {mine: {path: ./mine.lua}}
services:
  web: {vip: 192.0.2.10, port: 80, policy: mine, backends: {web1: {address: 10.0.0.11, weight: `+weight+`}}}
`)
}

func (l *pushLab) run(t *testing.T, line ...string) (out, errs string, code int) {
	t.Helper()
	return runAll(t, nil, "", append(line, "-c", l.file)...)
}

// must is run, and what it prints has all of the words.
func (l *pushLab) must(t *testing.T, want int, words string, line ...string) string {
	t.Helper()
	out, errs, code := l.run(t, line...)
	for _, w := range strings.Split(words, "|") {
		if code != want || !strings.Contains(out+errs, w) {
			t.Fatalf("%v: code %d, want %d and %q\n%s%s", line, code, want, w, out, errs)
		}
	}
	if strings.Contains(out+errs, "hunter2") {
		t.Errorf("%v shows a secret:\n%s%s", line, out, errs)
	}
	return out
}

// TestPush pushes, looks, pushes again on top and goes back; a node reads what it gets.
func TestPush(t *testing.T) {
	l := newPushLab(t)
	l.must(t, 0, "nothing was pushed to edge yet", "revisions")
	l.must(t, exitChanges, "+      web1:|would be pushed on top of revision 0 of edge", "push", "--dry-run")
	l.must(t, 0, "pushed revision 1 of edge", "push", "--message", "the first")
	l.must(t, 0, "nothing changed: revision 1 has this already", "push")
	l.configure(t, "ops", "50")
	l.must(t, exitChanges, "-        weight: 100|+        weight: 50|on top of revision 1", "push", "--dry-run")
	l.must(t, exitFailure, "somebody else pushed meanwhile|--expect", "push", "--expect", "0")
	l.must(t, 0, "pushed revision 2 of edge", "push", "--expect", "1", "-m", "web1 is slow")
	l.must(t, 0, "web1 is slow|the first|REVISION|"+author(func(string) string { return "" })+" as ops", "revisions")
	l.must(t, 0, `"login": "ops"`, "revisions", "-o", "json")
	l.must(t, 0, "# revision 1 of edge|the first|weight: 100|path: ./files/", "revisions", "1")
	l.must(t, exitFailure, "there are none", "revisions", "9")
	l.must(t, 0, "-        weight: 50|+        weight: 100|pushed revision 3", "push", "--revert", "1")
	l.must(t, 0, "back to revision 1: the first", "revisions")

	var list []struct {
		Number uint64            `json:"number"`
		Files  map[string]string `json:"files"`
	}
	if err := json.Unmarshal([]byte(l.must(t, 0, "", "revisions", "-o", "json")), &list); err != nil || len(list) != 3 || list[0].Number != 3 || len(list[0].Files) != 1 {
		t.Errorf("revisions in JSON: %+v, %v", list, err)
	}
	l.complete(t)
	l.follow(t)
	l.configure(t, "ops", "100")
	l.hint(t)
}

// hint pushes from a file of a node that does not follow: nothing here tells whether another
// does.
func (l *pushLab) hint(t *testing.T) {
	t.Helper()
	const hint = "nodes with cluster.definitions: bus take it over, and no others"
	if out, errs, code := l.run(t, "push", "--force"); code != 0 || strings.Contains(errs, hint) {
		t.Errorf("a file that follows: code %d\n%s%s", code, out, errs)
	}
	text, err := os.ReadFile(l.file)
	if err != nil {
		t.Fatal(err)
	}
	file := write(t, l.dir, "alone.yaml", strings.Replace(string(text), ", definitions: bus", "", 1))
	for _, line := range [][]string{{"push", "--force", "-c", file}, {"push", "--revert", "1", "--force", "--group", "edge", "--server", l.server, "--user", "ops", "--password-file", filepath.Join(l.dir, "password")}} {
		if out, errs, code := runAll(t, nil, "", line...); code != 0 || strings.Count(errs, hint) != 1 {
			t.Errorf("%v: code %d, want the hint\n%s%s", line, code, out, errs)
		}
	}
}

// complete presses TAB where the number of a revision is wanted.
func (l *pushLab) complete(t *testing.T) {
	t.Helper()
	for _, line := range []string{"revisions -c " + l.file, "push -c " + l.file + " --revert"} {
		out, errs, code := runAll(t, nil, "", append(append([]string{"__complete"}, strings.Fields(line)...), "")...)
		var got []string
		for offer := range strings.Lines(out) {
			number, what, _ := strings.Cut(strings.TrimSpace(offer), "\t")
			_, what, _ = strings.Cut(what, ": ")
			got = append(got, number+" "+what)
		}
		if d := cmp.Diff([]string{"3 back to revision 1: the first", "2 web1 is slow", "1 the first", ":36 "}, got); d != "" || code != 0 {
			t.Errorf("%s TAB: code %d (-want +got)\n%s%s", line, code, d, errs)
		}
	}
	if out, _, _ := runAll(t, nil, "", "__complete", "revisions", "-c", l.file, "1", ""); out != ":36\n" {
		t.Errorf("a second number is offered:\n%s", out)
	}
}

// TestCompleteRevisionsDoesNotHang presses TAB where servers take the call and never
// answer, and where there is no configuration: it offers nothing, and says nothing.
func TestCompleteRevisionsDoesNotHang(t *testing.T) {
	var servers []string
	for range 4 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		servers = append(servers, "nats://"+l.Addr().String())
	}
	for _, line := range []string{"--group edge --server " + strings.Join(servers, ","), "-c /nowhere.yaml"} {
		start := time.Now()
		out, _, code := runAll(t, nil, "", append(append([]string{"__complete", "revisions"}, strings.Fields(line)...), "")...)
		if took := time.Since(start); took > 30*time.Second || out != ":36\n" || code != 0 {
			t.Errorf("%s: took %s, code %d\n%s", line, took, code, out)
		}
	}
}

// follow fetches the newest revision as a daemon does.
func (l *pushLab) follow(t *testing.T) {
	t.Helper()
	l.configure(t, "lb1", "1")
	node := write(t, l.dir, "node.yaml", "node: lb1\nstate_dir: "+l.dir+"\ncluster: {group: edge, definitions: bus}\nbus: {servers: ['"+l.server+"'], login: {user: lb1, password_file: ./password}}\n")
	s := source{path: node}
	cfg, err := s.load()
	if err != nil {
		t.Fatal(err)
	}
	store, err := (&storeFlags{}).openStore(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	dir := config.LayerDir{Path: filepath.Join(l.dir, "definitions")}
	layer, err := fetchDefinitions(t.Context(), store.Store, dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err = s.loadWith(func(o *config.Options) { o.Layers = []string{layer} })
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Services[0].Backends[0].Weight != 100 || !strings.HasPrefix(cfg.Policies[0].Path, dir.Path) {
		t.Errorf("the node has %+v, %+v", cfg.Services[0].Backends, cfg.Policies)
	}
	if err := dir.Accept(layer); err != nil {
		t.Error(err)
	}
	if rev, good, err := dir.Good(); rev != 3 || good != layer || err != nil {
		t.Errorf("good is %d, %s, %v", rev, good, err)
	}
	l.startDamaged(t, &s, layer)
	if out, errs, code := l.run(t, "push", "--message", "by a node"); code == 0 {
		t.Errorf("a node may push: %s%s", out, errs)
	}
}

// startDamaged begins with what the disk has, and where that is damaged, with what the
// store has.
func (l *pushLab) startDamaged(t *testing.T, s *source, layer string) {
	t.Helper()
	for _, damaged := range []bool{false, true} {
		if damaged {
			if err := os.WriteFile(layer, []byte("services: {"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		var log strings.Builder
		cfg, first, err := s.loadFirst(t.Context(), func(c config.Log) *slog.Logger { return newLogger(c, &log) })
		if err != nil || first.revision != 3 || len(cfg.Services) != 1 || (log.Len() > 0) != damaged {
			t.Fatalf("damaged %v: revision %d, %v\n%s", damaged, first.revision, err, &log)
		}
	}
}

// To be told to end while there is nothing to begin with is no failure.
func TestEndBeforeFirstDefinitions(t *testing.T) {
	dir := t.TempDir()
	file := write(t, dir, "node.yaml", "node: lb1\nstate_dir: "+dir+"\ncluster: {group: edge, definitions: bus}\nbus: {servers: ['nats://127.0.0.1:1']}\n")
	const waits = "waiting for the first definitions"
	var out, errs labtest.Log
	g := newGlobals(&out, &errs)
	root := newRootCommand(g)
	root.SetArgs([]string{"run", "-c", file})
	ctx, cancel := context.WithTimeout(t.Context(), startPatience)
	defer cancel()
	go func() {
		for ctx.Err() == nil && !strings.Contains(errs.String(), waits) {
			wait(time.Millisecond)
		}
		cancel()
	}()
	if code := g.fail(root.ExecuteContext(ctx)); code != 0 || !strings.Contains(errs.String(), waits) {
		t.Errorf("code %d\n%s", code, &errs)
	}
}

func TestPushRefuses(t *testing.T) {
	needPlainWorker(t)
	const servers = "cluster: {group: edge}\nbus: {servers: ['nats://127.0.0.1:1']}\n"
	const web = "services: {web: {vip: 192.0.2.10, port: 80, backends: {web1: {address: 10.0.0.11}}}}\n"
	tests := []struct {
		name, text, line string
		code             int
		want             string
	}{
		{"a bad configuration", "services: {web: {vip: 192.0.2.10}}\n", "", exitConfig, `web has no "port"`},
		{"a policy that does not load", servers + web + "policies: {mine: {lua: 'function schedule('}}\n", "", exitConfig, "load policy mine"},
		{"secrets", servers + web + "probes: {a: {type: snmp_cpu, community: hunter2}}\n", "", exitConfig, "1 secret: written out: probes.a.community"},
		{"no servers", "cluster: {}\n" + web, "", exitUsage, "there is no NATS to ask"},
		{"no group", "bus: {servers: ['nats://127.0.0.1:1']}\n" + web, "", exitUsage, "there is no group"},
		{"nobody there", servers + web, "", exitFailure, "connect to NATS"},
		{"two minds", servers + web, "--force --expect 3", exitUsage, "keep one"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			file := write(t, t.TempDir(), "s.yaml", tt.text)
			out, errs, code := runAll(t, nil, "", append([]string{"push", "-c", file}, strings.Fields(tt.line)...)...)
			if code != tt.code || !strings.Contains(out+errs, tt.want) || strings.Contains(out+errs, "hunter2") {
				t.Errorf("code %d, want %d and %q\n%s%s", code, tt.code, tt.want, out, errs)
			}
		})
	}
	for line, want := range map[string]string{"revisions x": "want its number", "revisions 0": "want its number", "bus permissions --role king --node a": `unknown role "king"`, "bus permissions": "no role"} {
		if _, errs, code := runAll(t, nil, "", strings.Fields(line)...); code != exitUsage || !strings.Contains(errs, want) {
			t.Errorf("%s: code %d, %q", line, code, errs)
		}
	}
}

// What is only there with its file cannot be pushed without it, and secrets can, if
// that is what is meant.
func TestDocumentOfConfiguration(t *testing.T) {
	dir := t.TempDir()
	policy := write(t, dir, "mine.lua", "function schedule(s) return s.weight end\n")
	s := source{path: write(t, dir, "s.yaml", "policies: {mine: {path: ./mine.lua}}\nprobes: {a: {type: snmp_cpu, community: hunter2}}\n")}
	cfg, err := s.loadWith(func(o *config.Options) { o.KeepShared = true })
	if err != nil {
		t.Fatal(err)
	}
	d, err := documentOf(cfg.Shared)
	if err != nil || len(d.files) != 1 || !strings.Contains(string(d.yaml), "hunter2") || strings.Contains(string(d.shown), "hunter2") {
		t.Errorf("%+v, %v", d, err)
	}
	if err := os.Remove(policy); err != nil {
		t.Fatal(err)
	}
	if _, err := documentOf(cfg.Shared); err == nil {
		t.Error("a policy that is gone was pushed")
	}
}
