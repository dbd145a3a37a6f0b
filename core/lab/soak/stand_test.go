// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/lab"
	"github.com/steelyard-lb/steelyard/core/lab/labtest"
	"github.com/steelyard-lb/steelyard/core/nft"
)

const (
	nodes    = 4    // of backends
	perIdle  = 16   // backends of each of them
	firstVIP = 5001 // port of the first service under test
	firstDst = 9001 // port of the first backend of a node
)

// A stand is a lab with the applier's table in it, of the services under test and
// of others beside them, and with counters before and behind that table.
type stand struct {
	t    *testing.T
	lab  *lab.Lab
	a    *nft.Applier
	plan core.Plan
}

func newStand(t *testing.T, loaded int, tested []core.ServicePlan) *stand {
	st := &stand{t: t, lab: labtest.New(t, lab.Config{Backends: nodes})}
	for _, n := range st.lab.Nodes() {
		// Every connection here is new and over at once; without this conntrack
		// would be full of those of half a minute.
		for _, key := range []string{"udp_timeout", "udp_timeout_stream"} {
			st.must(n.Sysctl("net.netfilter.nf_conntrack_"+key, "1"))
		}
	}
	st.routeClients()
	st.meetNeighbours()
	st.count(tested)
	st.plan.Services = append(idle(loaded, st.lab.VIP4), tested...)
	slices.SortFunc(st.plan.Services, func(x, y core.ServicePlan) int { return strings.Compare(x.Name, y.Name) })
	st.must(st.lab.Balancer.Do(func() (err error) { st.a, err = nft.Open(nft.Config{}); return err }))
	t.Cleanup(func() { st.a.Close() })
	if _, refused, err := st.a.Sync(t.Context(), st.plan); err != nil || len(refused) > 0 {
		t.Fatalf("sync: %v, %v", err, refused)
	}
	return st
}

func (st *stand) must(err error) {
	if err != nil {
		st.t.Helper()
		st.t.Fatal(err)
	}
}

// idle are the services that nobody connects to.
func idle(n int, vip netip.Addr) []core.ServicePlan {
	list := make([]core.ServicePlan, n)
	for i := range list {
		traffic := core.Simple(netip.AddrPortFrom(vip, uint16(10_000+i)), core.TCP)
		list[i] = core.ServicePlan{Name: fmt.Sprintf("idle%04d", i), Traffic: &traffic}
		for j := range perIdle {
			list[i].Backends = append(list[i].Backends, core.BackendPlan{
				Name: fmt.Sprintf("b%02d", j), Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 128 + byte(i>>8), byte(i), byte(j + 1)}), 80),
				Slots: core.Slots / perIdle, Alive: true, Forwarding: core.DNAT,
			})
		}
	}
	return list
}

// routeClients has the balancer send what is for the clients to the lab's one.
func (st *stand) routeClients() {
	st.must(st.lab.Balancer.Do(func() error {
		link, err := netlink.LinkByName("client")
		if err != nil {
			return err
		}
		return netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: &clientNet, Gw: st.lab.Client.Addr4.AsSlice()})
	}))
}

// meetNeighbours lets the balancer find every backend's link address: until it
// has, a short queue holds what is for it, and the rest is lost.
func (st *stand) meetNeighbours() {
	for _, n := range st.lab.Backends {
		c, err := st.lab.Balancer.DialContext(st.t.Context(), "tcp", netip.AddrPortFrom(n.Addr4, firstDst).String())
		if err == nil {
			c.Close()
		} else if !errors.Is(err, syscall.ECONNREFUSED) { // which is an answer
			st.t.Fatal(err)
		}
	}
}

// count puts a counter per service before everything else in the balancer, and
// one per backend's port into the backends, which drop what they counted.
func (st *stand) count(tested []core.ServicePlan) {
	var at strings.Builder
	for i := range tested {
		f := tested[i].First()
		fmt.Fprintf(&at, "ip daddr %s udp dport %s counter name %q;", f.Addr(), f.Ports, tested[i].Name)
	}
	st.nft(st.lab.Balancer, fmt.Sprintf(`table inet soak { %s
		chain before { type filter hook prerouting priority -310; %s }
		}`, counters(tested), at.String()))
	for _, n := range st.lab.Backends {
		at.Reset()
		for i := range tested {
			fmt.Fprintf(&at, "udp dport %d-%d counter name %q drop;", dst(i, 0), dst(i, 99), tested[i].Name)
		}
		// A link of a bridge may see its neighbours' frames, so the address counts.
		st.nft(n, fmt.Sprintf(`table netdev soak { %s
			chain after { type filter hook ingress device "eth0" priority 0; ip daddr != %s accept; %s }
		}`, counters(tested), n.Addr4, at.String()))
	}
}

