// SPDX-License-Identifier: Apache-2.0

package neigh

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/lab"
	"github.com/steelyard-lb/steelyard/core/lab/labtest"
)

func TestMain(m *testing.M) { os.Exit(labtest.Main(m)) }

// verify is how often the tests' tables verify; the kernel of the lab tries
// three times, 50 ms apart.
const (
	verify  = 200 * time.Millisecond
	retrans = "50"
)

// patience is for what is to come at once. Nothing else brings it in that time: tables
// that do not test verification verify once a minute, and read everything as seldom.
const patience = 20 * time.Second

var seldom = Config{Verify: time.Minute}

// A bench is a lab with a running Table in its balancer.
type bench struct {
	*lab.Lab
	*Table
	t *testing.T
}

func newBench(t *testing.T, cfg Config) *bench {
	b := openBench(t, cfg)
	b.run()
	return b
}

// openBench is newBench without Run.
func openBench(t *testing.T, cfg Config) *bench {
	b := &bench{Lab: labtest.New(t, lab.Config{Backends: 2, IPv6: true}), t: t}
	for _, f := range []string{"ipv4", "ipv6"} {
		for _, dev := range []string{"backends", "client"} {
			if err := b.Balancer.Sysctl("net."+f+".neigh."+dev+".retrans_time_ms", retrans); err != nil {
				t.Fatal(err)
			}
		}
	}
	err := b.Balancer.Do(func() (err error) {
		b.Table, err = Open(cfg)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) run() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Table.Run(ctx) }()
	b.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			b.t.Errorf("run: %v", err)
		}
	})
}

// ip runs ip(8) in a node.
func (b *bench) ip(n *lab.Node, args ...string) string {
	b.t.Helper()
	out, err := n.Command(b.t.Context(), "ip", args...)
	if err != nil {
		b.t.Fatal(err)
	}
	return string(out)
}

// mac is the address of an interface in a node.
func (b *bench) mac(n *lab.Node, dev string) (mac [6]byte) {
	b.t.Helper()
	err := n.Do(func() error {
		i, err := net.InterfaceByName(dev)
		if err == nil {
			copy(mac[:], i.HardwareAddr)
		}
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return mac
}

func (b *bench) hop(n *lab.Node, device string) core.Hop {
	b.t.Helper()
	return core.Hop{MAC: b.mac(n, "eth0"), Own: b.mac(b.Balancer, device), Device: device}
}

// await waits for a Hop, the zero one meaning none, and says how long it took.
func (b *bench) await(a netip.Addr, want core.Hop) {
	b.t.Helper()
	began := time.Now()
	deadline := time.After(patience)
	for {
		got, known := b.Hop(a)
		if got == want && known == (want.Device != "") {
			b.t.Logf("%s: after %v", a, time.Since(began).Round(time.Millisecond))
			return
		}
		select {
		case <-b.Changed():
		case <-deadline:
			b.t.Fatalf("%s: hop %+v after %v, want %+v (%s)\n%s", a, got, patience, want, b.Why(a), b.ip(b.Balancer, "neigh"))
		}
	}
}

func TestAppears(t *testing.T) {
	b := newBench(t, seldom)
	b1 := b.Backends[0]
	b.Watch([]netip.Addr{b1.Addr4, b1.Addr6})
	for _, a := range []netip.Addr{b1.Addr4, b1.Addr6} {
		b.await(a, b.hop(b1, "backends"))
	}
	for _, v := range b.Views() {
		if v.State != "reachable" || v.Problem != "" || v.Age < 0 || v.Age > patience {
			t.Errorf("view %+v", v)
		}
	}
	b.Watch(nil)
	b.await(b1.Addr4, core.Hop{})
}

func TestMACChanges(t *testing.T) {
	tests := []struct {
		name     string
		announce bool // gratuitous ARP, unsolicited advertisement
	}{
		{"announced", true},
		{"silent", false}, // a verification finds it
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := seldom
			if !tt.announce {
				cfg.Verify = verify
			}
			b := newBench(t, cfg)
			b1 := b.Backends[0]
			addrs := []netip.Addr{b1.Addr4, b1.Addr6}
			b.Watch(addrs)
			for _, a := range addrs {
				b.await(a, b.hop(b1, "backends"))
			}
			if tt.announce {
				for _, key := range []string{"net.ipv4.conf.eth0.arp_notify", "net.ipv6.conf.eth0.ndisc_notify"} {
					if err := b1.Sysctl(key, "1"); err != nil {
						t.Fatal(err)
					}
				}
			}
			b.ip(b1, "link", "set", "eth0", "address", "02:00:00:00:00:77")
			for _, a := range addrs {
				b.await(a, b.hop(b1, "backends"))
			}
		})
	}
}

