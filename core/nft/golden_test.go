// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"flag"
	"fmt"
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

	masq := web
	masq.Name, masq.VIP, masq.Forwarding = "masq", netip.MustParseAddr("192.0.2.11"), core.Masquerade
	masq6 := web6
	masq6.Name, masq6.Port, masq6.Forwarding = "masq6", 8443, core.Masquerade

	refuse := service("refuse", "192.0.2.20:80", core.TCP, backend("down", "198.51.100.1:80", 0))
	drop := service("silent", "192.0.2.21:80", core.TCP)
	drop.OnEmpty = core.Drop
	refuseUDP := service("refuse-udp", "192.0.2.20:53", core.UDP)
	dropUDP := service("silent-udp6", "[2001:db8::20]:53", core.UDP)
	dropUDP.OnEmpty = core.Drop

	return map[string]core.Plan{
		"nothing":    {},
		"tcp":        {Services: []core.ServicePlan{web}},
		"ipv6":       {Services: []core.ServicePlan{web6}},
		"udp":        {Services: []core.ServicePlan{dns, dns6}},
		"masquerade": {Services: []core.ServicePlan{masq, masq6, web}},
		"empty":      {Services: []core.ServicePlan{refuse, refuseUDP, drop, dropUDP}},
		"many":       manyServices(24, 18),
	}
}

// manyServices is a plan whose services differ in all that a service can. Its
// keys differ in each byte, for the order of the listing.
func manyServices(n, backends int) core.Plan {
	var p core.Plan
	for i := range n {
		s := core.ServicePlan{
			Name:       fmt.Sprintf("s%04d", i),
			VIP:        netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(3 * i), byte(7*i + 1)}),
			Port:       uint16(1 + i*977%65535),
			Protocol:   []core.Protocol{core.TCP, core.UDP}[i%2],
			Forwarding: []core.Forwarding{core.DNAT, core.Masquerade}[i/2%2],
			OnEmpty:    []core.OnEmpty{core.Reject, core.Drop}[i/4%2],
		}
		v6 := i%3 == 2
		if v6 {
			s.VIP = netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 12: byte(i >> 8), 13: byte(5 * i), 15: byte(i)})
		}
		for j := range backends {
			b := core.BackendPlan{Name: fmt.Sprintf("b%03d", j), Slots: core.Slots / uint32(backends)}
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
			if out, err := exec.Command("nft", "-c", "-f", file).CombinedOutput(); err != nil {
				t.Errorf("nft -c -f %s: %v\n%s", file, err, out)
			}
			a := open(t, Config{Unowned: true})
			mustSync(t, a, plan)
			if diff := cmp.Diff(string(want), listTable(t)); diff != "" {
				t.Errorf("nft list table (-%s +kernel):\n%s", file, diff)
			}
		})
	}
}
