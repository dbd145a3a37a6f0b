// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/config"
	"github.com/steelyard-lb/steelyard/core/engine"
	"github.com/steelyard-lb/steelyard/core/nft"
)

const planBefore = `node: lb1
services:
  web:
    vip: 192.0.2.10
    port: 80
    policy: weighted
    distribution: roundrobin
    persistence: {timeout: 5m, size: 1000}
    limits: {new_per_second: 100}
    allow: [10.0.0.0/8]
    probes: [alive]
    backends: {web1: {address: 10.0.0.1, port: 80}, web2: {address: 10.0.0.2, port: 80}}
  old:
    vip: 192.0.2.11
    port: 80
    policy: rr
    backends: {a: {address: 10.0.1.1, port: 80}}
probes:
  alive: {type: tcp, interval: 1s, timeout: 900ms}
`

const planAfter = `node: lb1
log: {level: debug}
services:
  web:
    vip: 192.0.2.10
    port: [80, 443]
    policy: least-conn
    distribution: roundrobin
    persistence: {timeout: 10m, size: 1000}
    limits: {new_per_second: 200}
    allow: [10.0.0.0/8, 172.16.0.0/12]
    pins: {10.9.9.9: web3}
    probes: [alive]
    backends: {web1: {address: 10.0.0.1, port: 80, weight: 50}, web3: {address: 10.0.0.3, port: 80}}
  api:
    vip: [192.0.2.12, "2001:db8::12"]
    port: 443
    policy: rr
    backends: {a: {address: [10.0.2.1, "2001:db8:2::1"], port: 443}}
  signal:
    vip: 192.0.2.13
    port: 3868
    protocol: sctp
    policy: rr
    backends: {a: {address: 10.0.3.1, port: 3868}}
probes:
  alive: {type: tcp, interval: 2s, timeout: 900ms}
  ping: {type: ping, interval: 5s}
`

// loaded is a configuration from text.
func loaded(t *testing.T, text string) *config.Config {
	t.Helper()
	cfg, err := config.Load(config.Options{
		Path: "new.yaml", Hostname: "lb1", ShippedPolicies: shippedParams(),
		ReadFile: func(string) ([]byte, error) { return []byte(text), nil },
		ReadDir:  func(string) ([]string, error) { return nil, os.ErrNotExist },
	})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// carried is what a daemon with a configuration carries, all backends up, and what
// commands have changed.
func carried(t *testing.T, text string) core.InForce {
	cfg := loaded(t, text)
	f := core.InForce{Node: "lb1", ConfigHash: cfg.Hash, Services: cfg.Services, Probes: cfg.Probes, Policies: cfg.Policies, Settings: settings(cfg),
		Probing: cfg.Probing, Maintenance: cfg.Maintenance}
	f.Plan = engine.Preview(setup(cfg), f)
	f.Pins = map[string][]core.PinState{"web": {{Pin: core.Pin{Client: netip.MustParsePrefix("10.7.7.7/32"), Backend: "web1"}, Author: "alice"}}}
	f.Plan = engine.Preview(setup(cfg), f)
	f.Features = []core.Feature{{Name: "sctp", Lost: "services of SCTP", Remedy: "a kernel with CONFIG_NF_CT_PROTO_SCTP"}}
	return f
}

func TestPlanGolden(t *testing.T) {
	for _, tt := range []struct{ name, from, to string }{
		{"plan.txt", planBefore, planAfter},
		{"plan-same.txt", planBefore, planBefore},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := planBase{against: againstDaemon, inForce: carried(t, tt.from)}
			r, err := b.compare(t.Context(), loaded(t, tt.to), true)
			if err != nil {
				t.Fatal(err)
			}
			if r.Changed != (tt.from != tt.to) {
				t.Errorf("changed is %t", r.Changed)
			}
			var out bytes.Buffer
			renderPlan(&out, r, false)
			golden(t, tt.name, out.Bytes())
		})
	}
}

// What is written at the top of a file counts as much as a service.
func TestPlanTellsOfProbingAndMaintenance(t *testing.T) {
	const window = "\nmaintenance: {move: {backends: web/web1, start: 2027-03-01T22:00:00Z, end: 2027-03-02T02:00:00Z}}\n"
	for _, tt := range []struct{ name, from, to, want string }{
		{"a window more", "", window, "maintenance move added"},
		{"a window less", window, "", "maintenance move removed"},
		{"another end", window, strings.Replace(window, "02T02", "02T03", 1), "maintenance move changed"},
		{"suspicion", "", "\nprobing: {suspect_ratio: 0.5, suspect_for: 1m}\n", "probing.suspect_for changed, probing.suspect_ratio changed"},
		{"places", "", "\nprobing: {concurrency: {exec: 2}}\n", "probing.concurrency changed, which takes a restart"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			list := planChanges(carried(t, planBefore+tt.from), loaded(t, planBefore+tt.to), true)
			if got := reloadText(list); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
			var out bytes.Buffer
			renderChanges(&out, list, false)
			t.Logf("\n%s", out.String())
		})
	}
}

