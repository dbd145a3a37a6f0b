// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/steelyard-lb/steelyard/core"
	"golang.org/x/sys/unix"
)

// A limiter is a world with a service "web" under test and another that is not,
// whose backend keeps connections open until its client closes them.
type limiter struct {
	*world
	a    *Applier
	plan core.Plan
	cpu  int // that the client runs on
}

const heldAddr = "10.0.9.1:80"

func newLimiter(t *testing.T, edit func(*core.Traffic)) *limiter {
	b4, other := backend("b1", "10.0.2.11:8080", core.Slots), backend("b2", "10.0.2.12:8080", 0)
	b6 := backend("b1", "[fd00:2::11]:8080", core.Slots)
	web := with(service("web", heldAddr, core.TCP, b4, b6, other), func(t *core.Traffic) {
		t.Frontends = append(t.Frontends, core.ExactFrontend(netip.MustParseAddrPort("[fd00:9::1]:80"), core.TCP))
	})
	l := &limiter{world: newWorld(t), plan: plan(service("free", "10.0.9.1:81", core.TCP, b4, other), with(web, edit))}
	l.in(l.client, func() {
		l.up("c1", "10.0.1.3/24")
		var may unix.CPUSet
		l.must(unix.SchedGetaffinity(0, &may))
		for !may.IsSet(l.cpu) {
			l.cpu++
		}
	})
	for _, addr := range []string{"10.0.2.11:8080", "10.0.2.12:8080", "[fd00:2::11]:8080"} {
		l.hold(addr)
	}
	l.restart(false)
	t.Cleanup(func() { l.a.Close() })
	return l
}

// hold is a server that keeps its connections until the client ends them.
func (l *limiter) hold(addr string) {
	l.in(l.backends, func() {
		listener, err := net.Listen("tcp", addr)
		l.must(err)
		l.t.Cleanup(func() { listener.Close() })
		go func() {
			for {
				c, err := listener.Accept()
				if err != nil {
					return
				}
				go func() {
					var b [1]byte
					_, _ = c.Read(b[:]) // returns when the client has gone
					c.Close()
				}()
			}
		}()
	})
}

// restart ends the Applier as a killed process does, if there is one, and starts
// the next, which must find nothing to change.
func (l *limiter) restart(again bool) {
	l.t.Helper()
	l.in(l.balancer, func() {
		if again {
			l.must(l.a.Close())
		}
		var err error
		l.a, err = Open(Config{})
		l.must(err)
		_, found, err := l.a.Adopt(context.Background())
		l.must(err)
		before, err := l.a.w.generation()
		l.must(err)
		_, refused, err := l.a.Sync(context.Background(), l.plan)
		l.must(errors.Join(err, errorOf(refused)))
		after, err := l.a.w.generation()
		l.must(err)
		if found != again || again && after != before {
			l.t.Errorf("adopted %v, and then %d transactions: want none", found, after-before)
		}
	})
}

// disturb does what must not touch a limit: new weights, a change of another
// service, a change of this one that is not of the limits, and a restart.
func (l *limiter) disturb() {
	l.t.Helper()
	l.share(core.Slots / 2)
	l.in(l.balancer, func() {
		_, err := l.a.Reweight(context.Background(), l.plan.Services)
		l.must(err)
	})
	l.plan.Services[0] = with(l.plan.Services[0], func(t *core.Traffic) { t.OnEmpty = core.Drop })
	l.plan.Services[1] = with(l.plan.Services[1], func(t *core.Traffic) { t.OnEmpty = core.Drop })
	l.share(core.Slots)
	l.sync()
	l.restart(true)
}

func (l *limiter) sync() {
	l.t.Helper()
	l.in(l.balancer, func() {
		_, refused, err := l.a.Sync(context.Background(), l.plan)
		l.must(errors.Join(err, errorOf(refused)))
	})
}

// share gives the first backend of the services so many slots, and the last the
// rest.
func (l *limiter) share(slots uint32) {
	for i := range l.plan.Services {
		list := l.plan.Services[i].Backends
		list[0].Slots, list[len(list)-1].Slots = slots, core.Slots-slots
		list[len(list)-1].Alive = slots < core.Slots
	}
}

