// SPDX-License-Identifier: Apache-2.0

package conntrack_test

import (
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/conntrack"
)

const eventsSysctl = "net.netfilter.nf_conntrack_events"

// unhurried is watched of every service, whose counts nobody needs live, or
// somebody does.
func (b *bench) unhurried(live bool) []conntrack.Watched {
	w := b.watched(tcp4, core.TCP, b.VIP4, b.Backends[0].Addr4)
	w.Live = live
	return []conntrack.Watched{w}
}

// awaitLive waits until the counts are live, or are not, and returns how long it
// took.
func awaitLive(t testing.TB, r *conntrack.Reader, want bool) time.Duration {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	start := time.Now()
	for {
		if _, live := r.AsOf(); live == want {
			return time.Since(start)
		}
		if time.Since(start) > waitAtMost {
			t.Fatalf("live: %t, want %t; reader %+v", !want, want, r.Stats())
		}
		<-tick.C
	}
}

// Where nobody needs live counts the kernel tells of no connection, and the
// table is read now and then.
func TestNobodyListens(t *testing.T) {
	b := newBench(t, 1)
	r := b.open(conntrack.Config{Resync: 100 * time.Millisecond})
	r.Watch(b.unhurried(false))
	b.run(r)
	first := b.dial("tcp", b.VIP4)
	b.dial("tcp", b.VIP4)
	await(t, r, tcp4, core.FlowCount{Open: 2, Opened: 2})
	b.end(first, politely)
	await(t, r, tcp4, core.FlowCount{Open: 1, Opened: 2, Closed: 1})
	b.hammer(100, 10)
	if s := r.Stats(); s.Events != 0 || s.Live || b.listens() {
		t.Errorf("events were followed: %+v", s)
	}
	if at, _ := r.AsOf(); at.IsZero() || time.Since(at) > waitAtMost {
		t.Errorf("the counts are of %v, want of a moment ago", at)
	}
	if got := b.setting(); got != "1" {
		t.Errorf("%s is %s, want 1: connections could not tell of their end later", eventsSysctl, got)
	}
}

// setting is the kernel's in the balancer.
func (b *bench) setting() (value string) {
	b.t.Helper()
	err := b.Balancer.Do(func() error {
		raw, err := os.ReadFile("/proc/sys/" + strings.ReplaceAll(eventsSysctl, ".", "/"))
		value = strings.TrimSpace(string(raw))
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return value
}

// listens reports whether a socket in the balancer has joined a group of netfilter.
func (b *bench) listens() (yes bool) {
	b.t.Helper()
	const netfilter = "12" // NETLINK_NETFILTER
	err := b.Balancer.Do(func() error {
		raw, err := os.ReadFile("/proc/thread-self/net/netlink")
		for line := range strings.Lines(string(raw)) {
			// sk, Eth (the protocol), Pid, Groups and others
			f := strings.Fields(line)
			yes = yes || len(f) > 3 && f[1] == netfilter && strings.Trim(f[3], "0") != ""
		}
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return yes
}

// From the moment that somebody needs live counts, connections that began before
// tell of their end like any other.
func TestSwitch(t *testing.T) {
	b := newBench(t, 1)
	r := b.open(conntrack.Config{}) // the next reading by itself is 10 s away
	r.Watch(b.unhurried(false))
	b.run(r)
	var held []net.Conn
	for range 3 {
		held = append(held, b.dial("tcp", b.VIP4))
	}
	for i := range 2 {
		r.Watch(b.unhurried(true))
		if took := awaitLive(t, r, true); took > 5*time.Second {
			t.Errorf("the counts were live after %v: nothing but the next reading brought them", took)
		}
		if open := r.Counts()[tcp4].Open; open != uint64(len(held)) {
			t.Errorf("%d connections open once the counts are live, want %d", open, len(held))
		}
		if !b.listens() {
			t.Error("nobody listens, says the kernel")
		}
		resyncs := r.Stats().Resyncs
		b.end(held[0], [...]byte{politely, rudely}[i])
		held = append(held[1:], b.dial("tcp", b.VIP4), b.dial("tcp", b.VIP4))
		b.awaitOpen(r, len(held))
		if n := r.Stats().Resyncs; n != resyncs {
			t.Errorf("%d readings of the table, want none: the events should have told", n-resyncs)
		}

		r.Watch(b.unhurried(false))
		awaitLive(t, r, false)
		events := r.Stats().Events
		b.hammer(20, 10)
		b.end(held[0], politely) // nobody hears of this
		held = held[1:]
		if n := r.Stats().Events; n != events || b.listens() {
			t.Errorf("%d events after following has ended; listens: %t", n-events, b.listens())
		}
	}
}

func (b *bench) awaitOpen(r *conntrack.Reader, want int) {
	b.t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(waitAtMost); r.Counts()[tcp4].Open != uint64(want); <-tick.C {
		if time.Now().After(deadline) {
			b.t.Fatalf("%+v, want %d open; reader %+v", r.Counts()[tcp4], want, r.Stats())
		}
	}
}

// Switched on and off under traffic, no connection is counted for ever.
func TestSwitchUnderTraffic(t *testing.T) {
	b := newBench(t, 1)
	r := b.open(conntrack.Config{Resync: 50 * time.Millisecond})
	r.Watch(b.unhurried(false))
	b.run(r)
	b.dial("tcp", b.VIP4)
	var traffic sync.WaitGroup
	traffic.Go(func() { b.hammer(3000, 20) })
	for i := range 20 {
		live := i%2 == 0
		r.Watch(b.unhurried(live))
		awaitLive(t, r, live)
	}
	r.Watch(b.unhurried(true))
	awaitLive(t, r, true)
	traffic.Wait()
	b.awaitOpen(r, 1)
	c := r.Counts()[tcp4]
	if c.Opened-c.Closed != c.Open {
		t.Errorf("%+v does not add up", c)
	}
}

// A backend that gets no new connections has the events followed for as long as
// it has old ones, and no longer.
func TestIdleBackendIsFollowed(t *testing.T) {
	b := newBench(t, 1)
	r := b.open(conntrack.Config{})
	r.Watch(b.unhurried(false))
	b.run(r)
	polite, rude := b.dial("tcp", b.VIP4), b.dial("tcp", b.VIP4)
	r.SetIdle(tcp4, true)
	awaitLive(t, r, true)
	b.awaitOpen(r, 2)
	b.end(rude, rudely)
	b.untilEntries(r, map[string]int{"ESTABLISHED": 1})
	if s := r.Stats(); !s.Live || s.Released != 1 {
		t.Errorf("a connection is open still, want the events followed and one released: %+v", s)
	}
	b.end(polite, politely)
	awaitLive(t, r, false)
	at, _ := r.AsOf()
	r.SetIdle(tcp4, true) // once more, as when a backend of weight 0 is drained
	awaitLive(t, r, true)
	awaitLive(t, r, false)
	if again, _ := r.AsOf(); !again.After(at) {
		t.Error("the connections were not counted anew")
	}
}

// With events switched off by an operator the counts come all the same, late.
func TestEventsSwitchedOff(t *testing.T) {
	b := newBench(t, 1)
	if err := b.Balancer.Sysctl(eventsSysctl, "0"); err != nil {
		t.Fatal(err)
	}
	r := b.follow(conntrack.Config{})
	b.dial("tcp", b.VIP4)
	b.awaitOpen(r, 1)
	if s := r.Stats(); s.Live || s.Events != 0 {
		t.Errorf("want no events: %+v", s)
	}
	if got := b.setting(); got != "0" {
		t.Errorf("%s is %s, want what the operator wrote", eventsSysctl, got)
	}
}
