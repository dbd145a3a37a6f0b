// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/steelyard-lb/steelyard/core"
)

// TestOnlyWhatIsHeardIsSent: with nobody there but the subscribers of this process that
// take samples the short way, however many come and go, the server gets no message; and
// a subscriber from outside or over the control connection gets the next one.
func TestOnlyWhatIsHeardIsSent(t *testing.T) {
	b, err := Start(t.Context(), Options{Node: "n1", Listen: "127.0.0.1:0", Users: []User{{Name: "zabbix", Password: "secret"}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	s := testSample()
	s.Node = "n1"
	var own atomic.Int64
	listen := func() func() {
		cancel, err := b.SubscribeSamples(func(core.Sample) { own.Add(1) })
		if err != nil {
			t.Fatal(err)
		}
		return cancel
	}
	messages := func() int64 {
		if err := b.data.Flush(); err != nil {
			t.Fatal(err)
		}
		if err := b.control.Flush(); err != nil {
			t.Fatal(err)
		}
		v, err := b.server.srv.Varz(nil)
		if err != nil {
			t.Fatal(err)
		}
		return v.InMsgs
	}
	publish := func() {
		s.Seq++
		if err := b.PublishSample(s); err != nil {
			t.Fatal(err)
		}
	}

	first, second := listen(), listen()
	t.Cleanup(first)
	before := messages()
	publish()
	second()
	// The server may know for a moment longer of a subscription that is gone, and then
	// gets a message too many rather than one too few.
	for end := time.Now().Add(30 * time.Second); b.heard(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the server still knows of the subscription that ended")
		}
	}
	publish()
	if err := b.PublishDecision(core.Decision{Service: "web"}); err != nil {
		t.Fatal(err)
	}
	if n := messages() - before; n != 0 {
		t.Errorf("the server got %d messages that nobody takes", n)
	}
	for end := time.Now().Add(30 * time.Second); own.Load() < 3; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d samples came the short way, want 3", own.Load())
		}
	}

	got := make(chan string, 10)
	cancel, err := b.Subscribe("probe.>", func(subject string, _ []byte) { got <- subject })
	if err != nil {
		t.Fatal(err)
	}
	publish()
	want(t, got, ProbeSubject(s.Backend, s.Probe, s.Node))
	cancel()

	nc, err := nats.Connect("nats://"+b.ListenAddr().String(), nats.UserInfo("zabbix", "secret"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	for _, pattern := range []string{Prefix + ".probe.>", Prefix + ".decision.>"} {
		if _, err := nc.Subscribe(pattern, func(m *nats.Msg) { got <- m.Subject }); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	publish()
	want(t, got, ProbeSubject(s.Backend, s.Probe, s.Node))
	if err := b.PublishDecision(core.Decision{Service: "web"}); err != nil {
		t.Fatal(err)
	}
	want(t, got, DecisionSubject("web"))

	b.Close()
	if err := b.PublishSample(s); err == nil || !strings.Contains(err.Error(), ErrAway.Error()) {
		t.Errorf("publish on a closed bus: %v, want %v", err, ErrAway)
	}
}

func want(t *testing.T, got <-chan string, subject string) {
	t.Helper()
	select {
	case s := <-got:
		if s != subject {
			t.Fatalf("got %s, want %s", s, subject)
		}
	case <-time.After(30 * time.Second):
		t.Fatalf("%s did not come", subject)
	}
}
