// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"flag"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/steelyard-lb/steelyard/core"
)

var update = flag.Bool("update", false, "rewrite testdata/*.nft from Render")

// goldens are the plans behind testdata/*.nft, by file name.
func goldens() map[string]core.Plan {
	web := service("web", "192.0.2.10:80", core.TCP,
		backend("web1", "198.51.100.1:8080", 43690),
		backend("web2", "198.51.100.2:8080", 21845),
		backend("web3", "198.51.100.3:8080", 1))
	web6 := service("web6", "[2001:db8::10]:443", core.TCP,
		backend("a", "[2001:db8:1::1]:8443", 32768),
		backend("b", "[2001:db8:1::2]:8443", 32768))
	dns := service("dns", "192.0.2.10:53", core.UDP,
		backend("ns1", "198.51.100.53:5353", 65536),
		backend("ns2", "198.51.100.54:5353", 0))
	dns6 := service("dns6", "[2001:db8::10]:53", core.UDP, backend("ns1", "[2001:db8:1::53]:53", 65536))

	masq := forwarding(with(web, at("192.0.2.11:80")), core.Masquerade)
	masq.Name = "masq"
	masq6 := forwarding(with(web6, at("[2001:db8::10]:8443")), core.Masquerade)
	masq6.Name = "masq6"

	refuse := service("refuse", "192.0.2.20:80", core.TCP, backend("down", "198.51.100.1:80", 0))
	drop := service("silent", "192.0.2.21:80", core.TCP)
	drop = with(drop, func(t *core.Traffic) { t.OnEmpty = core.Drop })
	refuseUDP := service("refuse-udp", "192.0.2.20:53", core.UDP)
	dropUDP := service("silent-udp6", "[2001:db8::20]:53", core.UDP)
	dropUDP = with(dropUDP, func(t *core.Traffic) { t.OnEmpty = core.Drop })

	plans := map[string]core.Plan{
		"nothing":    {},
		"tcp":        {Services: []core.ServicePlan{web}},
		"ipv6":       {Services: []core.ServicePlan{web6}},
		"udp":        {Services: []core.ServicePlan{dns, dns6}},
		"masquerade": {Services: []core.ServicePlan{masq, masq6, web}},
		"empty":      {Services: []core.ServicePlan{refuse, refuseUDP, drop, dropUDP}},
		"many":       func() core.Plan { p := manyServices(24, 18); p.LocalClients = true; return p }(),
	}
	maps.Copy(plans, forwardGoldens())
	maps.Copy(plans, persistGoldens())
	maps.Copy(plans, distributeGoldens())
	maps.Copy(plans, filterGoldens())
	maps.Copy(plans, packetGoldens())
	maps.Copy(plans, linkGoldens())
	return plans
}

// manyServices is a plan whose services differ in all that a service can. Its
// keys differ in each byte, for the order of the listing.
func manyServices(n, backends int) core.Plan {
	var p core.Plan
	for i := range n {
		vip := netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(3 * i), byte(7*i + 1)})
		v6 := i%3 == 2
		if v6 {
			vip = netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 12: byte(i >> 8), 13: byte(5 * i), 15: byte(i)})
		}
		t := core.Simple(netip.AddrPortFrom(vip, uint16(1+i*977%65535)), []core.Protocol{core.TCP, core.UDP}[i%2])
		t.Forwarding = []core.Forwarding{core.DNAT, core.Masquerade}[i/2%2]
		t.OnEmpty = []core.OnEmpty{core.Reject, core.Drop}[i/4%2]
		s := core.ServicePlan{Name: fmt.Sprintf("s%04d", i), Traffic: &t}
		for j := range backends {
			b := core.BackendPlan{Name: fmt.Sprintf("b%03d", j), Slots: core.Slots / uint32(backends), Alive: true, Forwarding: t.Forwarding}
			if j == 0 {
				b.Slots += core.Slots % uint32(backends)
			}
			addr := netip.AddrFrom4([4]byte{10, 128 + byte(i>>8), byte(i), byte(j + 1)})
			if v6 {
				addr = netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0, 1, 13: byte(i >> 8), 14: byte(i), 15: byte(j + 1)})
			}
			b.Addr = netip.AddrPortFrom(addr, uint16(80+300*j))
			s.Backends = append(s.Backends, b)
		}
		p.Services = append(p.Services, s)
	}
	return p
}

// unreadable are the listings that nft 1.0.6 prints but cannot read: it runs out
// of registers for an IPv6 address and a port in `update`.
var unreadable = map[string]bool{"persistence6": true}

// TestGolden holds the text against Render, nft and the kernel: each file is
// what Render writes, what `nft -c -f` accepts, and what nft prints after Sync
// built it over netlink. The files are therefore never our opinion of the
// syntax.
func TestGolden(t *testing.T) {
	for name, plan := range goldens() {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join("testdata", name+".nft")
			if *update {
				if err := os.WriteFile(file, []byte(Render(plan)), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), Render(plan)); diff != "" {
				t.Errorf("Render (-%s +Render):\n%s", file, diff)
			}

			newNetns(t)
			needAllOf(t, plan)
			checked, checkErr := exec.Command("nft", "-c", "-f", file).CombinedOutput()
			a := open(t, Config{Unowned: true})
			mustSync(t, a, plan)
			if diff := cmp.Diff(string(want), listTable(t)); diff != "" {
				t.Errorf("nft list table (-%s +kernel):\n%s", file, diff)
			}
			needSend(t, checked)
			if checkErr != nil && !unreadable[name] {
				t.Errorf("nft -c -f %s: %v\n%s", file, checkErr, checked)
			}
		})
	}
}

// TestAdoptGolden takes over what each plan makes of the table: the kernel tells
// it back as other bytes than we wrote, and nothing of it may be written anew.
func TestAdoptGolden(t *testing.T) {
	for name, plan := range goldens() {
		t.Run(name, func(t *testing.T) {
			newNetns(t)
			a := open(t, Config{})
			mustSync(t, a, plan)
			rules := ruleHandles(t)
			if err := a.Close(); err != nil {
				t.Fatal(err)
			}
			b := open(t, Config{Unowned: !a.owned})
			got := inKernel(t, b)
			if len(got.Services) != len(plan.Services) {
				t.Errorf("adopted %d services: want %d", len(got.Services), len(plan.Services))
			}
			before, err := b.w.generation()
			if err != nil {
				t.Fatal(err)
			}
			if c := mustSync(t, b, plan); c.Changed != 0 || c.Generation != before {
				t.Errorf("the same plan again: %+v after generation %d", c, before)
			}
			if after := ruleHandles(t); after != rules {
				t.Errorf("rules were written anew:\n%s", cmp.Diff(rules, after))
			}
		})
	}
}
