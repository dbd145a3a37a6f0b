// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/steelyard-lb/steelyard/core"
)

var comparable = cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{}, netip.Prefix{})

func ptr[T any](v T) *T { return &v }

func fronts(protocol core.Protocol, texts ...string) (out []core.Frontend) {
	for _, t := range texts {
		vip, port, _ := strings.Cut(t, " ")
		p, why, _ := prefix(vip)
		r, whyPort, _ := portRange(port)
		if why+whyPort != "" {
			panic(why + whyPort)
		}
		out = append(out, core.Frontend{VIP: p, Ports: r, Protocol: protocol})
	}
	return out
}

func prefixes(texts ...string) (out []netip.Prefix) {
	for _, t := range texts {
		out = append(out, netip.MustParsePrefix(t))
	}
	return out
}

// everything is a service with every key that tracked forwarding takes.
const everything = `
kernel: {local_clients: true, hash_seed: 7}
services:
  web:
    vip: [192.0.2.10, 198.51.100.0/24, "2001:db8::10"]
    port: [80, 8000-8999]
    protocol: [tcp, udp]
    distribution: hash
    hash: source_port
    forwarding: snat
    source: ["2001:db8::1", 192.0.2.1]
    hairpin: true
    masquerade_for: [10.0.0.0/8, 10.1.0.0/16, 192.168.0.1]
    on_empty: drop
    on_down: reset
    min_up: 2
    sorry: {address: [10.0.0.99, "2001:db8::99"]}
    persistence: {timeout: 5m, prefix4: 24, prefix6: 64, size: 1000}
    pins: {10.1.0.0/16: web1, 10.1.2.0/24: web2, "2001:db8::/32": web1, 10.9.9.9: web2}
    allow: ["::/0", 10.0.0.0/8]
    allow_file: clients
    deny: [10.66.0.0/16]
    limits:
      new_per_second: 1000
      new_burst: 50
      new_per_second_per_client: 10
      connections: 5000
      connections_per_client: 20
      resets_per_second_per_client: 3
      invalid: drop
      clients: 1024
      answer: reject
    log: {per_second: 5, prefix: "web: "}
    qos: {dscp: af41, priority: 1:20, mark: 0x10, mask: 0xf0}
    helper: sip
    offload: true
    count_bytes: true
    backends:
      web1: {address: ["2001:db8::11", 10.0.0.11], priority: 0, max_connections: 100, forwarding: dnat}
      web2: {address: 10.0.0.12, source: 192.0.2.2, qos: {dscp: 46}}
      web3: {address: 10.0.0.13, priority: 1, forwarding: masquerade}
`

