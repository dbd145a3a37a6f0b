// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/core/lab/kernellab"
)

func TestParseJob(t *testing.T) {
	j, err := parseJob("console=ttyS0 quiet lab.do=count lab.services=1,1000 lab.reps=3 lab.short=true lab.run=TestGolden lab.only=IPVS|static\n")
	if err != nil {
		t.Fatal(err)
	}
	if j.do != "count" || j.reps != 3 || !j.short || j.run != "TestGolden" || !cmp.Equal(j.services, []int{1, 1000}) || !j.only.MatchString("IPVS NAT rr at 1, new") {
		t.Errorf("got %+v", j)
	}
	for _, bad := range []string{"lab.services=1,x", "lab.services=0", "lab.services=99999", "lab.reps=0", "lab.only=("} {
		if _, err := parseJob(bad); err == nil {
			t.Errorf("%s is no error", bad)
		}
	}
}

func TestTestParser(t *testing.T) {
	var p testParser
	var got []kernellab.Result
	for line := range strings.Lines(`=== RUN   TestA
--- PASS: TestA (0.00s)
=== RUN   TestB
=== RUN   TestB/sub
    b_test.go:7: why
--- FAIL: TestB (1.00s)
    --- FAIL: TestB/sub (0.50s)
=== RUN   TestC
    c_test.go:8: no such thing here
--- SKIP: TestC (0.00s)
FAIL
`) {
		if res, ok := p.line(strings.TrimSuffix(line, "\n")); ok {
			got = append(got, res)
		}
	}
	want := []kernellab.Result{
		{Test: "TestA", Outcome: "PASS"},
		{Test: "TestB", Outcome: "FAIL", Output: "=== RUN   TestB\n=== RUN   TestB/sub\n    b_test.go:7: why\n"},
		{Test: "TestC", Outcome: "SKIP", Output: "=== RUN   TestC\n    c_test.go:8: no such thing here\n"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestFrame(t *testing.T) {
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	f := flow{netip.MustParseAddrPort("10.16.0.3:9999"), netip.MustParseAddrPort("10.2.1.0:80")}
	b := frame(mac, mac, f)
	got, err := parseFrame(b)
	if err != nil || got != f {
		t.Fatalf("got %v, %v, want %v", got, err, f)
	}
	if c := sum(0, b[ethLen:ethLen+ipLen]); c != 0xffff {
		t.Errorf("the IP header sums up to %#x, want 0xffff", c)
	}
	udp := b[ethLen+ipLen:]
	if c := sum(17+uint32(len(udp)), append(append([]byte(nil), b[ethLen+12:ethLen+20]...), udp...)); c != 0xffff {
		t.Errorf("the UDP packet sums up to %#x, want 0xffff", c)
	}
	for n := range ethLen + ipLen + udpLen {
		if _, err := parseFrame(b[:n]); err == nil {
			t.Errorf("a frame of %d bytes is no error", n)
		}
	}
}

// New connections must all differ, in a run and from those of the run before,
// and be spread over all services, or over a sample of them.
func TestNewFlows(t *testing.T) {
	for _, services := range []int{1, 1000, 10000} {
		seen := map[flow]bool{}
		vips := map[netip.Addr]int{}
		m := &meter{c: &benchCase{}, services: services}
		for m.runs = range 3 {
			for i := range maxPackets {
				f := m.newFlow(i, maxPackets)
				if seen[f] || !clientNet.Masked().Contains(f.src.Addr()) {
					t.Fatalf("flow %d of run %d, %v, was there before or is no client's", i, m.runs, f)
				}
				seen[f] = true
				vips[f.dst.Addr()]++
			}
		}
		if len(vips) != min(services, maxPackets) {
			t.Errorf("%d services: flows to %d", services, len(vips))
		}
	}
	if last := vip(maxServices - 1); !vipNet.Masked().Contains(last) {
		t.Errorf("the last VIP, %s, is outside of %s", last, vipNet)
	}
}

func TestCases(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range cases() {
		if c.name == "" || seen[c.name] || c.setUp == nil || len(c.traffic) == 0 {
			t.Errorf("case %q has no name of its own, no set-up or no traffic", c.name)
		}
		seen[c.name] = true
	}
	if !seen[kernellab.Reference] {
		t.Errorf("no case %q to compare with", kernellab.Reference)
	}
}

func TestArrivesAs(t *testing.T) {
	client := netip.MustParseAddrPort("10.16.0.3:9999")
	to := func(s string) flow { return flow{client, netip.MustParseAddrPort(s)} }
	sent := to("10.2.1.0:80")
	tests := []struct {
		name string
		c    benchCase
		got  flow
		ok   bool
	}{
		{"a backend", benchCase{}, to("10.1.0.26:8080"), true},
		{"no backend", benchCase{}, to("10.1.0.27:8080"), false},
		{"another port", benchCase{}, to("10.1.0.26:80"), false},
		{"untouched though it should be", benchCase{}, sent, false},
		{"untouched as it should be", benchCase{direct: true}, sent, true},
		{"touched though it should not be", benchCase{direct: true}, to("10.1.0.26:8080"), false},
	}
	for _, tt := range tests {
		if err := tt.c.arrivesAs(sent, tt.got); (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}
