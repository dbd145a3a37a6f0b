// SPDX-License-Identifier: Apache-2.0

package ha

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/steelyard-lb/steelyard/core/lab/labtest"
)

// bird runs with a file of packaging/ in a node, as one of the balancers or the
// router. It returns birdc with its options.
func (s *stand) bird(start func(string, ...string), path func(string) string, text string) string {
	s.t.Helper()
	s.must(os.WriteFile(path("bird.conf"), []byte(strings.Replace(text, "log syslog all", "log stderr all", 1)), 0o644))
	start("bird", "-f", "-c", path("bird.conf"), "-s", path("bird.ctl"), "-P", path("bird.pid"))
	return "birdc -s " + path("bird.ctl")
}

// bgp has the balancers announce the VIP to the router, which spreads over them.
func (s *stand) bgp() {
	s.t.Helper()
	s.must(s.router.Sysctl("net.ipv4.fib_multipath_hash_policy", "1"))
	router := &balancer{s: s, name: "router", node: s.router, dir: s.dir, log: &labtest.Log{}, processes: s.others}
	s.bird(func(p string, args ...string) { router.start(p, args...) }, router.path, s.packaged("bird/bird-router.conf"))
	for _, b := range s.balancers {
		text := s.packaged("bird/bird-balancer.conf", "ME = 198.51.100.12", "ME = "+b.node.Addr4.String())
		birdc := s.bird(func(p string, args ...string) { b.start(p, args...) }, b.path, text)
		b.write("check-steelyard", s.packaged("keepalived/check-steelyard"), 0o755)
		b.write("announce-steelyard", s.packaged("bird/announce-steelyard"), 0o755)
		b.standby("0") // as keepalived leaves it
		check := b.path("check-steelyard") + " " + s.ready
		b.start("env", "CHECK="+check, "BIRDC="+birdc, "STANDBY="+b.path("standby"), "FALL=3", b.path("announce-steelyard"))
	}
	s.spread(s.balancers...)
	s.serves()
}

// The lines for IPv6, which are comments, are good when they are none. What they do is the
// same as the others.
func TestBirdReadsIPv6(t *testing.T) {
	t.Parallel()
	labtest.NeedPrograms(t, "bird")
	s := &stand{t: t}
	comment := regexp.MustCompile(`(?m)^#(\S|\t)`)
	for _, name := range []string{"bird-balancer.conf", "bird-router.conf"} {
		path := filepath.Join(t.TempDir(), name)
		text := comment.ReplaceAllString(s.packaged("bird/"+name), "$1")
		if !strings.Contains(text, "\n\tipv6 {") {
			t.Fatalf("packaging/bird/%s has no IPv6", name)
		}
		s.must(os.WriteFile(path, []byte(text), 0o644))
		if out, err := exec.CommandContext(t.Context(), "bird", "-p", "-c", path).CombinedOutput(); err != nil {
			t.Errorf("bird -p of packaging/bird/%s: %v: %s", name, err, out)
		}
	}
}

// spread waits until the router's route to the VIP has these balancers as its next
// hops, and no others.
func (s *stand) spread(over ...*balancer) {
	s.t.Helper()
	s.until("the router spreads over the balancers that it should", func() error {
		out, err := s.router.Command(s.t.Context(), "ip", "route", "show", s.vip)
		if err != nil {
			return err
		}
		if got := strings.Count(string(out), "via "); got != len(over) {
			return fmt.Errorf("%d next hops, want %d: %s", got, len(over), out)
		}
		for _, b := range over {
			if !strings.Contains(string(out), "via "+b.node.Addr4.String()+" ") {
				return fmt.Errorf("none is %s: %s", b.name, out)
			}
		}
		return nil
	})
}

// dsr gives the servers the VIP, for their own answers.
func (s *stand) dsr() {
	s.t.Helper()
	for _, n := range s.servers {
		s.must(n.Sysctl("net.ipv4.conf.all.arp_ignore", "1"))
		s.must(n.Sysctl("net.ipv4.conf.all.arp_announce", "2"))
		s.ip(n, "addr add %s/%d dev lo", s.vip, s.bits)
	}
}

// active is balancers that all have traffic, by BGP.
func active(t *testing.T, words string) (*stand, *traffic) {
	t.Helper()
	labtest.NeedPrograms(t, "bird", "birdc")
	s := newStand(t, ip4)
	s.dsr()
	for _, b := range s.balancers {
		b.balance(words)
	}
	s.bgp()
	f := s.traffic(100)
	f.more(50)
	return s, f
}

// TestRouteByHealth: with the same hash on each balancer and no state, whichever a
// packet comes to sends it to the same server.
func TestRouteByHealth(t *testing.T) {
	t.Parallel()
	s, f := active(t, "forwarding: dsr, interfaces: [eth0], distribution: hash, hash: source_port")
	one, two := s.balancers[0], s.balancers[1]
	one.crash()
	s.spread(two)
	f.more(50)
	s.survived("a daemon stays away", f.close())

	f = s.traffic(100)
	one.run()
	s.spread(one, two)
	f.more(50)
	s.survived("and is back", f.close())

	f = s.traffic(100)
	f.more(50)
	two.die()
	s.spread(one)
	f.more(50)
	s.survived("the other machine dies", f.close())
}

// TestSoakSpread is what becomes of connections where each machine knows its own
// alone.
func TestSoakSpread(t *testing.T) {
	if !long {
		t.Skip("run it with `make soak`")
	}
	for _, words := range []string{
		"forwarding: dsr, interfaces: [eth0], distribution: hash, hash: source_port",
		"forwarding: masquerade",
	} {
		t.Run(words, func(t *testing.T) {
			s, f := active(t, words)
			one, two := s.balancers[0], s.balancers[1]
			s.stands(two, "1", one)
			f.more(50)
			t.Logf("one goes, planned: %s", f.close())
			f = s.traffic(100)
			s.stands(two, "0", one, two)
			f.more(50)
			t.Logf("it comes back: %s", f.close())
			f = s.traffic(100)
			two.die()
			s.spread(one)
			f.more(50)
			t.Logf("one dies: %s", f.close())
		})
	}
}

// stands has a balancer stand by, or no longer, and waits until the router knows.
func (s *stand) stands(b *balancer, on string, over ...*balancer) {
	s.t.Helper()
	b.standby(on)
	s.spread(over...)
}