func counters(tested []core.ServicePlan) string {
	var b strings.Builder
	for i := range tested {
		fmt.Fprintf(&b, "counter %s {}; ", tested[i].Name)
	}
	return b.String()
}

// dst is the port of a backend of the i-th service under test.
func dst(i, backend int) uint16 { return uint16(firstDst + 100*i + backend) }

func (st *stand) nft(n *lab.Node, text string) {
	st.t.Helper()
	out, err := n.Command(st.t.Context(), "nft", text)
	if err != nil {
		st.t.Fatalf("%v\n%s\n%s", err, out, text)
	}
}

// counted is what a counter of this test stands at.
func (st *stand) counted(n *lab.Node, family, name string) uint64 {
	st.t.Helper()
	out, err := n.Command(st.t.Context(), "nft", "list", "counter", family, "soak", name)
	st.must(err)
	_, rest, _ := strings.Cut(string(out), "packets ")
	packets, _, _ := strings.Cut(rest, " ")
	v, err := strconv.ParseUint(packets, 10, 64)
	st.must(err)
	return v
}

// arrivals are the connections to a service that came to the ruleset, and to the
// backends.
func (st *stand) arrivals(s *core.ServicePlan) (entered, arrived uint64) {
	st.t.Helper()
	entered = st.counted(st.lab.Balancer, "inet", s.Name)
	for _, n := range st.lab.Backends {
		arrived += st.counted(n, "netdev", s.Name)
	}
	return entered, arrived
}

// A loss is what the kernel dropped outside of our table, and says that it did.
type loss struct {
	toBalancer uint64 // the queue of the link from the client was full
	toBackends uint64 // those of the links to the backends
	// Of conntrack: it had no room, or would not take the entry. An entry
	// that was evicted early for a new one is no loss.
	full, notInserted, evicted uint64
}

func (l loss) since(o loss) loss {
	return loss{l.toBalancer - o.toBalancer, l.toBackends - o.toBackends, l.full - o.full, l.notInserted - o.notInserted, l.evicted - o.evicted}
}

func (st *stand) losses() (l loss) {
	st.t.Helper()
	st.must(st.lab.Client.Do(func() error {
		var err error
		l.toBalancer, err = linkDrops("eth0")
		return err
	}))
	st.must(st.lab.Balancer.Do(func() error {
		for _, n := range st.lab.Backends {
			d, err := linkDrops(n.Name)
			if err != nil {
				return err
			}
			l.toBackends += d
		}
		return l.readConntrack()
	}))
	return l
}

// linkDrops is what did not get to the other end of a pair of links.
func linkDrops(name string) (uint64, error) {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return 0, fmt.Errorf("find link %s: %w", name, err)
	}
	return link.Attrs().Statistics.TxDropped, nil
}

// readConntrack reads the statistics of the thread's namespace: a line of names,
// and a line of hexadecimal numbers per processor.
func (l *loss) readConntrack() error {
	f, err := os.Open("/proc/thread-self/net/stat/nf_conntrack")
	if err != nil {
		return fmt.Errorf("read conntrack statistics: %w", err)
	}
	defer f.Close()
	var names []string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if names == nil {
			names = fields
			continue
		}
		for i, field := range fields[:min(len(fields), len(names))] {
			v, err := strconv.ParseUint(field, 16, 64)
			if err != nil {
				return fmt.Errorf("read conntrack statistics: %w", err)
			}
			switch names[i] {
			case "drop":
				l.full += v
			case "insert_failed":
				l.notInserted += v
			case "early_drop":
				l.evicted += v
			}
		}
	}
	return nil
}

// routerMAC is the link address that the client sends to.
func (st *stand) routerMAC() (mac net.HardwareAddr) {
	st.must(st.lab.Balancer.Do(func() error {
		link, err := net.InterfaceByName("client")
		if err == nil {
			mac = link.HardwareAddr
		}
		return err
	}))
	return mac
}

// connections are the applier's counters of a service: of itself and of every
// backend.
func (st *stand) connections(s *core.ServicePlan) (sum core.Counters, each []uint64) {
	st.t.Helper()
	all, err := st.a.Counters(context.Background())
	st.must(err)
	for _, b := range s.Backends {
		each = append(each, all[core.CounterKey{Service: s.Name, Backend: b.Name}].Connections)
	}
	return all[core.CounterKey{Service: s.Name}], each
}
