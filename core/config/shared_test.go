// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"net/netip"
)

const node = "node: lb7\ncluster: {group: edge, definitions: bus}\n" + servers

// TestLayers over the files and under the environment, with their origin.
func TestPushedLayer(t *testing.T) {
	disk := files{"/etc/s.yaml": node + web, "/etc/conf.d/a.yaml": "services: {web: {backends: {web1: {weight: 10}}}}",
		"/srv/7/definitions.yaml": "services:\n  web:\n    backends:\n      web1: {weight: 20}\n      web3: {address: 10.0.0.13}\n"}
	o := disk.options()
	o.Layers = []string{"/srv/7/definitions.yaml"}
	cfg := mustLoad(t, o)
	if b := cfg.Services[0].Backends; len(b) != 3 || b[0].Weight != 20 {
		t.Errorf("backends %+v, want three, the first with weight 20", b)
	}
	if !strings.Contains(string(cfg.YAML(true)), "weight: 20  # /srv/7/definitions.yaml:4") {
		t.Errorf("the origin is not shown:\n%s", cfg.YAML(true))
	}
	o.Env = []string{"STEELYARD_SERVICES__WEB__BACKENDS__WEB1__WEIGHT=30"}
	if w := mustLoad(t, o).Services[0].Backends[0].Weight; w != 30 {
		t.Errorf("weight %d, want that of the environment", w)
	}
}

// A node that waits for its definitions is no mistake, nor is a file of comments.
func TestNodeWithoutDefinitions(t *testing.T) {
	if w := mustLoad(t, files{"/etc/s.yaml": node}.options()).Warnings; len(w) > 0 {
		t.Errorf("warned: %v", w)
	}
}

// Who can push must not get at what is of each node.
func TestPushedLayerIsBounded(t *testing.T) {
	disk := files{"/etc/s.yaml": node + web, "/l.yaml": `
node: other
state_dir: /tmp
bus: {login: {user: x, password: hunter2}}
kernel: {hash_seed: 7, local_clients: true}
probing: {suspect_min: 4, concurrency: {exec: 1000}}
webhooks: {a: {url: https://evil.example.org/}}
servces: {}
`}
	o := disk.options()
	o.Layers = []string{"/l.yaml"}
	_, err := Load(o)
	var got []string
	for _, line := range strings.Split(fmt.Sprint(err), "\n") {
		place, rest, _ := strings.Cut(line, " ")
		got = append(got, place+" "+strings.Split(rest, ", and")[0])
	}
	want := []string{"/l.yaml:2:1: node is of each node", "/l.yaml:3:1: state_dir is of each node", "/l.yaml:4:1: bus is of each node",
		"/l.yaml:5:24: kernel.local_clients is of each node", "/l.yaml:6:27: probing.concurrency is of each node", "/l.yaml:7:1: webhooks is of each node",
		`/l.yaml:8:1: unknown key "servces" (did you mean "services"?)`}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s\n%v", d, err)
	}
}

// everythingShared has one of all that can be pushed, and what cannot.
const everythingShared = node + `
state_dir: /srv/state
kernel: {hash_seed: 9, local_clients: true}
probing: {suspect_min: 4, concurrency: {exec: 4}}
maintenance: {nightly: {backends: [web/web1], days: [sat], from: "22:00", to: "23:00"}}
policies:
  mine: {path: p/mine.wasm}
  own: {lua: "function schedule(s)\n  return s.weight -- \u00fc\nend\n"}
probes:
  alive: {type: http, headers: {X-Key: hunter2}, path: /healthz}
  cpu: {type: snmp_cpu, community: hunter2}
  cpu3: {type: snmp_cpu, community_file: community}
services:
  web:
    vip: [192.0.2.10, "2001:db8::10"]
    port: [80, 8000-8999]
    policy: mine
    shadow: own
    deny_file: deny.list
    pins: {10.1.0.0/16: web1}
    params: {alpha: 0.3}
    probes: [alive, cpu, cpu3]
    shaping: {panic: 0.5, hold: 90s}
    backends:
      web1: {address: [10.0.0.11, "2001:db8:1::11"], port: 80, weight: 0}
`