func TestBackendDown(t *testing.T) {
	b := newBench(t, Config{Verify: verify})
	b1, b2 := b.Backends[0], b.Backends[1]
	b.Watch([]netip.Addr{b1.Addr4, b1.Addr6, b2.Addr4})
	for _, a := range []netip.Addr{b1.Addr4, b1.Addr6} {
		b.await(a, b.hop(b1, "backends"))
	}
	b.await(b2.Addr4, b.hop(b2, "backends"))

	b.ip(b1, "link", "set", "eth0", "down")
	b.await(b1.Addr4, core.Hop{})
	b.await(b1.Addr6, core.Hop{})
	if why, want := b.Why(b1.Addr4), " ARP on backends"; !strings.Contains(why, want) {
		t.Errorf("why %q, want …%s", why, want)
	}
	if _, known := b.Hop(b2.Addr4); !known {
		t.Errorf("the other backend is lost, too: %s", b.Why(b2.Addr4))
	}

	b.ip(b1, "link", "set", "eth0", "up")
	b.await(b1.Addr4, b.hop(b1, "backends"))
}

func TestOwnLink(t *testing.T) {
	b := newBench(t, seldom)
	b1 := b.Backends[0]
	b.Watch([]netip.Addr{b1.Addr4})
	b.await(b1.Addr4, b.hop(b1, "backends"))

	b.ip(b.Balancer, "link", "set", "backends", "down")
	b.await(b1.Addr4, core.Hop{})
	b.ip(b.Balancer, "link", "set", "backends", "up")
	b.await(b1.Addr4, b.hop(b1, "backends"))

	b.ip(b.Balancer, "link", "set", "backends", "address", "02:00:00:00:00:78")
	b.await(b1.Addr4, b.hop(b1, "backends"))
}