func TestEverything(t *testing.T) {
	disk := files{"/etc/s.yaml": everything, "/etc/clients": "# ours\n10.2.0.0/16 # inside\n172.16.0.0/12\n\n192.0.2.1\n"}
	cfg := mustLoad(t, disk.options())
	if want := (Kernel{LocalClients: true, HashSeed: 7}); !cmp.Equal(cfg.Kernel, want, cmpopts.EquateEmpty()) {
		t.Errorf("kernel = %+v, want %+v", cfg.Kernel, want)
	}
	var all []core.Frontend
	for _, vip := range []string{"192.0.2.10", "198.51.100.0/24", "2001:db8::10"} {
		for _, port := range []string{" 80", " 8000-8999"} {
			all = append(append(all, fronts(core.TCP, vip+port)...), fronts(core.UDP, vip+port)...)
		}
	}
	want := core.Traffic{
		Frontends: all, Distribution: core.Hash, HashKey: core.BySourcePort, Seed: 7,
		Forwarding: core.SNAT, Source4: netip.MustParseAddr("192.0.2.1"), Source6: netip.MustParseAddr("2001:db8::1"),
		Hairpin: true, MasqueradeFor: prefixes("10.0.0.0/8", "192.168.0.1/32"), OnEmpty: core.Drop,
		Persistence: core.Persistence{Timeout: 5 * time.Minute, Prefix4: 24, Prefix6: 64, Size: 1000},
		Pins: []core.Pin{
			{Client: netip.MustParsePrefix("10.9.9.9/32"), Backend: "web2"},
			{Client: netip.MustParsePrefix("2001:db8::/32"), Backend: "web1"},
			{Client: netip.MustParsePrefix("10.1.2.0/24"), Backend: "web2"},
			{Client: netip.MustParsePrefix("10.1.0.0/16"), Backend: "web1"},
		},
		Allow: prefixes("10.0.0.0/8", "172.16.0.0/12", "192.0.2.1/32", "::/0"), Deny: prefixes("10.66.0.0/16"),
		Limits: core.Limits{New: core.Rate{PerSecond: 1000, Burst: 50}, NewPerClient: core.Rate{PerSecond: 10, Burst: 10},
			Open: 5000, OpenPerClient: 20, ResetsPerClient: core.Rate{PerSecond: 3, Burst: 3}, Strict: true, Clients: 1024, Answer: core.Reject},
		Log:    core.LogRule{Prefix: "web: ", PerSecond: 5},
		QoS:    core.QoS{DSCP: ptr(uint8(34)), Priority: ptr(uint32(0x10020)), Mark: 0x10, Mask: 0xf0},
		Helper: "sip", Offload: true, Bytes: true,
	}
	s := cfg.Services[0]
	if d := cmp.Diff(want, s.Traffic, comparable); d != "" {
		t.Errorf("traffic (-want +got):\n%s", d)
	}
	if s.OnDown != core.Reset || s.MinUp != 2 {
		t.Errorf("on_down, min_up = %s, %d", s.OnDown, s.MinUp)
	}
	ap := netip.MustParseAddrPort
	backends := []core.Backend{
		{Name: "sorry", Addr: ap("10.0.0.99:0"), Alt: ap("[2001:db8::99]:0"), Weight: 100, Sorry: true},
		{Name: "web1", Addr: ap("10.0.0.11:0"), Alt: ap("[2001:db8::11]:0"), Weight: 100, MaxConnections: 100, Forwarding: core.DNAT},
		{Name: "web2", Addr: ap("10.0.0.12:0"), Weight: 100, Source: netip.MustParseAddr("192.0.2.2"), QoS: core.QoS{DSCP: ptr(uint8(46))}},
		{Name: "web3", Addr: ap("10.0.0.13:0"), Weight: 100, Priority: 1, Forwarding: core.Masquerade},
	}
	if d := cmp.Diff(backends, s.Backends, comparable); d != "" {
		t.Errorf("backends (-want +got):\n%s", d)
	}
	disk["/etc/again.yaml"] = string(cfg.YAML(true))
	again := mustLoad(t, disk.with(func(o *Options) { o.Path = "/etc/again.yaml" }))
	if again.Hash != cfg.Hash {
		t.Errorf("the view loads as something else:\n%s", cfg.YAML(false))
	}
	if err := compileSchema(t).Validate(instance(t, []byte(everything))); err != nil {
		t.Error(err)
	}
}

// TestUntracked: what dsr, stateless and local have of their own.
func TestUntracked(t *testing.T) {
	load := func(text string) core.Service {
		t.Helper()
		disk := files{"/etc/s.yaml": "services:\n  web:\n    vip: [\"2001:db8::10\", 192.0.2.10]\n" + text}
		cfg := mustLoad(t, disk.options())
		if mustLoad(t, files{"/etc/s.yaml": string(cfg.YAML(false))}.options()).Hash != cfg.Hash {
			t.Errorf("the view loads as something else:\n%s", cfg.YAML(false))
		}
		return cfg.Services[0]
	}
	ap := netip.MustParseAddrPort

	s := load("    port: [80, 443]\n    forwarding: dsr\n    interfaces: [eth0, br-lan.7]\n    backends: {one: {address: [10.0.0.11, \"2001:db8::11\"]}}\n")
	want := core.Traffic{
		Frontends:    append(fronts(core.TCP, "2001:db8::10 80", "2001:db8::10 443"), fronts(core.TCP, "192.0.2.10 80", "192.0.2.10 443")...),
		Distribution: core.Hash, HashKey: core.BySourcePort, Seed: 1, Forwarding: core.DSR, OnEmpty: core.Reject,
		Interfaces: []string{"eth0", "br-lan.7"}, FlowTimeout: 10 * time.Minute,
	}
	if d := cmp.Diff(want, s.Traffic, comparable); d != "" {
		t.Errorf("dsr (-want +got):\n%s", d)
	}
	if b := s.Backends[0]; b.Addr != ap("[2001:db8::11]:0") || b.Alt != ap("10.0.0.11:0") {
		t.Errorf("dsr backend = %v, %v", b.Addr, b.Alt)
	}

	s = load("    port: 80\n    forwarding: stateless\n    interfaces: [eth0]\n    hash: source\n    flow_timeout: 30s\n    backends: {one: {address: [10.0.0.11, \"2001:db8::11\"], port: 8080}}\n")
	if s.HashKey != core.BySource || s.FlowTimeout != 30*time.Second || s.Backends[0].Addr != ap("[2001:db8::11]:8080") {
		t.Errorf("stateless = %+v", s)
	}

	s = load("    port: 1-1024\n    forwarding: local\n    backends: {one: {port: 8080}, two: {port: 8081}}\n")
	if b := s.Backends[1]; b.Addr != ap("127.0.0.1:8081") || b.Alt.IsValid() {
		t.Errorf("local backend = %v, %v", b.Addr, b.Alt)
	}
	if s.Distribution != core.Random || s.Interfaces != nil || s.FlowTimeout != 0 {
		t.Errorf("local = %+v", s.Traffic)
	}
}

