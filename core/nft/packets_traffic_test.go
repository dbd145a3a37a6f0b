// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/steelyard-lb/steelyard/core"
	"github.com/vishvananda/netns"
)

// run runs a program in the thread's namespace.
func (w *world) run(name string, args ...string) string {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		w.must(fmt.Errorf("%s %v: %w\n%s", name, args, err, out))
	}
	return string(out)
}

// watch counts the packets of a hook that matches find, by name, in a table of
// an administrator's.
func (w *world) watch(ns netns.NsHandle, hook string, matches map[string]string) {
	rules := fmt.Sprintf("table inet watch { chain %s { type filter hook %s priority 0; }; }\n", hook, hook)
	for name, match := range matches {
		rules += fmt.Sprintf("add counter inet watch %s\nadd rule inet watch %s %s counter name %s\n", name, hook, match, name)
	}
	w.in(ns, func() { w.run("nft", rules) })
}

var packetsOf = regexp.MustCompile(`packets (\d+)`)

// watched is how many packets a counter of watch has seen.
func (w *world) watched(ns netns.NsHandle, name string) (n int) {
	w.in(ns, func() {
		m := packetsOf.FindStringSubmatch(w.run("nft", "list counter inet watch "+name))
		n, _ = strconv.Atoi(m[1])
	})
	return n
}

// apply opens an Applier in the balancer and puts a plan in force.
func (w *world) apply(p core.Plan) *Applier {
	var a *Applier
	w.in(w.balancer, func() {
		var err error
		a, err = Open(Config{})
		w.must(err)
		_, refused, err := a.Sync(context.Background(), p)
		w.must(errors.Join(err, errorOf(refused)))
	})
	w.t.Cleanup(func() { a.Close() })
	return a
}

// asks asks a service so many times from a namespace.
func (w *world) asks(ns netns.NsHandle, s core.ServicePlan, times int) {
	w.in(ns, func() {
		for range times {
			_, _, err := ask(string(s.First().Protocol), serviceAddr(s), patience)
			w.must(err)
		}
	})
}

const ownPort = "8080" // of the balancer's own backend