// The command tells its exit code by what it finds.
func TestPlanCommand(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	before, after, bad := file("before.yaml", planBefore), file("after.yaml", planAfter), file("bad.yaml", "nod: x\n")
	c := &fixedControl{inForce: carried(t, planBefore)}
	for _, tt := range []struct {
		name string
		line []string
		code int
		want string // in stdout or stderr
	}{
		{"nothing", []string{"plan", "-c", before}, 0, "nothing would change"},
		{"something", []string{"plan", "-c", after}, 2, "+ service api"},
		{"something, JSON", []string{"plan", "-c", after, "-o", "json"}, 2, `"changed": true`},
		{"over the file", []string{"plan", "-c", before, "--set", "services.web.on_empty=drop"}, 2, "on_empty: reject → drop"},
		{"invalid", []string{"plan", "-c", bad}, 3, "unknown key"},
		{"no file", []string{"plan", "-c", filepath.Join(dir, "none.yaml")}, 3, "no such file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, errs, code := run(t, t.Context(), c, tt.line...)
			if code != tt.code || !strings.Contains(out+errs, tt.want) {
				t.Errorf("exit code %d, want %d and %q\n%s%s", code, tt.code, tt.want, out, errs)
			}
			if tt.code == exitChanges && errs != "" {
				t.Errorf("stderr: %s", errs)
			}
		})
	}
}

// A plan says what a daemon would warn of on this kernel, in its words.
func TestPlanTellsWhatTheKernelLacks(t *testing.T) {
	lacking := []core.Feature{
		{Name: "flowtable", Lost: "offload", Remedy: "modprobe nf_flow_table_inet"},
		{Name: featureReject, Lost: "on_empty reject", Remedy: "a kernel with CONFIG_NFT_REJECT_NETDEV"},
	}
	before, probes, _ := strings.Cut(planBefore, "probes:\n  alive:")
	text := before + `  fast: {vip: 192.0.2.20, port: 80, offload: true, backends: {a: {address: 10.0.9.1, port: 80}}}
  far: {vip: 192.0.2.21, port: 80, forwarding: dsr, interfaces: [eth0], backends: {a: {address: 10.0.9.2}}}
probes:
  alive:` + probes
	for _, against := range []string{againstDaemon, againstNone} {
		b := planBase{against: against, inForce: core.InForce{Features: lacking}, table: &nft.Table{Features: lacking}}
		r, err := b.compare(t.Context(), loaded(t, text), false)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{
			"this kernel lacks flowtables, so that offload does nothing (service fast): modprobe nf_flow_table_inet",
			"this kernel lacks reject in netdev, so that on_empty reject drops without an answer (service far): a kernel with CONFIG_NFT_REJECT_NETDEV",
		} {
			if !slices.Contains(r.Notes, want) {
				t.Errorf("against %s: no note %q: %q", against, want, r.Notes)
			}
		}
	}
}

// In JSON an empty list is a list.
func TestPlanHasNoNull(t *testing.T) {
	c := &fixedControl{inForce: carried(t, planBefore)}
	file := filepath.Join(t.TempDir(), "same.yaml")
	if err := os.WriteFile(file, []byte(planBefore), 0o600); err != nil {
		t.Fatal(err)
	}
	out, _, code := run(t, t.Context(), c, "plan", "-c", file, "-o", "json")
	for _, want := range []string{`"changes": []`, `"kernel": []`, `"dropped_commands": []`} {
		if code != 0 || !strings.Contains(out, want) || strings.Contains(out, "null") {
			t.Errorf("exit code %d, want %s:\n%s", code, want, out)
		}
	}
}

