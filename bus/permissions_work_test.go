// SPDX-License-Identifier: Apache-2.0

package bus_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/steelyard-lb/steelyard/bus"
	"github.com/steelyard-lb/steelyard/bus/definitions"
	"github.com/steelyard-lb/steelyard/core"
)

var web1 = core.BackendID{Service: "web", Backend: "web1"}

// What each part of a node publishes.

func doProbe(b *bus.Bus, node string) error {
	s := sample(1)
	s.Node = node
	return b.PublishSample(s)
}

func doPresence(b *bus.Bus, node string) error {
	return errors.Join(
		b.PublishPresence(core.Presence{Node: node, Group: "edge", Inst: "i", Seq: 1, At: time.Now(), Roles: core.AllRoles, StartedAt: time.Now()}),
		b.PublishHealth(core.HealthChange{Backend: web1, At: time.Now(), From: core.Unknown, To: core.Up, Probe: "http"}),
		b.PublishEvent(core.Event{Severity: core.Info, Topic: "x", At: time.Now()}))
}

func doSchedule(b *bus.Bus, node string) error {
	return errors.Join(b.PublishDecision(core.Decision{Service: "web", At: time.Now()}),
		b.PublishVector(core.Vector{Service: "web", Group: "edge", Node: node, Epoch: 1, Seq: 1, At: time.Now(), Policy: "weighted",
			Backends: []core.VectorBackend{{Name: "web1", Slots: 65536, Opinion: 1, Health: core.Up}}}))
}

func doApply(b *bus.Bus, node string) error {
	return errors.Join(b.PublishDecision(core.Decision{Service: "web", At: time.Now()}), b.PublishCommit(core.Commit{At: time.Now()}),
		b.PublishFlows(core.FlowReport{Node: node, Inst: "i", Service: "web", At: time.Now(), Backends: []core.FlowOf{{Name: "web1"}}}, "edge"))
}

func doIngest(b *bus.Bus, _ string) error {
	return b.PublishMetric("nagios", core.Sample{Backend: web1, Probe: "load", TakenAt: time.Now(), Metrics: []core.Metric{{Name: "cpu", Value: 0.5, Unit: "ratio"}}})
}

// TestRolesDoTheirWork: with no more than its permissions, each role can do all that it
// has to.
func TestRolesDoTheirWork(t *testing.T) {
	p := startPackaged(t)
	viewer, refused := p.dial(t, "grafana")
	seen := make(chan *nats.Msg, 256)
	if _, err := viewer.ChanSubscribe("steelyard.v1.>", seen); err != nil {
		t.Fatal(err)
	}
	if err := viewer.Flush(); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name  string
		work  []func(*bus.Bus, string) error
		wants []string
	}{
		{"prober1", []func(*bus.Bus, string) error{doPresence, doProbe}, []string{"event.info.x", "health.web.web1", "node.edge.prober1", "probe.web.web1.http.prober1"}},
		{"scheduler1", []func(*bus.Bus, string) error{doPresence, doSchedule},
			[]string{"decision.web", "event.info.x", "health.web.web1", "node.edge.scheduler1", "weights.edge.web.scheduler1"}},
		{"balancer1", []func(*bus.Bus, string) error{doPresence, doApply},
			[]string{"commit.balancer1", "decision.web", "event.info.x", "flows.edge.web.balancer1", "health.web.web1", "node.edge.balancer1"}},
		{"lb1", []func(*bus.Bus, string) error{doPresence, doProbe, doSchedule, doApply, doIngest},
			[]string{"commit.lb1", "decision.web", "decision.web", "event.info.x", "flows.edge.web.lb1", "health.web.web1", "metric.nagios.web.web1.load",
				"node.edge.lb1", "probe.web.web1.http.lb1", "weights.edge.web.lb1"}},
	} {
		b := outside(t, tt.name, p.port, p.login(tt.name))
		eventually(t, tt.name+" is connected", func() bool { return b.Stats().Connected })
		heard := make(chan string, 1)
		cancels := make([]func(), 4)
		errs := make([]error, 4)
		cancels[0], errs[0] = b.SubscribePresences("edge", func(core.Presence) {})
		cancels[1], errs[1] = b.SubscribeVectors("edge", func(v core.Vector) { heard <- v.Service })
		_, cancels[2], errs[2] = b.SubscribeFlows("edge", func(core.FlowReport) {})
		cancels[3], errs[3] = b.Subscribe(">", func(string, []byte) {})
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		collect(t, b)
		for _, work := range tt.work {
			if err := work(b, tt.name); err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
		}
		var got []string
		for range tt.wants {
			got = append(got, strings.TrimPrefix(next(t, seen).Subject, "steelyard.v1."))
		}
		slices.Sort(got)
		if diff := cmp.Diff(tt.wants, got); diff != "" {
			t.Errorf("%s: -want +seen\n%s", tt.name, diff)
		}
		if tt.name != "scheduler1" && tt.name != "lb1" { // who hears another's shares
			scheduler := outside(t, "scheduler1", p.port, p.login("scheduler1"))
			eventually(t, "the scheduler is connected", func() bool { return scheduler.Stats().Connected })
			if err := doSchedule(scheduler, "scheduler1"); err != nil {
				t.Fatal(err)
			}
			next(t, heard)
			next(t, seen)
			next(t, seen)
		}
		for _, cancel := range cancels {
			cancel()
		}
	}
	zabbix, _ := p.dial(t, "zabbix")
	if err := zabbix.Publish("steelyard.v1.metric.zabbix.web1.load", []byte("0.5")); err != nil {
		t.Fatal(err)
	}
	next(t, seen)
	select {
	case err := <-refused:
		t.Errorf("the viewer: %v", err)
	default:
	}
}

