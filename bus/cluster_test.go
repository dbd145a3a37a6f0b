// SPDX-License-Identifier: Apache-2.0

package bus_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/steelyard-lb/steelyard/bus"
	"github.com/steelyard-lb/steelyard/bus/bustest"
	"github.com/steelyard-lb/steelyard/core"
)

func presence(node string) core.Presence {
	return core.Presence{Node: node, Group: "blue", Inst: "A", Seq: 7, At: time.Now().UTC(), Roles: core.Roles{Probe: true, Apply: true},
		Version: "1.2", ConfigHash: "abc", Revision: 3, StartedAt: time.Now().Add(-time.Hour).UTC(), Epoch: 9, Suspects: true, Leaving: true}
}

func vector(node string) core.Vector {
	return core.Vector{Service: "web", Group: "blue", Node: node, Epoch: 1 << 49, Seq: 4, At: time.Now().UTC(), Decision: 12,
		Policy: "least-cpu", PolicyVersion: "v1", Backends: []core.VectorBackend{
			{Name: "web1", Slots: 65536, Opinion: 0.25, Health: core.Up}, {Name: "web2", Opinion: core.Hold, Health: core.Down, Note: "drained by alice, Prüfung"}, {Name: "web3"}}}
}

func flows(node string) core.FlowReport {
	return core.FlowReport{Node: node, Inst: "A", Service: "web", At: time.Now().UTC(), Live: true,
		Backends: []core.FlowOf{{Name: "web1", Open: 3, Opened: 9, Closed: 6}, {Name: "web2"}}}
}

// gather subscribes to all that nodes of the group blue say, and returns what comes.
func gather(t *testing.T, b *bus.Bus) <-chan any {
	t.Helper()
	got := make(chan any, 1024)
	note := func(cancel func(), err error) {
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(cancel)
	}
	hear, cancel, err := b.SubscribeFlows("blue", func(r core.FlowReport) { got <- r })
	note(cancel, err)
	if err := hear(nil, true); err != nil { // in force with those that come next
		t.Fatal(err)
	}
	note(b.SubscribePresences("blue", func(p core.Presence) { got <- p }))
	note(b.SubscribeVectors("blue", func(v core.Vector) { got <- v }))
	return got
}

// TestNodesMeet: what nodes say of themselves arrives as sent at the others of the group,
// and not at the one that said it.
func TestNodesMeet(t *testing.T) {
	one, two := twoNodes(t, 0)
	here, there := gather(t, one), gather(t, two)
	say := func(want any, publish func() error) {
		t.Helper()
		if err := publish(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, next(t, there)); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}
	}
	p, v, r := presence("lb1"), vector("lb1"), flows("lb1")
	say(p, func() error { return one.PublishPresence(p) })
	say(v, func() error { return one.PublishVector(v) })
	say(r, func() error { return one.PublishFlows(r, "blue") })

	// Another group is none of our business.
	p.Group, v.Group = "green", "green"
	for _, err := range []error{one.PublishPresence(p), one.PublishVector(v), one.PublishFlows(r, "green")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	// What is left out is filled in.
	if err := one.PublishPresence(core.Presence{Group: "blue"}); err != nil {
		t.Fatal(err)
	}
	if p := next(t, there).(core.Presence); p.Node != "lb1" || p.Inst == "" || p.Seq == 0 || p.At.IsZero() || p.Roles != (core.Roles{}) {
		t.Errorf("got %+v", p)
	}
	if err := two.PublishPresence(presence("lb2")); err != nil {
		t.Fatal(err)
	}
	if p, ok := next(t, here).(core.Presence); !ok || p.Node != "lb2" {
		t.Errorf("got %+v: want nothing of its own", p)
	}
	for _, b := range []*bus.Bus{one, two} {
		if s := b.Stats(); s.Invalid+s.Mismatched+s.Late+s.Repeated != 0 {
			t.Errorf("stats %+v", s)
		}
	}
}

func TestPublishClusterRefuses(t *testing.T) {
	b := bustest.Start(t)
	bad := vector("lb1")
	bad.Backends[0].Slots = 7
	negative := vector("lb1")
	negative.Backends[0].Opinion = -3
	for _, tt := range []struct {
		err  error
		want string
	}{
		{b.PublishPresence(core.Presence{}), "group: is missing"},
		{b.PublishVector(bad), "slots add up to 7, want 65536"},
		{b.PublishVector(negative), "opinion: -3"},
		{b.PublishVector(core.Vector{Service: "web", Group: "blue"}), "epoch: is missing or 0"},
		{b.PublishFlows(core.FlowReport{}, "blue"), "service: is missing"},
	} {
		if tt.err == nil || !strings.Contains(tt.err.Error(), tt.want) {
			t.Errorf("error %v, want %q in it", tt.err, tt.want)
		}
	}
}

// TestForgedAndLatePresences: a body that speaks for another node and what waited while the
// way was cut are dropped and counted. One in our own name is not, so that it can be told of.
func TestForgedAndLatePresences(t *testing.T) {
	log := &logBuffer{}
	port := freePort(t)
	startServer(t, port, "secret")
	url := fmt.Sprintf("nats://127.0.0.1:%d", port)
	b := bustest.StartWith(t, bus.Options{Node: "lb1", Servers: []string{url}, Login: bus.Login{User: "lb", Password: "secret"},
		Log: slog.New(slog.NewTextHandler(log, nil))})
	eventually(t, "connected", func() bool { return b.Stats().Connected })
	got := gather(t, b)
	nc, err := nats.Connect(url, nats.UserInfo("lb", "secret"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	send := func(subject, node string, seq int, uptime time.Duration) {
		body := fmt.Appendf(nil, `{"v":1,"node":%q,"group":"blue","inst":"A","seq":%d,"ts":%q,"uptime_seconds":%v,"roles":["probe"],"epoch":0}`,
			node, seq, time.Now().Format(time.RFC3339Nano), uptime.Seconds())
		if err := nc.Publish(bus.Prefix+"."+subject, body); err != nil {
			t.Fatal(err)
		}
	}
	const up = time.Hour
	begun := time.Now()
	send("node.blue.lb2", "lb2", 1, up)
	send("node.blue.lb3", "lb2", 2, up)             // speaks for another
	send("node.blue.lb1", "lb1", 2, up)             // a second node with our name
	send("node.blue.lb2", "lb2", 2, up-time.Minute) // waited for a minute
	send("node.blue.lb2", "lb2", 3, up)
	send("node.blue.lb2", "lb2", 3, up) // the same once more
	if err := nc.Publish("steelyard.v1.weights.blue.web.lb2", []byte(`{"v":1}`)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []uint64{1, 3} {
		if p := next(t, got).(core.Presence); p.Node != "lb2" || p.Seq != want {
			t.Errorf("after %s got %+v, want number %d of lb2", time.Since(begun), p, want)
		}
		if want > 1 {
			break
		}
		if p := next(t, got).(core.Presence); p.Node != "lb1" || p.Inst != "A" {
			t.Errorf("after %s got %+v, want that of the other lb1", time.Since(begun), p)
		}
	}
	eventually(t, "all is counted", func() bool {
		s := b.Stats()
		return s.Mismatched == 1 && s.Late == 1 && s.Repeated == 1 && s.Invalid == 1
	})
}
