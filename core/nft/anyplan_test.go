// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/steelyard-lb/steelyard/core"
	"pgregory.net/rapid"
)

// oddNames are names of services that look like those of something else.
var oddNames = []string{
	"a", "a-b", "6-web", "weights1", "sticky", "services4", "spares", "ingress.d0",
	"b-a", strings.Repeat("x", maxName), "w-a", "masq", "6",
}

// drawPlan is any plan of services of these names. Their addresses are dealt anew
// each time, so that one service takes what another gives up.
func drawPlan(t *rapid.T) core.Plan {
	p := core.Plan{LocalClients: rapid.Bool().Draw(t, "local"), OffloadDevices: rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"d0", "d1", "gone"}), 0, 3, rapid.ID).Draw(t, "devices")}
	vips := rapid.Permutation([]int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}).Draw(t, "vips")
	for i, name := range oddNames {
		if rapid.IntRange(0, 2).Draw(t, "there") > 0 {
			p.Services = append(p.Services, drawService(t, name, vips[i]))
		}
	}
	slices.SortFunc(p.Services, func(x, y core.ServicePlan) int { return strings.Compare(x.Name, y.Name) })
	return p
}

func some(t *rapid.T, what string) bool { return rapid.IntRange(0, 3).Draw(t, what) == 0 }

func drawFrontends(t *rapid.T, vip int, linked bool) (list []core.Frontend) {
	v4, v6 := netip.MustParseAddr(fmt.Sprintf("192.0.2.%d", vip+1)), netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", vip+1))
	protocol := rapid.SampledFrom([]core.Protocol{core.TCP, core.UDP, core.SCTP}).Draw(t, "protocol")
	if linked && protocol == core.SCTP {
		protocol = core.UDP
	}
	add := func(p netip.Prefix, first, last uint16, protocol core.Protocol) {
		list = append(list, core.Frontend{VIP: p, Ports: core.PortRange{First: first, Last: last}, Protocol: protocol})
	}
	one := func(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }
	if rapid.Bool().Draw(t, "4") {
		add(one(v4), 80, 80, protocol)
	}
	if !linked {
		if some(t, "6") {
			add(one(v6), 80, 80, protocol)
		}
		if some(t, "range4") {
			add(one(v4), 8000, rapid.Uint16Range(8001, 8003).Draw(t, "last"), core.TCP)
		}
		if some(t, "range6") {
			add(one(v6), 8000, rapid.Uint16Range(8001, 8003).Draw(t, "last"), core.UDP)
		}
		if some(t, "net") {
			add(netip.PrefixFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(16 * vip)}), rapid.IntRange(28, 31).Draw(t, "bits")), 80, 80, core.TCP)
		}
	}
	if len(list) == 0 {
		add(one(v6), 80, 80, core.TCP)
	}
	return list
}

func drawService(t *rapid.T, name string, vip int) core.ServicePlan {
	kind := rapid.SampledFrom([]core.Forwarding{core.DNAT, core.DNAT, core.DNAT, core.Masquerade, core.SNAT, core.Local, core.DSR, core.Stateless}).Draw(t, "kind")
	link := !kind.Tracked()
	tr := &core.Traffic{
		Frontends: drawFrontends(t, vip, link), Forwarding: kind, HashKey: core.BySource, OnEmpty: core.Reject,
		Distribution: rapid.SampledFrom([]core.Distribution{core.Random, core.Random, core.RoundRobin, core.Hash, core.SymHash}).Draw(t, "distribution"),
		Seed:         rapid.Uint32Range(1, 2).Draw(t, "seed"),
	}
	if some(t, "drop") {
		tr.OnEmpty = core.Drop
	}
	if some(t, "port") {
		tr.HashKey = core.BySourcePort
	}
	s := core.ServicePlan{Name: name, Traffic: tr}
	drawBackends(t, &s)
	if link {
		tr.Interfaces = rapid.SampledFrom([][]string{{"d0"}, {"d1"}, {"d0", "d1"}}).Draw(t, "interfaces")
		tr.FlowTimeout = 30 * time.Second
		return s
	}
	drawExtras(t, &s)
	return s
}

