// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/steelyard-lb/steelyard/core"
)

// packetGoldens are the plans of what looks at every packet.
func packetGoldens() map[string]core.Plan {
	web := service("web", "192.0.2.10:80", core.TCP,
		backend("web1", "198.51.100.1:8080", 32768), backend("web2", "198.51.100.2:8080", 32768))
	dns := service("dns", "[2001:db8::10]:53", core.UDP, backend("ns1", "[2001:db8:1::53]:53", 65536))
	ports := service("ports", "192.0.2.11:80", core.TCP, backend("p1", "198.51.100.3:0", 65536))
	ports.Frontends[0].Ports = core.PortRange{First: 8000, Last: 8999}
	own := forwarding(service("own", "192.0.2.12:80", core.TCP, backend("a", "127.0.0.1:8080", 65536)), core.Local)
	count := func(t *core.Traffic) { t.Bytes = true }

	marked := withQoS(web, core.QoS{DSCP: ptr(uint8(46)), Priority: ptr(uint32(0x1_0020)), Mark: 0x10, Mask: 0xf0})
	marked.Backends[1].QoS = core.QoS{DSCP: ptr(uint8(10)), Mark: 0x30, Mask: 0x30}
	return map[string]core.Plan{
		"qos": plan(
			withQoS(dns, core.QoS{DSCP: ptr(uint8(47)), Priority: ptr(uint32(0xffff_abcd)), Mark: 0x5, Mask: 0xffff_ffff}),
			withQoS(own, core.QoS{DSCP: ptr(uint8(0)), Mask: 0xff00}),
			withQoS(ports, core.QoS{Priority: ptr(uint32(0x12_0000))}),
			marked),
		"bytes":       plan(with(dns, count), with(own, count), with(ports, count), with(web, count)),
		"bytes-local": func() core.Plan { p := plan(with(web, count)); p.LocalClients = true; return p }(),
	}
}

func ptr[T any](v T) *T { return &v }

// withQoS gives all backends of s the same.
func withQoS(s core.ServicePlan, q core.QoS) core.ServicePlan {
	s = with(s, func(t *core.Traffic) { t.QoS = q })
	for i := range s.Backends {
		s.Backends[i].QoS = q
	}
	return s
}

// TestDSCPText holds every number against nft's listing of it.
func TestDSCPText(t *testing.T) {
	newNetns(t)
	nftOutput(t, "add", "table", "inet", "t")
	nftOutput(t, "add", "chain", "inet", "t", "c")
	var rules, want strings.Builder
	for n := range uint8(64) {
		fmt.Fprintf(&rules, "add rule inet t c ip dscp set %d; ", n)
		fmt.Fprintf(&want, "ip dscp set %s\n", dscpText(n))
	}
	nftOutput(t, rules.String())
	var got strings.Builder
	for _, line := range strings.Split(nftOutput(t, "list", "chain", "inet", "t", "c"), "\n") {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "ip dscp") {
			got.WriteString(line + "\n")
		}
	}
	if diff := cmp.Diff(got.String(), want.String()); diff != "" {
		t.Errorf("-nft +dscpText:\n%s", diff)
	}
}

// TestPacketChainsComeAndGo switches the chains on and off again, by services
// one after the other. The table must end as if they had never been.
func TestPacketChainsComeAndGo(t *testing.T) {
	for name, p := range packetGoldens() {
		t.Run(name, func(t *testing.T) {
			newNetns(t)
			a := open(t, Config{Unowned: true})
			plain := core.Plan{LocalClients: p.LocalClients}
			for _, s := range p.Services {
				plain.Services = append(plain.Services, with(withQoS(s, core.QoS{}), func(t *core.Traffic) { t.Bytes, t.Offload = false, false }))
			}
			mustSync(t, a, plain)
			before := listTable(t)
			for i := range p.Services {
				step := plain
				step.Services = append(append([]core.ServicePlan{}, p.Services[:i+1]...), plain.Services[i+1:]...)
				mustSync(t, a, step)
			}
			if listTable(t) == before {
				t.Fatal("nothing was switched on")
			}
			mustSync(t, a, plain)
			if diff := cmp.Diff(before, listTable(t)); diff != "" {
				t.Errorf("-before +after:\n%s", diff)
			}
		})
	}
}