// TestTrafficBytes asks services of each forwarding, from the client and from the
// balancer itself, and knows the size of every packet.
func TestTrafficBytes(t *testing.T) {
	count := func(t *core.Traffic) { t.Bytes = true }
	dnat := with(service("dnat", "10.0.9.1:80", core.UDP, backend("b1", "10.0.2.11:8080", core.Slots)), count)
	dnat6 := with(service("dnat6", "[fd00:9::1]:80", core.UDP, backend("b1", "[fd00:2::11]:8080", core.Slots)), count)
	masq := with(forwarding(service("masq", "10.0.9.1:81", core.UDP, backend("b1", "10.0.2.11:8080", core.Slots)), core.Masquerade), count)
	ports := with(service("ports", "10.0.9.2:80", core.UDP, backend("b1", "10.0.2.12:0", core.Slots)), count)
	ports.Frontends[0].Ports = core.PortRange{First: 8000, Last: 8999}
	own := with(forwarding(service("own", "10.0.9.1:82", core.UDP, backend("own", "127.0.0.1:"+ownPort, core.Slots)), core.Local), count)
	off := service("zoff", "10.0.9.1:83", core.UDP, backend("b1", "10.0.2.11:8080", core.Slots))
	p := plan(dnat, dnat6, masq, own, ports, off)
	p.LocalClients = true

	w := newWorld(t)
	w.serve(w.backends, "b1", "10.0.2.11:8080")
	w.serve(w.backends, "b1", "[fd00:2::11]:8080")
	w.serve(w.backends, "b1", "10.0.2.12:8000")
	for _, addr := range []string{"10.0.1.1", "127.0.0.1"} {
		w.serve(w.balancer, "own", addr+":"+ownPort)
	}
	w.in(w.balancer, func() { w.up("lo", "10.0.9.2/32") })
	a := w.apply(p)
	const times = 10
	for _, from := range []struct {
		name string
		ns   netns.NsHandle
	}{{"client", w.client}, {"balancer", w.balancer}} {
		before, err := a.Counters(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range p.Services {
			answer := uint64(0)
			w.in(from.ns, func() {
				addr := strings.Replace(serviceAddr(s), "8000-8999", "8000", 1)
				for range times {
					name, client, err := ask("udp", addr, patience)
					w.must(err)
					answer = uint64(len(name + " " + client))
				}
			})
			after, err := a.Counters(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			headers := uint64(20 + 8)
			if s.First().Addr().Is6() {
				headers = 40 + 8
			}
			want := core.Counters{PacketsIn: times, BytesIn: times * (headers + 1), PacketsOut: times, BytesOut: times * (headers + answer), BytesCounted: true}
			if s.Name == off.Name {
				want = core.Counters{}
			}
			for _, id := range []core.CounterKey{{Service: s.Name}, {Service: s.Name, Backend: s.Backends[0].Name}} {
				was, got := before[id], after[id]
				got = core.Counters{
					PacketsIn: got.PacketsIn - was.PacketsIn, BytesIn: got.BytesIn - was.BytesIn,
					PacketsOut: got.PacketsOut - was.PacketsOut, BytesOut: got.BytesOut - was.BytesOut, BytesCounted: got.BytesCounted,
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%v, asked from the %s (-want +got):\n%s", id, from.name, diff)
				}
			}
		}
	}
}

// TestTrafficDSCP looks at the DSCP that backends and clients get, of both
// families, and at a local service. What has no QoS keeps its own.
func TestTrafficDSCP(t *testing.T) {
	ef := core.QoS{DSCP: ptr(uint8(46))}
	v4 := withQoS(service("v4", "10.0.9.1:80", core.TCP, backend("b1", "10.0.2.11:8080", core.Slots)), ef)
	v6 := withQoS(service("v6", "[fd00:9::1]:80", core.UDP, backend("b1", "[fd00:2::11]:8080", core.Slots)), ef)
	own := withQoS(forwarding(service("own", "10.0.9.1:82", core.UDP, backend("own", "127.0.0.1:"+ownPort, core.Slots)), core.Local), ef)
	plain := service("plain", "10.0.9.1:81", core.TCP, backend("b1", "10.0.2.11:8080", core.Slots))
	w := newWorld(t)
	w.serve(w.backends, "b1", "10.0.2.11:8080")
	w.serve(w.backends, "b1", "[fd00:2::11]:8080")
	w.serve(w.balancer, "own", ":"+ownPort)
	w.apply(plan(own, plain, v4, v6))
	for _, ns := range []netns.NsHandle{w.client, w.backends} {
		w.watch(ns, "input", map[string]string{"ef4": "ip dscp ef", "ef6": "ip6 dscp ef", "other4": "ip dscp != ef meta l4proto { tcp, udp }", "other6": "ip6 dscp != ef meta l4proto { tcp, udp }"})
	}
	for _, tt := range []struct {
		s      core.ServicePlan
		marked string
		local  bool
	}{{v4, "ef4", false}, {v6, "ef6", false}, {own, "ef4", true}, {plain, "other4", false}} {
		counts := func(ns netns.NsHandle) (marked, others int) {
			for _, name := range []string{"ef4", "ef6", "other4", "other6"} {
				if n := w.watched(ns, name); name == tt.marked {
					marked += n
				} else {
					others += n
				}
			}
			return marked, others
		}
		cm, co := counts(w.client)
		bm, bo := counts(w.backends)
		w.asks(w.client, tt.s, 3)
		if m, o := counts(w.client); m < cm+3 || o != co {
			t.Errorf("service %s: the client got %d packets of %s and %d others", tt.s.Name, m-cm, tt.marked, o-co)
		}
		if m, o := counts(w.backends); !tt.local && (m < bm+3 || o != bo) {
			t.Errorf("service %s: the backend got %d packets of %s and %d others", tt.s.Name, m-bm, tt.marked, o-bo)
		}
	}
}

// TestTrafficMark has packets of a service take another way to its backend, by
// their mark, and leaves the bits of an administrator's mark alone.
func TestTrafficMark(t *testing.T) {
	mark := core.QoS{Mark: 0x10, Mask: 0xf0}
	far := withQoS(service("far", "10.0.9.1:80", core.TCP, backend("b1", "10.0.2.11:8080", core.Slots)), mark)
	own := withQoS(forwarding(service("own", "10.0.9.1:82", core.UDP, backend("own", "127.0.0.1:"+ownPort, core.Slots)), core.Local), mark)
	plain := service("plain", "10.0.9.1:81", core.TCP, backend("b1", "10.0.2.11:8080", core.Slots))
	w := newWorld(t)
	w.serve(w.backends, "b1", "10.0.2.11:8080")
	w.serve(w.balancer, "own", ":"+ownPort)
	w.in(w.balancer, func() {
		w.link("x", w.backends, []string{"10.0.3.1/24"}, []string{"10.0.3.2/24"})
		w.run("ip", "rule", "add", "fwmark", "0x10/0xf0", "table", "100")
		w.run("ip", "route", "add", "10.0.2.11", "via", "10.0.3.2", "dev", "x0", "table", "100")
		w.run("nft", "table inet admin { chain p { type filter hook prerouting priority -300; meta mark set 0x3; }; }")
	})
	w.in(w.backends, func() {
		for _, name := range []string{"all", "x1"} {
			w.sysctl("ipv4/conf/"+name+"/rp_filter", "0")
		}
	})
	p := plan(far, own, plain)
	p.LocalClients = true
	a := w.apply(p)
	w.watch(w.backends, "input", map[string]string{"by_x": "iifname x1", "by_s": "iifname s1 meta l4proto tcp"})
	w.watch(w.balancer, "postrouting", map[string]string{
		"to": "oifname x0 meta mark 0x13", "back": "oifname c0 meta mark 0x13", "plain": "meta mark 0x3", "own": "oifname c0 meta mark 0x10 udp sport 8080", "self": "oifname x0 meta mark 0x10",
	})
	look := func(s core.ServicePlan, from netns.NsHandle, moved ...string) {
		t.Helper()
		names := map[string]netns.NsHandle{"by_x": w.backends, "by_s": w.backends, "to": w.balancer, "back": w.balancer, "plain": w.balancer, "own": w.balancer, "self": w.balancer}
		before := map[string]int{}
		for name, ns := range names {
			before[name] = w.watched(ns, name)
		}
		w.asks(from, s, 2)
		for name, ns := range names {
			n, want := w.watched(ns, name)-before[name], false
			for _, m := range moved {
				want = want || m == name
			}
			if (n >= 2) != want || !want && n != 0 {
				t.Errorf("service %s: %d packets of %q: want some: %v", s.Name, n, name, want)
			}
		}
	}
	look(far, w.client, "by_x", "to", "back")
	look(plain, w.client, "by_s", "plain")
	look(own, w.client, "own")
	look(far, w.balancer, "by_x", "self")

	// Another mark, by a sync: the same connections' way is the usual one again.
	if _, refused, err := a.Sync(context.Background(), plan(withQoS(far, core.QoS{Mark: 0x20, Mask: 0xf0}), plain)); err != nil || len(refused) > 0 {
		t.Fatal(err, refused)
	}
	look(far, w.client, "by_s")
}

// TestTrafficClass counts packets in a class of tc, to the backend and back.
func TestTrafficClass(t *testing.T) {
	class := withQoS(service("class", "10.0.9.1:80", core.TCP, backend("b1", "10.0.2.11:8080", core.Slots)), core.QoS{Priority: ptr(uint32(0x1_0020))})
	plain := service("plain", "10.0.9.1:81", core.TCP, backend("b1", "10.0.2.11:8080", core.Slots))
	w := newWorld(t)
	w.serve(w.backends, "b1", "10.0.2.11:8080")
	w.in(w.balancer, func() {
		for _, dev := range []string{"c0", "s0"} {
			if out, err := exec.Command("tc", "qdisc", "add", "dev", dev, "root", "handle", "1:", "htb", "default", "99").CombinedOutput(); err != nil {
				if os.Getenv("CI") == "" {
					giveUp(t, "needs tc and htb: %v: %s", err, out)
				}
				w.must(fmt.Errorf("%w: %s", err, out))
			}
			w.run("tc", "class", "add", "dev", dev, "parent", "1:", "classid", "1:20", "htb", "rate", "100mbit")
			w.run("tc", "class", "add", "dev", dev, "parent", "1:", "classid", "1:99", "htb", "rate", "100mbit")
		}
	})
	w.apply(plan(class, plain))
	sent := func(dev string) (n int) {
		w.in(w.balancer, func() {
			m := regexp.MustCompile(`Sent \d+ bytes (\d+) pkt`).FindStringSubmatch(w.run("tc", "-s", "class", "show", "dev", dev, "classid", "1:20"))
			n, _ = strconv.Atoi(m[1])
		})
		return n
	}
	w.asks(w.client, plain, 3)
	for _, dev := range []string{"c0", "s0"} {
		if n := sent(dev); n != 0 {
			t.Errorf("%d packets of a service without a class were in it on %s", n, dev)
		}
	}
	w.asks(w.client, class, 3)
	for _, dev := range []string{"c0", "s0"} {
		if n := sent(dev); n < 9 { // three connections, each with a handshake and an end
			t.Errorf("%d packets were in the class on %s: want 9 at least", n, dev)
		}
	}
}