func TestSharedLoadsAgain(t *testing.T) {
	const wasm = "\x00asm...."
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte(wasm)))
	disk := files{"/etc/s.yaml": everythingShared, "/etc/p/mine.wasm": wasm, "/etc/community": "c\n", "/etc/deny.list": "192.0.2.7\n"}
	first := mustLoad(t, disk.with(func(o *Options) { o.KeepShared = true }))
	s := first.Shared
	golden(t, "shared.yaml", s.Shown)
	if d := cmp.Diff(map[string]string{sum: "/etc/p/mine.wasm"}, s.Files); d != "" {
		t.Errorf("files (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{"probes.alive.headers.X-Key", "probes.cpu.community"}, s.Secrets); d != "" {
		t.Errorf("secrets (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{"probes.cpu3.community_file", "services.web.deny_file"}, s.Local); d != "" {
		t.Errorf("local files (-want +got):\n%s", d)
	}
	if shown, err := ShowShared("revision 7", s.YAML); err != nil || string(shown) != string(s.Shown) {
		t.Errorf("shown, %v:\n%s", err, shown)
	}
	disk["/etc/s.yaml"], disk["/d/definitions.yaml"], disk["/d/files/"+sum] = node, string(s.YAML), wasm
	again := mustLoad(t, disk.with(func(o *Options) { o.Layers, o.KeepShared = []string{"/d/definitions.yaml"}, true }))
	a, b := *first, *again
	a.Policies[0].Path, a.Policies[0].SHA256 = "/d/files/"+sum, sum
	if d := cmp.Diff(a, b, cmpopts.IgnoreUnexported(Config{}), cmpopts.IgnoreFields(Config{}, "Shared", "Files", "Warnings", "Hash", "StateDir", "Kernel", "Probing"), cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{}, netip.Prefix{})); d != "" {
		t.Errorf("what was pushed is something else (-want +got):\n%s", d)
	}
	if again.Hash == first.Hash || again.GroupHash != first.GroupHash {
		t.Errorf("hashes %.8s and %.8s, of the group %.8s and %.8s; want the first two to differ, and the others not", first.Hash, again.Hash, first.GroupHash, again.GroupHash)
	}
	if again.Kernel.HashSeed != 9 || again.Kernel.LocalClients || again.Probing.SuspectMin != 4 || again.Probing.Concurrency != nil {
		t.Errorf("kernel %+v, probing %+v", again.Kernel, again.Probing)
	}
	if d := cmp.Diff(string(s.YAML), string(again.Shared.YAML)); d != "" {
		t.Errorf("pushed again it is something else (-first +again):\n%s", d)
	}
}

// FuzzShared: what may be pushed loads as a layer, and comes to the same services.
func FuzzShared(f *testing.F) {
	for _, s := range []string{web, everything, everythingShared, "probes: {a: {type: tcp, send: \"\\x01\\u2028'\"}}", "policies: {a: {lua: \"'\\\"\\\\ #\"}}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		o := elsewhere(files{"/etc/s.yaml": text})
		o.KeepShared = true
		cfg, err := Load(o)
		if err != nil || len(cfg.Shared.Files)+len(cfg.Shared.Local) > 0 {
			return
		}
		o = elsewhere(files{"/etc/s.yaml": "node: a\ncluster: {definitions_exec: allow}", "/l.yaml": string(cfg.Shared.YAML)})
		o.KeepShared, o.Layers = true, []string{"/l.yaml"}
		again, err := Load(o)
		if err != nil {
			t.Fatalf("%v\nof\n%s", err, cfg.Shared.YAML)
		}
		if shown, err := ShowShared("x", cfg.Shared.YAML); err != nil || !bytes.Equal(shown, cfg.Shared.Shown) {
			t.Fatalf("%v\n%s", err, shown)
		}
		if string(again.Shared.YAML) != string(cfg.Shared.YAML) {
			t.Fatalf("once\n%s\ntwice\n%s", cfg.Shared.YAML, again.Shared.YAML)
		}
	})
}
