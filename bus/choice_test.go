// SPDX-License-Identifier: Apache-2.0

package bus_test

import (
	"fmt"
	"testing"

	"github.com/steelyard-lb/steelyard/bus"
	"github.com/steelyard-lb/steelyard/core"
)

// ears hear connections of the group edge.
type ears struct {
	hear func([]string, bool) error
	got  chan core.FlowReport
}

func earsOf(t *testing.T, b *bus.Bus) ears {
	t.Helper()
	got := make(chan core.FlowReport, 1024)
	hear, cancel, err := b.SubscribeFlows("edge", func(r core.FlowReport) { got <- r })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cancel)
	return ears{hear, got}
}

// choose has the ears hear services, or all, from now on.
func (e ears) choose(t *testing.T, b *bus.Bus, all bool, services ...string) {
	t.Helper()
	if err := e.hear(services, all); err != nil {
		t.Fatal(err)
	}
	// The server knows of it when it knows of what came later.
	cancel, err := b.Subscribe("node.edge.nobody", func(string, []byte) {})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
}

// wantServices publishes a report of each service and wants those of some to be heard, once
// each.
func (e ears) wantServices(t *testing.T, from *bus.Bus, all []string, want ...string) {
	t.Helper()
	for _, svc := range all {
		if err := from.PublishFlows(core.FlowReport{Inst: "i", Service: svc, Backends: []core.FlowOf{{Name: "web1"}}}, "edge"); err != nil {
			t.Fatal(err)
		}
	}
	for _, svc := range want {
		if r := next(t, e.got); r.Service != svc {
			t.Errorf("heard %s, want %s", r.Service, svc)
		}
	}
}

// TestHearSomeConnections: what is chosen is heard, nothing else, and each of it once.
func TestHearSomeConnections(t *testing.T) {
	one, two := twoNodes(t, 0)
	e := earsOf(t, two)
	all := []string{"a.1", "a.2", "b", "*", ">", "end"}
	e.choose(t, two, false, "a.2", "end")
	e.wantServices(t, one, all, "a.2", "end")
	e.choose(t, two, false, "*", "b", "end")
	e.wantServices(t, one, all, "b", "*", "end")
	e.choose(t, two, true)
	e.wantServices(t, one, all, all...)
	e.choose(t, two, false, "end")
	e.wantServices(t, one, all, "end")
	e.choose(t, two, false)
	e.wantServices(t, one, all)
	e.choose(t, two, false, "last") // when it comes, the server has seen all before it
	e.wantServices(t, one, []string{"last"}, "last")
	e.choose(t, two, false, "b")
	e.wantServices(t, one, all, "b")
	if n := len(e.got); n > 0 {
		t.Errorf("%d reports more", n)
	}
	two.Close()
	if err := e.hear([]string{"a.1"}, false); err == nil {
		t.Error("a closed bus hears of a service")
	}
}

// TestHearManyConnections: a thousand services at once, without a pause in what is heard.
func TestHearManyConnections(t *testing.T) {
	one, two := twoNodes(t, 0)
	e := earsOf(t, two)
	var services []string
	for i := range 1000 {
		services = append(services, fmt.Sprint("web", i))
	}
	e.choose(t, two, false, services...)
	e.wantServices(t, one, services, services...)
	e.choose(t, two, true)
	e.wantServices(t, one, services[:10], services[:10]...)
}

// TestRolesHearConnections: with no more than its permissions, a node of each role hears
// those of single services and of all.
func TestRolesHearConnections(t *testing.T) {
	p := startPackaged(t)
	balancer := outside(t, "balancer1", p.port, p.login("balancer1"))
	eventually(t, "the balancer is connected", func() bool { return balancer.Stats().Connected })
	for _, name := range []string{"scheduler1", "lb1"} {
		b := outside(t, name, p.port, p.login(name))
		eventually(t, name+" is connected", func() bool { return b.Stats().Connected })
		e := earsOf(t, b)
		e.choose(t, b, false, "web", "db")
		e.wantServices(t, balancer, []string{"other", "web", "db"}, "web", "db")
		e.choose(t, b, true)
		e.wantServices(t, balancer, []string{"other", "web"}, "other", "web")
	}
}