// dial connects from an address of the client's; it is closed with the test.
func (l *limiter) dial(from, to string) (c net.Conn, err error) {
	l.in(l.client, func() {
		// The kernel counts a connection that it refused on another processor for
		// two ticks more. On one, the limits are exact.
		var one unix.CPUSet
		one.Set(l.cpu)
		l.must(unix.SchedSetaffinity(0, &one))
		d := net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		if c, err = d.Dial("tcp", to); err == nil {
			l.t.Cleanup(func() { c.Close() })
		}
	})
	return c, err
}

// admit dials n times and reports how many were let in; the others must have been
// refused.
func (l *limiter) admit(n int, from string) (conns []net.Conn) {
	l.t.Helper()
	for range n {
		c, err := l.dial(from, heldAddr)
		if err == nil {
			conns = append(conns, c)
		} else if !errors.Is(err, unix.ECONNREFUSED) {
			l.t.Fatalf("dial from %s: %v: want a refusal", from, err)
		}
	}
	return conns
}

func (l *limiter) wantAdmitted(n, want int, from string) []net.Conn {
	l.t.Helper()
	got := l.admit(n, from)
	if len(got) != want {
		l.t.Fatalf("%d of %d connections from %s were let in, want %d", len(got), n, from, want)
	}
	return got
}

// wantSoon dials until n more are let in, and then once more, to be refused. The
// kernel looks at most once a tick of its clock for connections that have ended.
func (l *limiter) wantSoon(n int, from string) {
	l.t.Helper()
	got := 0
	for end := time.Now().Add(patience); got < n && time.Now().Before(end); {
		got += len(l.admit(1, from))
	}
	if got < n {
		l.t.Fatalf("%d connections from %s were let in, want %d", got, from, n)
	}
	l.wantAdmitted(1, 0, from)
}

func (l *limiter) wantTurned(want core.Turned) {
	l.t.Helper()
	all, err := l.a.Counters(context.Background())
	if err != nil {
		l.t.Fatal(err)
	}
	if diff := cmp.Diff(want, all[core.CounterKey{Service: "web"}].Turned); diff != "" {
		l.t.Errorf("turned away -want +counted:\n%s", diff)
	}
	if free := all[core.CounterKey{Service: "free"}].Turned; free.Total() > 0 {
		l.t.Errorf("the service without limits turned away %+v", free)
	}
}

const c2, c3 = "10.0.1.2", "10.0.1.3" // the client's addresses

// closeAll ends connections and waits until conntrack has seen them end, which is
// when the server's end of one is gone, too.
func (l *limiter) closeAll(conns []net.Conn) {
	l.t.Helper()
	for _, c := range conns {
		if err := c.(*net.TCPConn).CloseWrite(); err != nil {
			l.t.Fatal(err)
		}
		var b [1]byte
		_ = c.SetReadDeadline(time.Now().Add(patience)) // the server closes at once
		if _, err := c.Read(b[:]); err == nil || errors.Is(err, unix.EAGAIN) {
			l.t.Fatalf("the server did not close: %v", err)
		}
		c.Close()
	}
}

func TestOpenLimit(t *testing.T) {
	l := newLimiter(t, func(t *core.Traffic) { t.Limits = core.Limits{Open: 5, Answer: core.Reject} })
	open := l.wantAdmitted(7, 5, c2)
	l.wantTurned(core.Turned{Open: 2})
	l.disturb()
	l.wantAdmitted(1, 0, c3)
	l.wantTurned(core.Turned{Open: 3})
	if _, err := l.dial(c2, "10.0.9.1:81"); err != nil {
		t.Errorf("the service without limits: %v", err)
	}
	l.closeAll(open[:2])
	l.wantSoon(2, c2)
}

