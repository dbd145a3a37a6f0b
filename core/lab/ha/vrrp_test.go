// SPDX-License-Identifier: Apache-2.0

package ha

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/steelyard-lb/steelyard/core/lab/labtest"
)

// vrrp gives the VIP and the servers' gateway to keepalived.
func (s *stand) vrrp() {
	s.t.Helper()
	s.ip(s.router, "route add %s/%d dev backends", s.vip, s.bits)
	for _, n := range s.servers {
		s.ip(n, "route replace default via %s", s.gateway)
	}
	for _, b := range s.balancers {
		b.keepalived()
	}
	s.until("one balancer has the VIP", func() error {
		if s.balancers[0].has(s.vip) == s.balancers[1].has(s.vip) {
			return errors.New("both or none have it")
		}
		return nil
	})
	s.serves()
}

// keepalived runs with the files of packaging/.
func (b *balancer) keepalived() {
	s := b.s
	s.t.Helper()
	for _, name := range []string{"check-steelyard", "sync-connections"} {
		b.write(name, s.packaged("keepalived/"+name), 0o755)
	}
	oldnew := append([]string{"/etc/keepalived/", b.dir + "/", "/run/steelyard-standby", b.path("standby"), "127.0.0.1:9190", s.ready}, s.family.keepalived...)
	conf := s.packaged("keepalived/keepalived.conf", oldnew...)
	if !long {
		// Beside other tests a process may wait for its turn for longer than three of the
		// real ones, and then the VIP moves although nobody is gone; and a restart may take
		// longer than five looks.
		conf = strings.NewReplacer("advert_int 0.2", "advert_int 0.5", "fall 5", "fall 10").Replace(conf)
	}
	b.write("keepalived.conf", conf, 0o644)
	b.start("keepalived", "--vrrp", "--dont-fork", "--log-console", "--log-detail", "--config-id", b.name,
		"-f", b.path("keepalived.conf"), "-p", b.path("keepalived.pid"), "-r", b.path("vrrp.pid"))
}

// holder is the balancer that has the VIP, and other the one that has not.
func (s *stand) holder() (holder, other *balancer) {
	s.t.Helper()
	s.until("one balancer has the VIP", func() error {
		one, two := s.balancers[0], s.balancers[1]
		switch a, b := one.has(s.vip), two.has(s.vip); {
		case a == b:
			return fmt.Errorf("lb1 has it: %t, lb2: %t", a, b)
		case a:
			holder, other = one, two
		default:
			holder, other = two, one
		}
		return nil
	})
	return holder, other
}

// moved waits until the VIP is where it has to be.
func (s *stand) moved(to *balancer) {
	s.t.Helper()
	s.until("the VIP is at "+to.name, func() error {
		if !to.has(s.vip) {
			return errors.New("it is not")
		}
		return nil
	})
	s.serves()
}

// A setup is what a trial is made with.
type setup struct {
	name  string
	words string // keys of the service
	loose string // net.netfilter.nf_conntrack_tcp_loose
	sync  string // DisableExternalCache of conntrackd; empty for no conntrackd
	drop  bool   // steelyard-ha.nft is loaded
	open  int    // connections that are open
}

// recommended is what docs/ha.md advises.
var recommended = setup{"recommended", "distribution: random", "0", "no", true, 100}

// cluster is two balancers with a VIP between them, and traffic.
func cluster(t *testing.T, of setup, addresses family) (*stand, *traffic) {
	t.Helper()
	labtest.NeedPrograms(t, "keepalived", "conntrackd")
	s := newStand(t, addresses)
	for _, b := range s.balancers {
		if s.bits == 128 {
			b.linkLocalRouter()
		}
		s.must(b.node.Sysctl("net.netfilter.nf_conntrack_tcp_loose", of.loose))
		if of.drop {
			b.write("ha.nft", s.packaged("keepalived/steelyard-ha.nft"), 0o644)
			_, err := b.node.Command(t.Context(), "nft", "-f", b.path("ha.nft"))
			s.must(err)
		}
		b.balance(of.words)
		if of.sync != "" {
			b.conntrackd(of.sync)
		}
	}
	s.vrrp()
	f := s.traffic(of.open)
	f.more(50)
	return s, f
}

// survived checks what is promised of a change: nobody was refused, and the open
// connections live.
func (s *stand) survived(what string, a account) {
	s.t.Helper()
	s.t.Logf("%s: %s", what, a)
	if a.refused > 0 || a.cut > 0 || a.survived < a.open {
		s.t.Errorf("%s: want none refused or cut, and all open ones alive: %s", what, a)
	}
}

// TestDaemonDies: a restart moves nothing and costs nothing. A daemon that stays away
// hands the addresses over; if that happens on both machines, one kernel serves on.
func TestDaemonDies(t *testing.T) {
	t.Parallel()
	s, f := cluster(t, recommended, ip4)
	holder, other := s.holder()
	holder.crash()
	holder.run()
	f.more(50)
	if !holder.has(s.vip) {
		t.Error("a restart of the daemon moved the VIP")
	}
	a := f.close()
	s.survived("the daemon is killed and restarted", a)
	if a.unheard > 0 {
		t.Errorf("a restart of the daemon cost %d connections", a.unheard)
	}

	f = s.traffic(100)
	holder.crash()
	s.moved(other)
	f.more(50)
	s.survived("the daemon stays away", f.close())

	f = s.traffic(100)
	other.crash()
	s.until("both are not ready", func() error { return other.said("VRRP_Script(ready) failed") })
	f.more(100)
	a = f.close()
	s.survived("neither has a daemon", a)
	if a.unheard > 0 || !other.has(s.vip) {
		t.Errorf("neither has a daemon: the VIP moved, or was away: %s", a)
	}
}