func drawBackends(t *rapid.T, s *core.ServicePlan) {
	keep := some(t, "keep") && s.Forwarding != core.Local || s.Forwarding == core.Stateless && s.First().Protocol == core.SCTP
	for i := range rapid.IntRange(0, 5).Draw(t, "backends") {
		for _, v6 := range []bool{false, true} {
			if !slices.ContainsFunc(s.Frontends, func(f core.Frontend) bool { return f.Addr().Is6() == v6 }) || some(t, "skip") {
				continue
			}
			addr := netip.AddrFrom4([4]byte{198, 51, 100, byte(i + 1)})
			if v6 {
				addr = netip.MustParseAddr(fmt.Sprintf("2001:db8:1::%x", i+1))
			}
			if s.Forwarding == core.Stateless {
				// An answer must tell the service.
				x := addr.AsSlice()
				x[len(x)-2] = byte(slices.Index(oddNames, s.Name))
				addr, _ = netip.AddrFromSlice(x)
			}
			port := uint16(8080)
			if s.Forwarding != core.Stateless {
				port += uint16(rapid.IntRange(0, 1).Draw(t, "port"))
			}
			if keep {
				port = 0
			}
			b := core.BackendPlan{Name: fmt.Sprintf("b%d", i), Addr: netip.AddrPortFrom(addr, port), Forwarding: s.Forwarding, Alive: !some(t, "dead")}
			switch s.Forwarding {
			case core.Local:
				if v6 {
					continue
				}
				b.Addr = netip.AddrPortFrom(loopback, 9000+uint16(i))
			case core.DSR:
				if !some(t, "hop") {
					b.Hop = core.Hop{MAC: [6]byte{2, 0, 0, 0, 0, byte(i)}, Own: [6]byte{2, 0, 0, 0, 0, 99}, Device: "d1"}
				}
			case core.Stateless:
			default:
				b.Forwarding = rapid.SampledFrom([]core.Forwarding{core.DNAT, s.Forwarding, core.Masquerade, core.SNAT}).Draw(t, "how")
				if b.Forwarding == core.SNAT {
					b.Source = netip.MustParseAddr("203.0.113.250")
					if v6 {
						b.Source = netip.MustParseAddr("2001:db8:2::9")
					}
				}
				if some(t, "qos") {
					b.QoS = core.QoS{DSCP: ptr(rapid.Uint8Range(0, 63).Draw(t, "dscp")), Mark: 0x10, Mask: 0x30}
				}
			}
			s.Backends = append(s.Backends, b)
		}
	}
	dealSlots(t, s)
}

// dealSlots gives the backends of each family slots, or none.
func dealSlots(t *rapid.T, s *core.ServicePlan) {
	for _, v6 := range []bool{false, true} {
		var of []int
		for i := range s.Backends {
			if s.Backends[i].Addr.Addr().Is6() == v6 {
				of = append(of, i)
			}
		}
		for k, n := range drawSlots(t, len(of)) {
			b := &s.Backends[of[k]]
			if b.Slots = n; n > 0 {
				b.Alive = true
			}
		}
	}
}

func drawExtras(t *rapid.T, s *core.ServicePlan) {
	tr := s.Traffic
	prefixes := func(what string) (list []netip.Prefix) {
		for i := range 4 {
			if rapid.Bool().Draw(t, what) {
				list = append(list, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i), 0, 0}), 16), netip.MustParsePrefix(fmt.Sprintf("2001:db8:a:%x::/64", i)))
			}
		}
		slices.SortFunc(list, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
		return list
	}
	if s.Forwarding != core.Local {
		if some(t, "persistence") {
			tr.Persistence = core.Persistence{Timeout: time.Duration(rapid.IntRange(1, 2).Draw(t, "timeout")) * time.Minute, Prefix4: rapid.IntRange(23, 32).Draw(t, "prefix"), Prefix6: 64, Size: 100}
		}
		if some(t, "pins") {
			for _, c := range []string{"10.1.2.3/32", "10.1.2.0/24", "10.1.0.0/16", "2001:db8:a::/64"} {
				if rapid.Bool().Draw(t, "pin") {
					tr.Pins = append(tr.Pins, core.Pin{Client: netip.MustParsePrefix(c), Backend: fmt.Sprintf("b%d", rapid.IntRange(0, 5).Draw(t, "to"))})
				}
			}
		}
		tr.Hairpin = some(t, "hairpin")
		if some(t, "masquerade for") {
			tr.MasqueradeFor = prefixes("masquerade for")
		}
		tr.Offload = some(t, "offload")
	}
	if some(t, "allow") {
		tr.Allow = prefixes("allow")
	}
	if some(t, "deny") {
		tr.Deny = prefixes("deny")
	}
	if some(t, "limits") {
		tr.Limits = core.Limits{Clients: 100, Answer: core.Reject}
		rate := func(what string) (r core.Rate) {
			if rapid.Bool().Draw(t, what) {
				r = core.Rate{PerSecond: rapid.Uint32Range(1, 2).Draw(t, what), Burst: 5}
			}
			return r
		}
		tr.Limits.New, tr.Limits.NewPerClient, tr.Limits.ResetsPerClient = rate("new"), rate("new per client"), rate("resets")
		tr.Limits.Open, tr.Limits.OpenPerClient = rapid.Uint32Range(0, 2).Draw(t, "open"), rapid.Uint32Range(0, 2).Draw(t, "open per client")
		tr.Limits.Strict = rapid.Bool().Draw(t, "strict")
	}
	if some(t, "log") {
		tr.Log = core.LogRule{PerSecond: 5}
	}
	tr.Bytes = some(t, "bytes")
	if some(t, "helper") && slices.ContainsFunc(tr.Frontends, func(f core.Frontend) bool { return f.Protocol == core.TCP }) {
		tr.Helper = "ftp"
	}
}