func TestCheckQoS(t *testing.T) {
	tests := []struct {
		name string
		q    core.QoS
		want string
	}{
		{"all bits", core.QoS{DSCP: ptr(uint8(63)), Priority: ptr(uint32(0)), Mark: 0xffff_ffff, Mask: 0xffff_ffff}, ""},
		{"dscp", core.QoS{DSCP: ptr(uint8(64))}, "dscp 64"},
		{"mark outside the mask", core.QoS{Mark: 0x11, Mask: 0x10}, "outside of mask 0x10"},
		{"mark without a mask", core.QoS{Mark: 1}, "outside of mask 0x0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := withQoS(service("web", "192.0.2.10:80", core.TCP, backend("web1", "198.51.100.1:80", core.Slots)), tt.q)
			_, refused := checkPlan(plan(s), nil, nil)
			err := refused["web"]
			if (err != nil) != (tt.want != "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("refused: %v; want %q", err, tt.want)
			}
		})
	}
}

// TestBytesSurvive has the counters of packets live through what does not concern
// them: another service, a re-weight, another life of the daemon, a table that
// has to be replaced.
func TestBytesSurvive(t *testing.T) {
	newNetns(t)
	a := open(t, Config{Unowned: true})
	p := packetGoldens()["bytes"]
	mustSync(t, a, p)
	want := core.Counters{PacketsIn: 7, BytesIn: 420, PacketsOut: 9, BytesOut: 9000, BytesCounted: true}
	web := &p.Services[len(p.Services)-1]
	count(t, a, web, inMaps, counter{want.PacketsIn, want.BytesIn})
	count(t, a, web, outMaps, counter{want.PacketsOut, want.BytesOut})
	look := func(when string) {
		t.Helper()
		all, err := a.Counters(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range []core.CounterKey{{Service: "web"}, {Service: "web", Backend: "web1"}} {
			if diff := cmp.Diff(want, all[id]); diff != "" {
				t.Errorf("%s: %v (-want +got):\n%s", when, id, diff)
			}
		}
	}
	look("at first")
	mustSync(t, a, plan(append(p.Services, service("z", "192.0.2.99:80", core.TCP, backend("z1", "198.51.100.9:80", core.Slots)))...))
	look("after a sync of another service")
	web.Backends[0].Slots, web.Backends[1].Slots = 65535, 1
	if _, err := a.Reweight(context.Background(), []core.ServicePlan{*web}); err != nil {
		t.Fatal(err)
	}
	look("after a re-weight")
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	a = open(t, Config{Unowned: true})
	inKernel(t, a)
	mustSync(t, a, p)
	look("after adoption")
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	a = open(t, Config{}) // who replaces a table without an owner, where the kernel knows owners
	if _, ok, err := a.Adopt(context.Background()); !ok || err != nil || a.replace != (a.flags != 0) {
		t.Fatalf("adopt: %v, %v, replace %v", ok, err, a.replace)
	}
	mustSync(t, a, p)
	look("after the table was replaced")
	*web = with(*web, func(t *core.Traffic) { t.Bytes = false })
	want = core.Counters{}
	mustSync(t, a, p)
	look("after they were switched off")
}

// count gives the first backend of a service a count, as traffic would.
func count(t *testing.T, a *Applier, s *core.ServicePlan, in connMaps, n counter) {
	t.Helper()
	e := elem{verdict: "accept", comment: s.Name + "/" + s.Backends[0].Name, counter: n}
	r := accountRuleOf(s.First(), &s.Backends[0])
	e.key = r.elem(s.First(), s.Backends[0].Addr).key
	a.b.reset(a.table, a.w.seq)
	a.b.writeElems(in[r.kind()], []*elem{&e}, a.b.delElements)
	a.b.writeElems(in[r.kind()], []*elem{&e}, a.b.addElements)
	a.b.finish()
	if list, err := a.w.transact(&a.b); err != nil || len(list) > 0 {
		t.Fatal(list, err)
	}
	a.gen++ // as of a change of our own
}