// What commands have left behind is read and left where it is, even what is of no
// use; what is over does not count.
func TestCommandsLeft(t *testing.T) {
	dir := t.TempDir()
	over := drain1
	over.Until = noon.Add(time.Minute)
	pin := core.PinState{Pin: core.Pin{Client: netip.MustParsePrefix("192.0.2.7/32"), Backend: "web1"}, Author: "alice", Since: noon}
	if err := newOverrideFile(filepath.Join(dir, overridesName)).Save(1, map[core.BackendID]core.Override{idWeb1: drain1, {Service: "web", Backend: "web2"}: over}); err != nil {
		t.Fatal(err)
	}
	if err := newPinFile(filepath.Join(dir, pinsName)).Save(1, map[string][]core.PinState{"web": {pin}}); err != nil {
		t.Fatal(err)
	}
	overrides, pins, err := commandsLeft(dir, noon.Add(time.Hour))
	if err != nil || len(overrides) != 1 || overrides["web/web1"] != drain1 || len(pins["web"]) != 1 {
		t.Errorf("got %v, %v, %v", overrides, pins, err)
	}
	if err := os.WriteFile(filepath.Join(dir, overridesName), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, pins, err = commandsLeft(dir, noon)
	if err == nil || !strings.Contains(err.Error(), overridesName) || len(pins) != 1 {
		t.Errorf("of a bad file: %v, %v", pins, err)
	}
	if list, err := os.ReadDir(dir); err != nil || len(list) != 2 {
		t.Errorf("files after a look: %v, %v", list, err)
	}
	if _, _, err := commandsLeft(t.TempDir(), noon); err != nil {
		t.Errorf("of no files: %v", err)
	}
}

// TestUnifiedDiff holds the diff against patch(1), which knows better than we do
// what one means.
func TestUnifiedDiff(t *testing.T) {
	if got := unifiedDiff("a", "b", "1\n2\n3\n4\n5\n6\n7\n8\n9\n", "1\n2\n3\n4\nfive\n6\n7\n8\n9\n"); got != "--- a\n+++ b\n@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n" {
		t.Errorf("got\n%s", got)
	}
	if got := unifiedDiff("a", "b", "1\n", "1\n"); got != "" {
		t.Errorf("of the same text:\n%s", got)
	}
	_, noPatch := exec.LookPath("patch")
	rapid.Check(t, func(t *rapid.T) {
		line := rapid.SampledFrom([]string{"a\n", "b\n", "c\n", "d\n", "e\n"})
		from := strings.Join(rapid.SliceOfN(line, 0, 40).Draw(t, "from"), "")
		to := strings.Join(rapid.SliceOfN(line, 0, 40).Draw(t, "to"), "")
		if got := applied(diffLines(lines(from), lines(to)), '-'); got != to {
			t.Fatalf("the edits make\n%s of\n%s, want\n%s", got, from, to)
		}
		if got := applied(diffLines(lines(from), lines(to)), '+'); got != from {
			t.Fatalf("the edits undone make\n%s, want\n%s", got, from)
		}
	})
	if noPatch != nil {
		t.Log("patch is not installed: hunks are compared with one example only")
		return
	}
	before, after := "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\nk\nl\nm\n", "z\na\nb\nd\ne\nf\ng\nh\ni\nj\nk\nL\nm\nn\n"
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, []byte(before), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("patch", "-s", file)
	cmd.Stdin = strings.NewReader(unifiedDiff("f", "f", before, after))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	got, err := os.ReadFile(file)
	if diff := cmp.Diff(after, string(got)); diff != "" || err != nil {
		t.Errorf("patched (-want +got): %v\n%s", err, diff)
	}
}

// applied is the text without the lines of one kind.
func applied(ops []editOp, without byte) string {
	var b strings.Builder
	for _, op := range ops {
		if op.kind != without {
			b.WriteString(op.line + "\n")
		}
	}
	return b.String()
}

func TestSessionsGolden(t *testing.T) {
	client := netip.MustParsePrefix
	list := []core.SessionsView{
		{
			Service: "web", Timeout: 300, Matched: 1234,
			Counts: []core.SessionCount{{Family: "ipv4", Entries: 65536, Size: 65536}, {Family: "ipv6", Entries: 2, Size: 65536}},
			Sessions: []core.Session{
				{Client: client("192.0.2.9/32"), Backend: "web1", Address: "10.0.0.1:80", ExpiresIn: 88.2},
				{Client: client("198.51.100.0/24"), Address: "10.0.0.9:80", ExpiresIn: 299},
			},
			Pins: []core.PinState{
				{Pin: core.Pin{Client: client("192.0.2.7/32"), Backend: "web2"}, Author: "alice", Reason: "look at one client", Since: noon, Until: noon.Add(28 * time.Minute)},
				{Pin: core.Pin{Client: client("192.0.2.8/32"), Backend: "web2"}, Author: "bob", Since: noon},
				{Pin: core.Pin{Client: client("10.0.0.0/8"), Backend: "web1"}},
			},
		},
		{Service: "dns", Pins: []core.PinState{{Pin: core.Pin{Client: client("10.0.0.0/8"), Backend: "ns1"}}}},
		{Service: "new", Timeout: 60, Counts: []core.SessionCount{{Family: "ipv4", Size: 10}}},
	}
	var b bytes.Buffer
	renderSessions(&b, list, noon, false)
	golden(t, "sessions.txt", b.Bytes())
}
