// SPDX-License-Identifier: Apache-2.0

package conntrack_test

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/conntrack"
)

// TestKinds counts, lists and cuts the connections of every kind of service
// that is not one address and one port.
func TestKinds(t *testing.T) {
	b := newBench(t, 2)
	b.serve(b.Backends[0], 9003)
	b.serve(b.Balancer, 7070)
	to := b.Backends[0]
	b.nft(fmt.Sprintf(`
		ip daddr %[1]s meta l4proto { tcp, udp } th dport 9000-9010 dnat ip to %[2]s
		ip6 daddr %[3]s meta l4proto { tcp, udp } th dport 9000-9010 dnat ip6 to %[4]s
		ip daddr %[1]s meta l4proto { tcp, udp } th dport 9020-9030 dnat ip to %[2]s:%[5]d
		ip daddr 203.0.113.64/26 meta l4proto { tcp, udp } th dport 80 dnat ip to %[2]s:%[5]d
		ip daddr %[1]s meta l4proto { tcp, udp } th dport 70 redirect to :7070
		ip6 daddr %[3]s meta l4proto { tcp, udp } th dport 70 redirect to :7070
	`, b.VIP4, to.Addr4, b.VIP6, to.Addr6, backendPort))
	both := func(vip netip.Prefix, first, last uint16) []core.Frontend {
		var fronts []core.Frontend
		for _, p := range []core.Protocol{core.TCP, core.UDP} {
			fronts = append(fronts, core.Frontend{VIP: vip, Ports: core.PortRange{First: first, Last: last}, Protocol: p})
		}
		return fronts
	}
	vip4, vip6 := netip.PrefixFrom(b.VIP4, 32), netip.PrefixFrom(b.VIP6, 128)
	at := func(port uint16) []netip.AddrPort {
		return []netip.AddrPort{netip.AddrPortFrom(to.Addr4, port), netip.AddrPortFrom(to.Addr6, port)}
	}
	kinds := []struct {
		watched conntrack.Watched
		clients []string
		server  byte
	}{
		{conntrack.Watched{Frontends: append(both(vip4, 9000, 9010), both(vip6, 9000, 9010)...), Addrs: at(0)},
			[]string{"203.0.113.10:9003", "[2001:db8:3::10]:9003"}, '1'},
		{conntrack.Watched{Frontends: both(vip4, 9020, 9030), Addrs: at(backendPort)}, []string{"203.0.113.10:9021", "203.0.113.10:9030"}, '1'},
		{conntrack.Watched{Frontends: both(netip.MustParsePrefix("203.0.113.64/26"), 80, 80), Addrs: at(backendPort)},
			[]string{"203.0.113.65:80", "203.0.113.127:80"}, '1'},
		{conntrack.Watched{Frontends: append(both(vip4, 70, 70), both(vip6, 70, 70)...), Addrs: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:7070")}, Local: true},
			[]string{"203.0.113.10:70", "[2001:db8:3::10]:70"}, 'b'},
	}
	r := b.open(conntrack.Config{})
	var watched []conntrack.Watched
	for i := range kinds {
		kinds[i].watched.ID, kinds[i].watched.Live = core.BackendID{Service: fmt.Sprint("kind", i), Backend: "b1"}, true
		watched = append(watched, kinds[i].watched)
	}
	r.Watch(watched)
	b.run(r)
	for _, k := range kinds {
		for _, to := range k.clients {
			for _, network := range []string{"tcp", "udp"} {
				b.mustSay(b.dialPort(network, netip.MustParseAddrPort(to)), k.server)
			}
		}
	}
	for _, k := range kinds {
		await(t, r, k.watched.ID, core.FlowCount{Open: 4, Opened: 4})
		want := map[core.Protocol]core.FlowCount{core.TCP: {Open: 2, Opened: 2}, core.UDP: {Open: 2, Opened: 2}}
		if diff := cmp.Diff(want, r.CountsOf(k.watched.ID)); diff != "" {
			t.Errorf("%s: by protocol (-want +got):\n%s", k.watched.ID, diff)
		}
		b.mustList(r, k.watched.ID, 4)
	}
	for i, k := range kinds {
		if i%2 == 0 {
			r.SetDown(k.watched.ID, core.Keep)
			await(t, r, k.watched.ID, core.FlowCount{Open: 2, Opened: 4, Closed: 2})
		}
		r.Cut(k.watched.ID)
		await(t, r, k.watched.ID, core.FlowCount{Opened: 4, Closed: 4})
		for _, other := range kinds[i+1:] {
			b.mustList(r, other.watched.ID, 4)
		}
	}
}

func (b *bench) mustList(r *conntrack.Reader, id core.BackendID, want int) []conntrack.Connection {
	b.t.Helper()
	list, err := r.List(b.t.Context(), id, 100)
	if err != nil || len(list) != want {
		b.t.Errorf("%s: %d connections listed (%v), want %d: %+v", id, len(list), err, want, list)
	}
	return list
}

func TestList(t *testing.T) {
	b := newBench(t, 1)
	r := b.follow(conntrack.Config{})
	open := b.dial("tcp", b.VIP4)
	b.mustSay(open, '1')
	b.end(b.dial("tcp", b.VIP4), politely)
	b.mustSay(b.dial("udp", b.VIP6), '1')

	got := b.mustList(r, tcp4, 1)
	want := []conntrack.Connection{{
		Backend: tcp4, Protocol: core.TCP, Client: open.LocalAddr().(*net.TCPAddr).AddrPort(),
		VIP: netip.AddrPortFrom(b.VIP4, vipPort), Server: netip.AddrPortFrom(b.Backends[0].Addr4, backendPort),
		State: "ESTABLISHED",
	}}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.AddrPort{}), cmpopts.IgnoreFields(conntrack.Connection{}, "Timeout")); diff != "" {
		t.Errorf("list (-want +got):\n%s", diff)
	}
	if d := got[0].Timeout; d <= 0 || d > 6*24*time.Hour {
		t.Errorf("timeout %v, want up to 5 days", d)
	}
	if got := b.mustList(r, udp6, 1); got[0].State != "REPLIED" {
		t.Errorf("state of UDP %s, want REPLIED", got[0].State)
	}
	for range 5 {
		b.dial("tcp", b.VIP4)
	}
	if list, err := r.List(t.Context(), core.BackendID{Service: "tcp4"}, 3); len(list) != 3 || err != nil {
		t.Errorf("%d of a service listed (%v), want the limit of 3", len(list), err)
	}
	if _, err := r.List(t.Context(), core.BackendID{Service: "none"}, 3); err == nil {
		t.Error("connections of an unknown service: no error")
	}
}

// The kernel sifts the events before they reach the socket, and the sample
// counts for all.
func TestSample(t *testing.T) {
	const n = 20_000
	b, r := scale(t, conntrack.Config{}, core.UDP, false, 0)
	b.run(r)
	await(t, r, scaleID(0), core.FlowCount{})
	if err := r.Sample(3); err != nil {
		t.Fatal(err)
	}
	before := r.Stats().Events
	populate(t, b, r, core.UDP, false, n)
	open := func() (sum uint64) {
		for _, c := range r.Counts() {
			sum += c.Open
		}
		return sum
	}
	until(t, r, func(conntrack.Stats) bool { return open() > n*9/10 })
	if s := r.Stats(); s.Events-before > n/8+500 || s.OneIn != 8 {
		t.Errorf("%d events of %d read, one in %d", s.Events-before, n, s.OneIn)
	}
	if open() > n*11/10 {
		t.Errorf("%d open, want about %d", open(), n)
	}
}
