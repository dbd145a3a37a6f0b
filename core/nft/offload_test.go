// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"bufio"

	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/nlmsg"
)

// offloadPlan has a frontend of each kind that is handed over, and two that are
// not.
func offloadPlan() core.Plan {
	offload := func(t *core.Traffic) { t.Offload = true }
	web := with(service("web", "192.0.2.10:80", core.TCP, backend("web1", "198.51.100.1:8080", core.Slots)), offload)
	web.Frontends = append(web.Frontends, core.Frontend{VIP: web.Frontends[0].VIP, Ports: core.PortRange{First: 8000, Last: 8999}, Protocol: core.SCTP})
	dns := with(service("dns", "[2001:db8::10]:53", core.UDP, backend("ns1", "[2001:db8:1::53]:53", core.Slots)), offload)
	ports := with(service("ports", "192.0.2.11:80", core.UDP, backend("p1", "198.51.100.3:0", core.Slots)), offload)
	ports.Frontends[0].Ports = core.PortRange{First: 8000, Last: 8999}
	p := plan(dns, service("plain", "192.0.2.12:80", core.TCP, backend("a", "198.51.100.4:80", core.Slots)), ports, web)
	p.OffloadDevices = []string{"lo"}
	return p
}

// TestGoldenOffload is TestGolden where the kernel has flowtables, and elsewhere
// as much of it as can be.
func TestGoldenOffload(t *testing.T) {
	file := filepath.Join("testdata", "offload.nft")
	p := offloadPlan()
	if *update {
		if err := os.WriteFile(file, []byte(Render(p)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), Render(p)); diff != "" {
		t.Errorf("Render (-%s +Render):\n%s", file, diff)
	}
	newNetns(t)
	a := needFlowtables(t)
	nftOutput(t, "-c", "-f", file)
	mustSync(t, a, p)
	if diff := cmp.Diff(string(want), listTable(t)); diff != "" {
		t.Errorf("nft list table (-%s +kernel):\n%s", file, diff)
	}

	// The devices come and go by themselves, and those that are not there do no
	// harm.
	p.OffloadDevices = []string{"nowhere"}
	mustSync(t, a, p)
	if got := listTable(t); strings.Contains(got, "devices") {
		t.Errorf("a device is left:\n%s", got)
	}
	p.OffloadDevices = []string{"lo", "nowhere"}
	mustSync(t, a, p)
	rules := ruleHandles(t)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	a = open(t, Config{Unowned: true})
	inKernel(t, a)
	p.OffloadDevices = []string{"lo"}
	before, err := a.w.generation()
	if err != nil {
		t.Fatal(err)
	}
	if c := mustSync(t, a, p); c.Changed != 0 || c.Generation != before || ruleHandles(t) != rules {
		t.Errorf("the same plan again after adoption: %+v after generation %d", c, before)
	}
	if diff := cmp.Diff(string(want), listTable(t)); diff != "" {
		t.Errorf("nft list table in the end (-%s +kernel):\n%s", file, diff)
	}
	for i := range p.Services {
		p.Services[i] = with(p.Services[i], func(t *core.Traffic) { t.Offload = false })
	}
	mustSync(t, a, p)
	if got := listTable(t); got != Render(p) {
		t.Errorf("after it was switched off:\n%s", cmp.Diff(Render(p), got))
	}
}

// needFlowtables opens an Applier and skips the test where the kernel has no
// flowtables. That is no failure in CI: the kernel lab runs it on one that has.
func needFlowtables(t *testing.T) *Applier {
	t.Helper()
	a := open(t, Config{Unowned: true})
	withFlowtables(t, a)
	return a
}

func withFlowtables(t *testing.T, a *Applier) {
	t.Helper()
	switch {
	case !a.lacks(featureFlowtable):
	case inKernelLab():
		t.Fatal("Debian's kernel has no flowtables")
	default:
		t.Skip("this kernel has no flowtables; the kernel lab's has")
	}
}

// TestOffloadDegrades makes a kernel without flowtables of any: the services are
// carried all the same, re-weighted too, and the missing feature is told.
func TestOffloadDegrades(t *testing.T) {
	newNetns(t)
	a := open(t, Config{Unowned: true})
	if !a.lacks(featureFlowtable) {
		t.Skip("this kernel has flowtables, and would be asked again")
	}
	p := offloadPlan()
	without := offloadPlan()
	for i := range without.Services {
		without.Services[i] = with(without.Services[i], func(t *core.Traffic) { t.Offload = false })
	}
	mustSync(t, a, p)
	if diff := cmp.Diff(Render(without), listTable(t)); diff != "" {
		t.Errorf("-without offload +kernel:\n%s", diff)
	}
	p.Services[3].Backends[0].Slots = 0
	if _, err := a.Reweight(context.Background(), p.Services); err != nil {
		t.Errorf("reweight: %v", err)
	}
	if c := mustSync(t, a, p); c.Changed != 0 {
		t.Errorf("the same plan again: %d elements changed", c.Changed)
	}
}

// TestFlowtableMessages reads what is written as the kernel would tell it back.
func TestFlowtableMessages(t *testing.T) {
	var b batch
	b.reset(DefaultTable, 1)
	b.owner = "web"
	start := len(b.buf)
	b.fillFlowtable(nil, &flowtable{nameFlows, []string{"eth0", "eth1"}})
	if b.owner != "web" {
		t.Errorf("owner %q is left behind", b.owner)
	}
	var got []flowtable
	for rest := b.buf[start:]; len(rest) > 0; {
		n := int(binary.NativeEndian.Uint32(rest))
		got = append(got, *parseFlowtable(rest[nlmsg.HeaderLen+4 : n]))
		rest = rest[n:]
	}
	want := []flowtable{{name: nameFlows}, {nameFlows, []string{"eth0"}}, {nameFlows, []string{"eth1"}}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(flowtable{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestTrafficOffload has connections that go on while the weights change. Their
// packets must leave the forward hook after the first few, and every answer must
// come from the backend that the connection began with.
func TestTrafficOffload(t *testing.T) {
	s := with(service("web", "10.0.9.1:80", core.TCP,
		backend("b1", "10.0.2.11:8080", 32768), backend("b2", "10.0.2.12:8080", 32768)), func(t *core.Traffic) { t.Offload = true })
	s6 := with(service("web6", "[fd00:9::1]:80", core.TCP, backend("b1", "[fd00:2::11]:8080", core.Slots)), func(t *core.Traffic) { t.Offload = true })
	p := plan(s, s6)
	p.OffloadDevices = []string{"c0", "s0"}
	w := newWorld(t)
	for name, addr := range map[string]string{"b1": "10.0.2.11:8080", "b2": "10.0.2.12:8080", "b1-6": "[fd00:2::11]:8080"} {
		w.echo(w.backends, name, addr)
	}
	var a *Applier
	w.in(w.balancer, func() {
		var err error
		a, err = Open(Config{})
		w.must(err)
	})
	t.Cleanup(func() { a.Close() })
	withFlowtables(t, a)
	_, refused, err := a.Sync(context.Background(), p)
	if err := errors.Join(err, errorOf(refused)); err != nil {
		t.Fatal(err)
	}
	w.watch(w.balancer, "forward", map[string]string{"n": ""})

	const conns, rounds, questions = 10, 20, 25
	var open []*talk
	w.in(w.client, func() {
		for i := range conns {
			addr := "10.0.9.1:80"
			if i%2 == 1 {
				addr = "[fd00:9::1]:80"
			}
			open = append(open, w.talkTo(addr))
		}
	})
	begun := w.watched(w.balancer, "n")
	if begun < 3*conns {
		t.Fatalf("%d packets came by the forward hook before anything could be offloaded: it does not count", begun)
	}
	for round := range rounds {
		s.Backends[0].Slots, s.Backends[1].Slots = uint32(round%2)*core.Slots, uint32((round+1)%2)*core.Slots
		if _, err := a.Reweight(context.Background(), []core.ServicePlan{s}); err != nil {
			t.Fatal(err)
		}
		for _, c := range open {
			for range questions {
				if err := c.ask(); err != nil {
					t.Fatalf("round %d: %v", round, err)
				}
			}
		}
	}
	// A question and its answer are two packets at least.
	const packets = conns * rounds * questions * 2
	if came := w.watched(w.balancer, "n") - begun; came > packets/20 {
		t.Errorf("%d of some %d packets came by the forward hook: want 5 %% at most", came, packets)
	} else {
		t.Logf("%d of some %d packets came by the forward hook", came, packets)
	}
	w.in(w.balancer, func() {
		out, err := exec.Command("conntrack", "-L", "-f", "ipv4").CombinedOutput()
		if err == nil && !strings.Contains(string(out), "[OFFLOAD]") {
			t.Errorf("no connection is [OFFLOAD]:\n%s", out)
		}
	})
	for _, c := range open {
		c.Close()
	}
}

// A talk is a connection that is asked again and again.
type talk struct {
	net.Conn
	r    *bufio.Reader
	name string // who answered first
}

func (w *world) talkTo(addr string) *talk {
	c, err := net.DialTimeout("tcp", addr, patience)
	w.must(err)
	w.t.Cleanup(func() { c.Close() })
	t := &talk{Conn: c, r: bufio.NewReader(c)}
	w.must(t.ask())
	return t
}

func (t *talk) ask() error {
	if err := t.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(t, "?"); err != nil {
		return err
	}
	name, err := t.r.ReadString('\n')
	if t.name == "" {
		t.name = name
	}
	if err == nil && name != t.name {
		err = fmt.Errorf("answer from %q: want %q", name, t.name)
	}
	return err
}