func TestRouteChanges(t *testing.T) {
	b := newBench(t, Config{Verify: verify})
	b1 := b.Backends[0]
	b.Watch([]netip.Addr{b1.Addr4, b1.Addr6})
	b.await(b1.Addr4, b.hop(b1, "backends"))
	b.await(b1.Addr6, b.hop(b1, "backends"))

	// The client has the addresses, too, and answers for them.
	b.ip(b.Client, "address", "add", b1.Addr4.String()+"/32", "dev", "lo")
	b.ip(b.Client, "address", "add", b1.Addr6.String()+"/128", "dev", "eth0", "nodad")
	for _, a := range []netip.Addr{b1.Addr4, b1.Addr6} {
		host := netip.PrefixFrom(a, a.BitLen()).String()
		b.ip(b.Balancer, "route", "add", host, "dev", "client")
		b.await(a, b.hop(b.Client, "client"))
		b.ip(b.Balancer, "route", "del", host)
		b.await(a, b.hop(b1, "backends"))
	}

	// A route that goes with its link goes without an event of its own.
	b.ip(b.Balancer, "route", "add", b1.Addr4.String(), "dev", "client")
	b.await(b1.Addr4, b.hop(b.Client, "client"))
	b.ip(b.Balancer, "link", "set", "client", "down")
	b.await(b1.Addr4, b.hop(b1, "backends"))
	b.ip(b.Balancer, "link", "set", "client", "up")

	b.ip(b.Balancer, "route", "add", "198.51.100.0/24", "dev", "backends", "table", "77") // for later
	b.ip(b.Balancer, "route", "add", b1.Addr4.String(), "via", b.Client.Addr4.String())
	b.await(b1.Addr4, core.Hop{})
	b.ip(b.Balancer, "address", "replace", "2001:db8:1::1/64", "dev", "client", "nodad") // went with the link
	b.ip(b.Balancer, "route", "add", b1.Addr6.String(), "via", b.Client.Addr6.String())
	b.await(b1.Addr6, core.Hop{})
	for a, router := range map[netip.Addr]netip.Addr{b1.Addr4: b.Client.Addr4, b1.Addr6: b.Client.Addr6} {
		if got, want := b.Why(a), fmt.Sprintf("%s is behind the router %s: dsr needs it on the link", a, router); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	// A routing policy is a way to change routes, too.
	b.ip(b.Balancer, "rule", "add", "to", b1.Addr4.String(), "lookup", "77")
	b.await(b1.Addr4, b.hop(b1, "backends"))
}

func TestObstacles(t *testing.T) {
	b := newBench(t, seldom)
	b.ip(b.Balancer, "link", "add", "tun9", "type", "veth", "peer", "name", "tun10")
	b.ip(b.Balancer, "link", "set", "tun9", "arp", "off", "up") // as a tunnel is
	b.ip(b.Balancer, "link", "set", "tun10", "up")
	b.ip(b.Balancer, "route", "add", "198.18.1.0/24", "dev", "tun9")
	b.ip(b.Balancer, "route", "add", "unreachable", "198.18.2.0/24")
	b.ip(b.Balancer, "route", "add", "blackhole", "2001:db8:9::/64")
	tests := []struct{ addr, want string }{
		{"192.0.2.1", "192.0.2.1 is an address of this machine: dsr needs another one on the link"},
		{"192.0.2.255", "the route to 192.0.2.255 does not lead to one machine: dsr needs it on the link"},
		{"198.18.1.1", "tun9, the interface towards 198.18.1.1, has no Ethernet addresses: dsr needs them"},
		{"198.18.2.1", "there is no route to 198.18.2.1: no route to host"},
		{"198.18.3.1", "there is no route to 198.18.3.1: network is unreachable"},
		{"fe80::1%eth0", "fe80::1%eth0 has a zone: dsr needs an address without one"},
	}
	addrs := []netip.Addr{b.Backends[0].Addr4, netip.MustParseAddr("2001:db8:9::1")}
	for _, tt := range tests {
		addrs = append(addrs, netip.MustParseAddr(tt.addr))
	}
	b.Watch(addrs)
	b.await(addrs[0], b.hop(b.Backends[0], "backends")) // so all were looked up
	for i, tt := range tests {
		if got := b.Why(addrs[i+2]); got != tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
	}
	if got := b.Why(addrs[1]); !strings.Contains(got, "route to 2001:db8:9::1") {
		t.Errorf("blackhole: %s", got)
	}
}

// TestFlush takes the entries away: their Hops stay while the kernel resolves.
func TestFlush(t *testing.T) {
	b := newBench(t, seldom)
	b1 := b.Backends[0]
	b.Watch([]netip.Addr{b1.Addr4})
	b.await(b1.Addr4, b.hop(b1, "backends"))
	select { // the first Hop may have been told, or be about to be
	case <-b.Changed():
	case <-time.After(time.Second):
	}
	for range 5 {
		asked := b.Stats().Solicited
		b.ip(b.Balancer, "neigh", "flush", "dev", "backends")
		b.awaitState(b1.Addr4, "reachable", asked)
	}
	select {
	case <-b.Changed():
		t.Errorf("the hop went and came: %+v", b.Views())
	default:
	}
}

// awaitState waits for the kernel's word after more than so many asks; no Hop
// may change meanwhile, so there is nothing to wait on but the clock.
func (b *bench) awaitState(a netip.Addr, want string, asked uint64) {
	b.t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); ; <-tick.C {
		for _, v := range b.Views() {
			if v.Addr == a && v.State == want && b.Stats().Solicited > asked {
				return
			}
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("%s did not become %s: %+v", a, want, b.Views())
		}
	}
}