// TestSwitchedOff: what stands beside a switch that is off changes nothing.
func TestSwitchedOff(t *testing.T) {
	disk := files{"/etc/s.yaml": web + `
    persistence: {prefix4: 24, size: 7}
    limits: {clients: 7, answer: reject}
    log: {prefix: x}
`}
	if d := cmp.Diff(simple("192.0.2.10:80"), mustLoad(t, disk.options()).Services[0].Traffic, comparable); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestSwitchedOn: a limit or persistence alone brings its defaults with it.
func TestSwitchedOn(t *testing.T) {
	want := simple("192.0.2.10:80")
	want.Persistence = core.Persistence{Timeout: time.Minute, Prefix4: 32, Prefix6: 128, Size: 65536}
	want.Limits = core.Limits{NewPerClient: core.Rate{PerSecond: 5, Burst: 5}, Clients: 65536, Answer: core.Drop}
	disk := files{"/etc/s.yaml": web + "    persistence: {timeout: 1m}\n    limits: {new_per_second_per_client: 5}\n"}
	if d := cmp.Diff(want, mustLoad(t, disk.options()).Services[0].Traffic, comparable); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestTrafficFromTheEnvironment(t *testing.T) {
	o := files{"/etc/s.yaml": web}.with(func(o *Options) {
		o.Env = []string{
			"STEELYARD_SERVICES__WEB__PORT=80,8000-8999", "STEELYARD_SERVICES__WEB__PROTOCOL=udp", "STEELYARD_SERVICES__WEB__LIMITS__CONNECTIONS=9",
			"STEELYARD_SERVICES__WEB__QOS__DSCP=ef", "STEELYARD_KERNEL__HASH_SEED=4294967295", "STEELYARD_SERVICES__WEB__BACKENDS__WEB1__PORT=8080",
		}
		o.Flags = map[string]string{"services.web.pins.10.1.0.0/16": "web1", "services.web.pins.2001:db8::/32": "web9"}
	})
	_, err := Load(o)
	if want := `flag services.web.pins.2001:db8::/32: unknown backend "web9" (did you mean "web1"?)`; err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	delete(o.Flags, "services.web.pins.2001:db8::/32")
	s := mustLoad(t, o).Services[0]
	got := []any{s.Frontends, s.Limits.Open, *s.QoS.DSCP, s.Pins, s.Seed}
	want := []any{fronts(core.UDP, "192.0.2.10 80", "192.0.2.10 8000-8999"), uint32(9), uint8(46),
		[]core.Pin{{Client: netip.MustParsePrefix("10.1.0.0/16"), Backend: "web1"}}, uint32(4294967295)}
	if d := cmp.Diff(want, got, comparable); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestCodePoints holds the names against RFC 2474, 2597 and 3246.
func TestCodePoints(t *testing.T) {
	for name, want := range map[string]uint8{"0": 0, "63": 63, "be": 0, "le": 1, "cs0": 0, "cs1": 8, "cs5": 40, "cs7": 56, "af11": 10, "af23": 22, "af41": 34, "ef": 46, "va": 44} {
		if !dscpPattern.MatchString(name) || dscp(name) != want {
			t.Errorf("dscp %s = %d, want %d", name, dscp(name), want)
		}
	}
}

// TestOverlaps holds the index against the comparison of every pair.
func TestOverlaps(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		var text strings.Builder
		text.WriteString("services:\n")
		var all []core.Frontend
		want := false
		for i := range 6 {
			bits := []int{32, 32, 31, 30, 28}[rnd.IntN(5)]
			vip := netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(rnd.IntN(16))}), bits).Masked()
			ports := core.OnePort(uint16(1 + rnd.IntN(20)))
			if rnd.IntN(2) == 0 {
				ports.Last += uint16(rnd.IntN(5))
			}
			f := core.Frontend{VIP: vip, Ports: ports, Protocol: core.TCP}
			for _, o := range all {
				want = want || f.Overlaps(o) && (f.Exact() == o.Exact())
			}
			all = append(all, f)
			fmt.Fprintf(&text, "  s%d: {vip: %s, port: \"%s\", backends: {a: {address: 10.0.0.1}}}\n", i, vip, ports)
		}
		if _, err := Load(files{"/etc/s.yaml": text.String()}.options()); (err != nil) != want {
			t.Fatalf("Load = %v, want an overlap: %t\n%s", err, want, text.String())
		}
	}
}