// TestPusherAndFollower: with their packaged permissions and no more.
func TestPusherAndFollower(t *testing.T) {
	p := startPackaged(t)
	pusher := stored("deploy", p.port, p.login("deploy"))
	defer pusher.Close()
	push := func(doc string, files map[string][]byte, expect uint64) definitions.Revision {
		t.Helper()
		r, err := pusher.Push(t.Context(), []byte(doc), files, definitions.Revision{Who: "alice"}, expect)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	policy := bytes.Repeat([]byte("wasm"), 100_000)
	var last definitions.Revision
	for i := range 3 {
		last = push(fmt.Sprint("services: ", i), map[string][]byte{"p.wasm": policy}, last.Number)
	}
	follower := stored("lb1", p.port, p.login("lb1"))
	defer follower.Close()
	seen := make(chan definitions.Revision, 4)
	done := make(chan struct{})
	ctx := t.Context()
	go func() {
		defer close(done)
		follower.Watch(ctx, func(r definitions.Revision) bool { seen <- r; return true })
	}()
	if diff := cmp.Diff(last, next(t, seen)); diff != "" {
		t.Errorf("-pushed +seen\n%s", diff)
	}
	last = push("services: new", nil, last.Number)
	if diff := cmp.Diff(last, next(t, seen)); diff != "" {
		t.Errorf("-pushed +seen\n%s", diff)
	}
	if _, doc, err := follower.Get(t.Context(), 2); err != nil || string(doc) != "services: 1" {
		t.Errorf("got %q, %v", doc, err)
	}
	if data, err := follower.File(t.Context(), last.SHA256); err != nil || string(data) != "services: new" {
		t.Errorf("got %q, %v", data, err)
	}
	if all, err := follower.History(t.Context()); err != nil || len(all) != 4 {
		t.Errorf("%d revisions, %v; want 4", len(all), err)
	}
	for _, name := range []string{"lb1", "prober1", "zabbix"} {
		d := stored(name, p.port, p.login(name))
		_, err := d.Push(t.Context(), []byte("x"), nil, definitions.Revision{}, definitions.AnyRevision)
		if err == nil || !strings.Contains(err.Error(), "permissions of the roles") {
			t.Errorf("%s pushes: %v, want a refusal", name, err)
		}
		d.Close()
	}
}