// TestForeign has entries that somebody else keeps: they are used, and neither
// probed nor changed.
func TestForeign(t *testing.T) {
	for _, args := range []string{"nud permanent", "nud reachable extern_learn"} {
		t.Run(args, func(t *testing.T) {
			b := newBench(t, Config{Verify: 20 * time.Millisecond})
			b1, b2 := b.Backends[0], b.Backends[1]
			set := append([]string{"neigh", "replace", b1.Addr4.String(), "lladdr", "02:00:00:00:00:79", "dev", "backends"}, strings.Fields(args)...)
			b.ip(b.Balancer, set...)
			want := core.Hop{MAC: [6]byte{2, 0, 0, 0, 0, 0x79}, Own: b.mac(b.Balancer, "backends"), Device: "backends"}
			b.Watch([]netip.Addr{b1.Addr4})
			b.await(b1.Addr4, want)
			before := b.ip(b.Balancer, "neigh", "show", b1.Addr4.String())
			b.Watch([]netip.Addr{b1.Addr4, b2.Addr4}) // one to see the verifications go by
			b.await(b2.Addr4, b.hop(b2, "backends"))
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			for b.Stats().Solicited < 5 {
				<-tick.C
			}
			if after := b.ip(b.Balancer, "neigh", "show", b1.Addr4.String()); after != before {
				t.Errorf("before %safter  %s", before, after)
			}
			b.await(b1.Addr4, want)
		})
	}
}

// TestOverrun loses events, and finds what they told.
func TestOverrun(t *testing.T) {
	b := openBench(t, seldom)
	if err := b.kernel.(*rtnetlink).events.conn.SetReadBuffer(1); err != nil { // the kernel's least
		t.Fatal(err)
	}
	var lines strings.Builder
	for i := range 200 {
		fmt.Fprintf(&lines, "neigh replace 192.0.2.%d lladdr 02:00:00:00:01:%02x dev client nud permanent\n", i+10, i)
	}
	b.batch(lines.String())
	a := netip.MustParseAddr("192.0.2.200")
	b.Watch([]netip.Addr{a})
	b.run()
	b.await(a, core.Hop{MAC: [6]byte{2, 0, 0, 0, 1, 190}, Own: b.mac(b.Balancer, "client"), Device: "client"})
	for round := 1; round <= 20 && (b.Stats().Overruns == 0 || b.Stats().Resyncs < 3); round++ {
		b.batch(strings.ReplaceAll(lines.String(), ":01:", fmt.Sprintf(":%02x:", round+1)))
		b.await(a, core.Hop{MAC: [6]byte{2, 0, 0, 0, byte(round + 1), 190}, Own: b.mac(b.Balancer, "client"), Device: "client"})
	}
	if s := b.Stats(); s.Overruns == 0 || s.Resyncs < 3 {
		t.Errorf("no event was lost: %+v", s)
	}
}

func (b *bench) batch(lines string) {
	b.t.Helper()
	err := b.Balancer.Do(func() error {
		cmd := exec.Command("ip", "-batch", "-")
		cmd.Stdin = strings.NewReader(lines)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

// TestMany follows 10,000 addresses. Permanent entries do not count against the
// limits of the kernel's table, which are the host's and not the lab's.
func TestMany(t *testing.T) {
	const many = 10_000
	b := newBench(t, seldom)
	var lines strings.Builder
	lines.WriteString("address add 198.18.255.254/16 dev client\n")
	var addrs []netip.Addr
	for i := range many {
		a := netip.AddrFrom4([4]byte{198, 18, byte(i / 250), byte(i%250 + 1)})
		addrs = append(addrs, a)
		fmt.Fprintf(&lines, "neigh add %s lladdr 02:00:00:%02x:%02x:00 dev client nud permanent\n", a, i>>8, i&0xff)
	}
	b.batch(lines.String())
	began := time.Now()
	b.Watch(addrs)
	called := time.Since(began)
	for i, a := range []netip.Addr{addrs[0], addrs[many-1]} {
		i *= many - 1
		b.await(a, core.Hop{MAC: [6]byte{2, 0, 0, byte(i >> 8), byte(i), 0}, Own: b.mac(b.Balancer, "client"), Device: "client"})
	}
	t.Logf("Watch returned after %v; all known after %v; %+v", called, time.Since(began), b.Stats())
	before := b.Stats().Routes
	b.ip(b.Balancer, "route", "add", "198.18.3.0/24", "via", b.Client.Addr4.String())
	b.await(netip.MustParseAddr("198.18.3.7"), core.Hop{})
	if asked := b.Stats().Routes - before; asked > 250 {
		t.Errorf("a route to 250 addresses: %d were asked for", asked)
	}
}