// copyPlan is the plan as another reading of a configuration makes it: nothing of
// it is shared.
func copyPlan(t *testing.T, p core.Plan) (out core.Plan) {
	t.Helper()
	text, err := json.Marshal(p)
	if err == nil {
		err = json.Unmarshal(text, &out)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// A step is a plan, and the same with other weights.
type step struct{ plan, weighed core.Plan }

var drawStep = rapid.Custom(func(t *rapid.T) step {
	s := step{plan: drawPlan(t)}
	s.weighed = s.plan
	s.weighed.Services = nil
	for i := range s.plan.Services {
		other := *clonePlan(&s.plan.Services[i])
		dealSlots(t, &other)
		s.weighed.Services = append(s.weighed.Services, other)
	}
	return s
})

// sortedLines is a listing of the first table with its lines in order: which came
// first hangs on the way that the table took, and what nft says of a family on how.
func sortedLines(list string) []string {
	list, _, _ = strings.Cut(list, "table netdev")
	_, list, _ = strings.Cut(list, layout)
	var lines []string
	for l := range strings.SplitSeq(list, "\n") {
		l = strings.TrimPrefix(strings.TrimSpace(l), "elements = {")
		if l = strings.TrimSpace(strings.TrimRight(l, " ,}")); l != "" {
			lines = append(lines, l)
		}
	}
	slices.Sort(lines)
	return lines
}

// TestSyncAnyPlans goes from any plan to any other, by Sync, Reweight and adoption. The
// kernel must take each one, and nothing may change but what has to.
func TestSyncAnyPlans(t *testing.T) {
	for i, tt := range []struct {
		name            string
		own             int
		spares, unowned bool
	}{{"usual", ownMaps, false, false}, {"shared maps", 2, false, false}, {"shared maps with spares, unowned", 2, true, true}} {
		t.Run(tt.name, func(t *testing.T) {
			newNetns(t)
			ip(t, "link", "add", "d0", "type", "veth", "peer", "name", "d1")
			start := func() *Applier {
				a := open(t, Config{Unowned: tt.unowned})
				a.ownMaps, a.spares = tt.own, tt.spares
				return a
			}
			a := start()
			plans := 10
			if testing.Short() {
				plans = 4
			}
			for n := range plans {
				s := drawStep.Example(100*i + n)
				a = syncStep(t, a, s, start, fmt.Sprintf("plan %d", n))
			}
		})
	}
}

// syncStep takes a table to a plan and looks at what has become of it.
func syncStep(t *testing.T, a *Applier, s step, start func() *Applier, when string) *Applier {
	t.Helper()
	last := mustSync(t, a, s.plan)
	rules := ruleHandles(t)
	still := func(how string, p core.Plan) {
		t.Helper()
		if c := mustSync(t, a, p); c.Changed != 0 || c.Generation != last.Generation {
			t.Fatalf("%s, %s: %+v after %+v: want nothing changed", when, how, c, last)
		}
		if now := ruleHandles(t); now != rules {
			t.Fatalf("%s, %s: rules differ:\n%s", when, how, cmp.Diff(rules, now))
		}
	}
	still("again", s.plan)
	still("a copy", copyPlan(t, s.plan))
	if a.ownMaps == ownMaps {
		able := copyPlan(t, s.plan)
		for i := range able.Services {
			able.Services[i] = *a.able(&able.Services[i])
		}
		// A flowtable takes the devices that there are.
		able.OffloadDevices = slices.DeleteFunc(able.OffloadDevices, func(d string) bool { return d == "gone" })
		if diff := cmp.Diff(sortedLines(Render(able)), sortedLines(listTable(t))); diff != "" {
			t.Fatalf("%s: -Render +kernel\n%s", when, diff)
		}
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	a = start()
	inKernel(t, a)
	last.Generation, _ = a.w.generation()
	still("adopted", s.plan)
	var err error
	if last, err = a.Reweight(context.Background(), s.weighed.Services); err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	still("re-weighted", s.weighed)
	return a
}