func TestOpenLimitPerClient(t *testing.T) {
	l := newLimiter(t, func(t *core.Traffic) { t.Limits = core.Limits{OpenPerClient: 3, Clients: 100, Answer: core.Reject} })
	open := l.wantAdmitted(5, 3, c2)
	l.wantAdmitted(4, 3, c3)
	l.disturb()
	l.wantAdmitted(1, 0, c2)
	l.wantTurned(core.Turned{ClientOpen: 4})
	l.closeAll(open[:1])
	l.wantSoon(1, c2)
}

// A limit that is changed holds for the clients that are known, too; the count of
// open connections of the service, which is another limit's, goes on.
func TestChangedLimit(t *testing.T) {
	limits := func(perClient uint32) func(*core.Traffic) {
		return func(t *core.Traffic) {
			t.Limits = core.Limits{Open: 6, OpenPerClient: perClient, Clients: 100, Answer: core.Reject}
		}
	}
	l := newLimiter(t, limits(3))
	l.wantAdmitted(4, 3, c2)
	l.plan.Services[1] = with(l.plan.Services[1], limits(1))
	l.sync()
	l.wantAdmitted(2, 1, c2) // those from before the change are not among its count
	l.wantAdmitted(2, 1, c3)
	l.plan.Services[1] = with(l.plan.Services[1], limits(0))
	l.sync()
	l.wantSoon(1, c2)
}

// When the set of clients is full, those who are not in it are not limited each
// by itself. To refuse them would let a few forged addresses lock everybody out.
func TestFullSetOfClients(t *testing.T) {
	l := newLimiter(t, func(t *core.Traffic) {
		t.Limits = core.Limits{OpenPerClient: 2, NewPerClient: core.Rate{PerSecond: 1, Burst: 3}, Clients: 1, Open: 8, Answer: core.Reject}
	})
	l.wantAdmitted(3, 2, c2)
	l.wantAdmitted(8, 6, c3) // up to the limit of the service
	l.wantTurned(core.Turned{ClientOpen: 1, Open: 2})
}

// rated checks how many of n were let in since began: the burst, and what came
// back since.
func rated(t *testing.T, got, burst, perSecond int, began time.Time) {
	t.Helper()
	most := burst + int(time.Since(began).Seconds()*float64(perSecond)) + 1
	if time.Since(began) < time.Second/time.Duration(perSecond) {
		most = burst
	}
	if got < burst || got > most {
		t.Fatalf("%d were let in, want %d to %d", got, burst, most)
	}
}

func TestRateLimit(t *testing.T) {
	l := newLimiter(t, func(t *core.Traffic) {
		t.Limits = core.Limits{New: core.Rate{PerSecond: 1, Burst: 20}, Answer: core.Reject}
	})
	began := time.Now()
	got := len(l.admit(30, c2))
	rated(t, got, 20, 1, began)
	l.disturb()
	got += len(l.admit(10, c3))
	rated(t, got, 20, 1, began)
	l.wantTurned(core.Turned{Rate: uint64(40 - got)})
}

func TestRateLimitPerClient(t *testing.T) {
	l := newLimiter(t, func(t *core.Traffic) {
		t.Limits = core.Limits{NewPerClient: core.Rate{PerSecond: 1, Burst: 5}, Clients: 10, Answer: core.Reject}
	})
	began := time.Now()
	got := len(l.admit(8, c2))
	rated(t, got, 5, 1, began)
	l.disturb()
	more := len(l.admit(1, c2))
	rated(t, got+more, 5, 1, began)
	other := len(l.admit(8, c3))
	rated(t, other, 5, 1, began)
	l.wantTurned(core.Turned{ClientRate: uint64(17 - got - more - other)})
}

// A client who is turned away may be met with silence.
func TestLimitDrops(t *testing.T) {
	l := newLimiter(t, func(t *core.Traffic) { t.Limits = core.Limits{Open: 1, Answer: core.Drop} })
	l.wantAdmitted(1, 1, c2)
	l.in(l.client, func() {
		d := net.Dialer{Timeout: 100 * time.Millisecond}
		if _, err := d.Dial("tcp", heldAddr); err == nil || !strings.Contains(err.Error(), "timeout") {
			l.t.Errorf("dial: %v: want a timeout", err)
		}
	})
	l.wantTurned(core.Turned{Open: 1})
}
