// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/steelyard-lb/steelyard/core"
)

// TestCloudEventsOut: with the option, what is published seldom has the attributes of an
// event, and what is published often has none.
func TestCloudEventsOut(t *testing.T) {
	for _, on := range []bool{false, true} {
		b, err := Start(t.Context(), Options{Node: "lb é1", CloudEvents: on})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(b.Close)
		got := make(chan *nats.Msg, 16)
		if _, err := b.control.ChanSubscribe(Prefix+".>", got); err != nil {
			t.Fatal(err)
		}
		if err := b.control.Flush(); err != nil {
			t.Fatal(err)
		}
		s := testSample()
		s.Node = "lb é1"
		at := noon
		for class, publish := range map[Class]func() error{
			ProbeClass:    func() error { return b.PublishSample(s) },
			NodeClass:     func() error { return b.PublishPresence(core.Presence{Group: "g"}) },
			FlowsClass:    func() error { return b.PublishFlows(core.FlowReport{Service: "web"}, "g") },
			WeightsClass:  func() error { return b.PublishVector(core.Vector{Service: "web", Group: "g", Epoch: 1, At: at}) },
			HealthClass:   func() error { return b.PublishHealth(core.HealthChange{At: at}) },
			DecisionClass: func() error { return b.PublishDecision(core.Decision{Service: "web", At: at}) },
			CommitClass:   func() error { return b.PublishCommit(core.Commit{At: at}) },
			EventClass:    func() error { return b.PublishEvent(core.Event{Severity: core.Info, Topic: "x", At: at}) },
		} {
			if err := publish(); err != nil {
				t.Fatal(err)
			}
			var m *nats.Msg
			select {
			case m = <-got:
			case <-time.After(30 * time.Second):
				t.Fatalf("no message of class %s", class)
			}
			checkHeader(t, b, class, m.Header, on && class != ProbeClass && class != NodeClass && class != FlowsClass)
		}
	}
}

func checkHeader(t *testing.T, b *Bus, class Class, h nats.Header, wanted bool) {
	t.Helper()
	if !wanted {
		if len(h) != 0 {
			t.Errorf("class %s has headers %v", class, h)
		}
		return
	}
	for key, want := range map[string]string{"ce-specversion": "1.0", "ce-source": "/steelyard/nodes/lb%20%C3%A91",
		"ce-type": "steelyard.v1." + string(class), "ce-time": "2026-01-02T12:00:00.123456789Z"} {
		if got := h[key]; len(got) != 1 || got[0] != want {
			t.Errorf("class %s: %s is %q, want %q", class, key, got, want)
		}
	}
	if id := h[ceID]; len(id) != 1 || id[0][:len(b.inst)] != b.inst {
		t.Errorf("class %s: ce-id is %q, want one of this run", class, id)
	}
}

func TestCEValue(t *testing.T) {
	for in, want := range map[string]string{"plain-1.0": "plain-1.0", `a "b" 5%`: "a%20%22b%22%205%25", "é\n": "%C3%A9%0A"} {
		if got := ceValue(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