// TestMachineGoes hands the addresses over and back, and then the machine that has them
// dies: the other takes them, with all connections.
func TestMachineGoes(t *testing.T) {
	t.Parallel()
	s, f := cluster(t, recommended, ip4)
	holder, other := s.holder()
	holder.standby("1")
	s.moved(other)
	f.more(50)
	s.survived("a planned switch", f.close())

	holder.standby("0")
	f = s.traffic(100)
	f.more(100)
	if !other.has(s.vip) {
		t.Error("the VIP went back by itself")
	}
	other.standby("1")
	s.moved(holder)
	f.more(50)
	other.standby("0")
	s.survived("and back", f.close())

	f = s.traffic(100)
	holder.die()
	s.moved(other)
	f.more(50)
	s.survived("the machine dies", f.close())
}

// TestMovesIPv6: what is promised of IPv4, of addresses that move beside those of IPv4
// and of an instance that has none.
func TestMovesIPv6(t *testing.T) {
	t.Run("beside IPv4", func(t *testing.T) {
		t.Parallel()
		s, f := cluster(t, recommended, ip6(
			"# virtual_ipaddress_excluded {", "virtual_ipaddress_excluded {",
			"# \t2001:db8:3::10/128 dev eth0", "2001:db8:3::10/128 dev eth0",
			"# \t2001:db8:2::254/128 dev eth0\n\t# }", "2001:db8:2::254/128 dev eth0\n\t}"))
		holder, other := s.holder()
		holder.keepsSource()
		holder.die()
		s.moved(other)
		f.more(50)
		s.survived("the machine dies", f.close())
	})
	t.Run("alone", func(t *testing.T) {
		t.Parallel()
		s, f := cluster(t, recommended, ip6(
			"198.51.100.12", "2001:db8:2::c",
			"198.51.100.13", "2001:db8:2::d",
			"203.0.113.10/32", "2001:db8:3::10/128",
			"198.51.100.254/24", "2001:db8:2::254/128"))
		holder, other := s.holder()
		holder.keepsSource()
		holder.standby("1")
		s.moved(other)
		f.more(50)
		s.survived("a planned switch", f.close())
	})
}

// linkLocalRouter has the balancer go by the router's link-local address, as one does
// that heard of it by a router advertisement: only then does it redirect backends to it.
func (b *balancer) linkLocalRouter() {
	s := b.s
	s.t.Helper()
	b.write("redirects.nft", s.packaged("keepalived/steelyard-redirects.nft"), 0o644)
	_, err := b.node.Command(s.t.Context(), "nft", "-f", b.path("redirects.nft"))
	s.must(err)
	out, err := s.router.Command(s.t.Context(), "ip", "-6", "-brief", "addr", "show", "dev", "backends", "scope", "link")
	s.must(err)
	fields := strings.Fields(string(out)) // backends UP fe80::1/64
	if len(fields) < 3 {
		s.t.Fatalf("the router has no link-local address: %s", out)
	}
	router, _, _ := strings.Cut(fields[2], "/")
	s.ip(b.node, "-6 route replace default via %s dev eth0", router)
}

// keepsSource checks that addresses which came do not become the source of what the
// machine itself sends.
func (b *balancer) keepsSource() {
	b.s.t.Helper()
	out, err := b.node.Command(b.s.t.Context(), "ip", "-6", "route", "get", b.s.servers[0].Addr6.String())
	b.s.must(err)
	if !strings.Contains(string(out), " src "+b.node.Addr6.String()+" ") {
		b.s.t.Errorf("%s has the VIP, and would ask a server from another address than its own: %s", b.name, out)
	}
}

// standby says whether a machine shall leave the VIP to the other.
func (b *balancer) standby(on string) {
	b.s.t.Helper()
	b.s.must(os.WriteFile(b.path("standby"), []byte(on+"\n"), 0o644))
}

// TestSoakSetups is the table of docs/ha.md: what becomes of open connections when
// a machine dies, by what is set up.
func TestSoakSetups(t *testing.T) {
	if !long {
		t.Skip("run it with `make soak`")
	}
	for _, of := range []setup{
		{"random", "distribution: random", "1", "", false, 100},
		{"random, not loose", "distribution: random", "0", "", false, 100},
		{"hash", "distribution: hash, hash: source_port", "1", "", false, 100},
		{"hash, not loose", "distribution: hash, hash: source_port", "0", "", false, 100},
		{"conntrackd", "distribution: random", "1", "no", false, 100},
		{"conntrackd, not loose", "distribution: random", "0", "no", false, 100},
		{"conntrackd without its cache", "distribution: random", "1", "yes", false, 100},
		{"conntrackd without its cache, dropping", "distribution: random", "0", "yes", true, 100},
		recommended,
		{"recommended, 2,000 open", "distribution: random", "0", "no", true, 2000},
	} {
		t.Run(of.name, func(t *testing.T) {
			s, f := cluster(t, of, ip4)
			holder, other := s.holder()
			holder.die()
			s.moved(other)
			f.more(50)
			t.Logf("the machine dies: %s", f.close())
		})
		t.Run(of.name+", planned", func(t *testing.T) {
			s, f := cluster(t, of, ip4)
			holder, other := s.holder()
			holder.standby("1")
			s.moved(other)
			f.more(50)
			t.Logf("a planned switch: %s", f.close())
		})
	}
}
