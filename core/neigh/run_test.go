// SPDX-License-Identifier: Apache-2.0

package neigh

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/lab/bubbletest"
)

// A fakeKernel has one link, on which everything is.
type fakeKernel struct {
	events  chan []message // capacity 100
	stopped chan struct{}

	stopping sync.Once

	mu         sync.Mutex
	link       link        // guarded by mu
	neighbours []neighbour // guarded by mu
	failure    error       // guarded by mu; of all requests
	lost       bool        // guarded by mu; the next listen says so
	refusal    unix.Errno  // guarded by mu; of asks
	dumps      []time.Time // guarded by mu
	routed     []time.Time // guarded by mu; one per address
	asks       []timedAsk  // guarded by mu
}

type timedAsk struct {
	at time.Time
	ask
}

var (
	ourMAC   = [6]byte{2, 0, 0, 0, 0, 1}
	theirMAC = [6]byte{2, 0, 0, 0, 0, 2}
	eth0     = link{index: 7, name: "eth0", mac: ourMAC, up: true, ethernet: true}
	hop      = core.Hop{MAC: theirMAC, Own: ourMAC, Device: "eth0"}
	a1       = netip.MustParseAddr("192.0.2.1")
	a2       = netip.MustParseAddr("192.0.2.2")
)

func newFake(n ...neighbour) *fakeKernel {
	return &fakeKernel{events: make(chan []message, 100), stopped: make(chan struct{}), link: eth0, neighbours: n}
}

func (k *fakeKernel) listen() ([]message, error) {
	select {
	case list := <-k.events:
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.lost {
			k.lost = false
			return nil, errLost
		}
		return list, nil
	case <-k.stopped:
		return nil, errors.New("stopped")
	}
}

func (k *fakeKernel) stop()        { k.stopping.Do(func() { close(k.stopped) }) }
func (k *fakeKernel) close() error { return nil }

func (k *fakeKernel) dump(what kind) ([]message, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.failure != nil {
		return nil, k.failure
	}
	if what == aboutLink {
		k.dumps = append(k.dumps, time.Now())
		return []message{{kind: aboutLink, link: k.link}}, nil
	}
	var list []message
	for _, n := range k.neighbours {
		list = append(list, message{kind: aboutNeighbour, neighbour: n})
	}
	return list, nil
}

func (k *fakeKernel) routes(addrs []netip.Addr) ([]answer, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.failure != nil {
		return nil, k.failure
	}
	list := make([]answer, len(addrs))
	for i := range addrs {
		list[i].route = route{typ: unix.RTN_UNICAST, device: k.link.index}
		k.routed = append(k.routed, time.Now())
	}
	return list, nil
}

func (k *fakeKernel) solicit(asks []ask) ([]unix.Errno, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.failure != nil {
		return nil, k.failure
	}
	list := make([]unix.Errno, len(asks))
	for i, a := range asks {
		k.asks = append(k.asks, timedAsk{time.Now(), a})
		list[i] = k.refusal
	}
	return list, nil
}

// tell sends an event about a neighbour.
func (k *fakeKernel) tell(n neighbour, gone bool) {
	k.events <- []message{{kind: aboutNeighbour, neighbour: n, gone: gone}}
}

func (k *fakeKernel) set(f func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f()
}

func (k *fakeKernel) asked() []timedAsk {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.asks)
}

func near(a netip.Addr, state uint16) neighbour {
	n := neighbour{addr: a, device: eth0.index, state: state}
	if state&valid != 0 {
		n.mac = theirMAC
	}
	return n
}

// bubble runs f beside a Table, with a clock of its own.
func bubble(t *testing.T, k *fakeKernel, f func(t *testing.T, tab *Table)) {
	bubbletest.Run(t, func(t *testing.T) {
		k.events, k.stopped = make(chan []message, 100), make(chan struct{})
		tab := newTable(k, Config{})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- tab.Run(ctx) }()
		f(t, tab)
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
	})
}

func wantHop(t *testing.T, tab *Table, a netip.Addr, want core.Hop) {
	t.Helper()
	synctest.Wait()
	if got, known := tab.Hop(a); got != want || known != (want.Device != "") {
		t.Errorf("hop of %s: %+v (%t), want %+v; %s", a, got, known, want, tab.Why(a))
	}
}

func TestVerifies(t *testing.T) {
	k := newFake(near(a1, unix.NUD_STALE), near(a2, unix.NUD_PERMANENT))
	k.neighbours[0].age = time.Hour
	k.neighbours[1].foreign = true
	bubble(t, k, func(t *testing.T, tab *Table) {
		tab.Watch([]netip.Addr{a1, a2})
		for i := range 3 {
			time.Sleep(askPause)
			synctest.Wait()
			if n := len(k.asked()); n != i+1 {
				t.Fatalf("round %d: %d asks so far", i, n)
			}
			if a := k.asked()[i]; a.addr != a1 || !a.verify || a.fresh {
				t.Errorf("asked %+v, want a verification of %s", a.ask, a1)
			}
			time.Sleep(DefaultVerify - askPause)
		}
		// One that somebody else has just verified can wait.
		k.tell(near(a1, unix.NUD_REACHABLE), false)
		synctest.Wait()
		before := len(k.asked())
		time.Sleep(DefaultVerify - askPause)
		synctest.Wait()
		if n := len(k.asked()); n > before+1 {
			t.Errorf("asked %d times in less than the interval", n-before)
		}
		wantHop(t, tab, a1, hop)
		wantHop(t, tab, a2, hop)
	})
}

func TestAsksAgain(t *testing.T) {
	k := newFake()
	bubble(t, k, func(t *testing.T, tab *Table) {
		tab.Watch([]netip.Addr{a1})
		time.Sleep(10 * retry)
		k.tell(near(a1, unix.NUD_FAILED), false)
		time.Sleep(10 * retry)
		wantHop(t, tab, a1, core.Hop{})
		asks := k.asked()
		if len(asks) < 18 || len(asks) > 22 {
			t.Errorf("%d asks in 20 s, want one a second", len(asks))
		}
		if first, last := asks[0], asks[len(asks)-1]; !first.fresh || last.fresh || first.verify {
			t.Errorf("first %+v, last %+v", first.ask, last.ask)
		}
		if why := tab.Why(a1); why != "192.0.2.1 does not answer ARP on eth0" {
			t.Errorf("why: %s", why)
		}
		k.set(func() { k.refusal = unix.ENOBUFS })
		time.Sleep(2 * retry)
		synctest.Wait()
		if why := tab.Why(a1); why != "the kernel's neighbour table is full: raise the sysctl net.ipv4.neigh.default.gc_thresh3" {
			t.Errorf("why: %s", why)
		}
		k.tell(near(a1, unix.NUD_REACHABLE), false)
		wantHop(t, tab, a1, hop)
	})
}

func TestFailureAndGrace(t *testing.T) {
	bubbleOne := func(name string, f func(t *testing.T, tab *Table, k *fakeKernel)) {
		t.Run(name, func(t *testing.T) {
			k := newFake(near(a1, unix.NUD_REACHABLE))
			bubble(t, k, func(t *testing.T, tab *Table) {
				tab.Watch([]netip.Addr{a1})
				wantHop(t, tab, a1, hop)
				<-tab.Changed()
				f(t, tab, k)
			})
		})
	}
	bubbleOne("silent", func(t *testing.T, tab *Table, k *fakeKernel) {
		k.tell(near(a1, unix.NUD_PROBE), false)
		wantHop(t, tab, a1, hop)
		k.tell(near(a1, unix.NUD_FAILED), false)
		wantHop(t, tab, a1, core.Hop{})
		<-tab.Changed()
	})
	bubbleOne("removed and back", func(t *testing.T, tab *Table, k *fakeKernel) {
		k.tell(near(a1, unix.NUD_FAILED), false) // the kernel's way to remove
		k.tell(near(a1, unix.NUD_FAILED), true)
		time.Sleep(askPause)
		wantHop(t, tab, a1, hop)
		if asks := k.asked(); len(asks) != 1 || !asks[0].fresh {
			t.Errorf("asked %+v, want one fresh ask", asks)
		}
		k.tell(near(a1, unix.NUD_REACHABLE), false)
		time.Sleep(2 * grace)
		wantHop(t, tab, a1, hop)
		select {
		case <-tab.Changed():
			t.Error("told of a change")
		default:
		}
	})
	bubbleOne("removed for good", func(t *testing.T, tab *Table, k *fakeKernel) {
		k.tell(near(a1, unix.NUD_REACHABLE), true)
		time.Sleep(grace - time.Millisecond)
		wantHop(t, tab, a1, hop)
		time.Sleep(time.Millisecond)
		wantHop(t, tab, a1, core.Hop{})
		<-tab.Changed()
	})
	bubbleOne("removed, then silent", func(t *testing.T, tab *Table, k *fakeKernel) {
		k.tell(near(a1, unix.NUD_REACHABLE), true)
		k.tell(near(a1, unix.NUD_INCOMPLETE), false)
		wantHop(t, tab, a1, hop)
		k.tell(near(a1, unix.NUD_FAILED), false)
		wantHop(t, tab, a1, core.Hop{})
	})
	bubbleOne("on another link", func(t *testing.T, tab *Table, k *fakeKernel) {
		n := near(a1, unix.NUD_FAILED)
		n.device = 8
		k.tell(n, false)
		wantHop(t, tab, a1, hop)
	})
}

// TestPace has 10,000 silent neighbours, and one that is there.
func TestPace(t *testing.T) {
	k := newFake(near(a1, unix.NUD_REACHABLE))
	addrs := []netip.Addr{a1}
	for i := range 10_000 {
		addrs = append(addrs, netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}))
	}
	bubble(t, k, func(t *testing.T, tab *Table) {
		tab.Watch(addrs)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		times := map[netip.Addr]int{}
		for _, a := range k.asked() {
			times[a.addr]++
		}
		if n := len(k.asked()); n > 30_020 || n < 29_000 {
			t.Errorf("%d asks in 30 s, want 1,000 a second", n)
		}
		if len(times) != len(addrs) || times[a1] < 1 {
			t.Errorf("%d of %d were asked, the living one %d times", len(times), len(addrs), times[a1])
		}
	})
}

func TestReadsAnew(t *testing.T) {
	k := newFake()
	bubble(t, k, func(t *testing.T, tab *Table) {
		tab.Watch([]netip.Addr{a1})
		time.Sleep(time.Second)
		synctest.Wait()
		before := tab.Stats().Resyncs
		k.set(func() { k.neighbours, k.lost = []neighbour{near(a1, unix.NUD_REACHABLE)}, true })
		k.tell(near(a2, unix.NUD_REACHABLE), false) // which is lost
		wantHop(t, tab, a1, hop)
		if s := tab.Stats(); s.Overruns != 1 || s.Resyncs != before+1 {
			t.Errorf("stats %+v", s)
		}
		k.set(func() { k.link.mac[5]++ }) // nobody tells
		time.Sleep(resync)
		want := hop
		want.Own[5]++
		wantHop(t, tab, a1, want)
	})
}

func TestKernelFails(t *testing.T) {
	k := newFake(near(a1, unix.NUD_REACHABLE))
	k.failure = unix.ENOMEM
	bubble(t, k, func(t *testing.T, tab *Table) {
		tab.Watch([]netip.Addr{a1})
		wantHop(t, tab, a1, core.Hop{})
		k.set(func() { k.failure = nil })
		time.Sleep(pause)
		wantHop(t, tab, a1, hop)
	})
}

// TestRoutesArePaced has a routing daemon that changes its mind all the time.
func TestRoutesArePaced(t *testing.T) {
	k := newFake(near(a1, unix.NUD_REACHABLE))
	bubble(t, k, func(t *testing.T, tab *Table) {
		tab.Watch([]netip.Addr{a1})
		synctest.Wait()
		for i := range 2000 {
			dst := netip.MustParsePrefix([]string{"0.0.0.0/0", "198.18.0.0/15", "2001:db8::/32"}[i%3])
			k.events <- []message{{kind: aboutRoute, route: route{dst: dst}}}
			time.Sleep(time.Millisecond)
		}
		synctest.Wait()
		if n := len(k.routed); n > 2000/int(askPause/time.Millisecond)+2 || n < 50 {
			t.Errorf("%d routes asked for in 2 s", n)
		}
		k.set(func() { k.routed = nil })
		k.events <- []message{{kind: aboutRoute, route: route{dst: netip.MustParsePrefix("198.18.0.0/15")}}}
		time.Sleep(time.Second)
		synctest.Wait()
		if n := len(k.routed); n > 0 {
			t.Errorf("%d routes asked for after one that is not for us", n)
		}
	})
}

func TestWatchReplaces(t *testing.T) {
	k := newFake(near(a1, unix.NUD_REACHABLE), near(a2, unix.NUD_REACHABLE))
	bubble(t, k, func(t *testing.T, tab *Table) {
		tab.Watch([]netip.Addr{a1, a1, {}, netip.MustParseAddr("::ffff:192.0.2.1")})
		wantHop(t, tab, a1, hop)
		wantHop(t, tab, netip.MustParseAddr("::ffff:192.0.2.1"), hop)
		wantHop(t, tab, a2, core.Hop{})
		<-tab.Changed()
		tab.Watch([]netip.Addr{a2})
		time.Sleep(askPause)
		wantHop(t, tab, a2, hop)
		wantHop(t, tab, a1, core.Hop{})
		<-tab.Changed()
		if v := tab.Views(); len(v) != 1 || v[0].Addr != a2 || v[0].State != "reachable" {
			t.Errorf("views %+v", v)
		}
	})
}

// TestHammer calls everything at once; the race detector is the judge.
func TestHammer(t *testing.T) {
	k := newFake(near(a1, unix.NUD_REACHABLE))
	bubble(t, k, func(t *testing.T, tab *Table) {
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for j := range 200 {
					switch (i + j) % 4 {
					case 0:
						tab.Watch([]netip.Addr{a1, a2}[:j%3])
					case 1:
						tab.Hop(a1)
						tab.Why(a2)
					case 2:
						tab.Views()
					default:
						k.tell(near(a2, uint16(1<<(j%8))), j%2 == 0)
					}
				}
			})
		}
		wg.Wait()
		tab.Watch([]netip.Addr{a1})
		time.Sleep(askPause)
		wantHop(t, tab, a1, hop)
	})
}

func TestListenFails(t *testing.T) {
	k := newFake()
	k.stop()
	tab := newTable(k, Config{})
	if err := tab.Run(context.Background()); err == nil {
		t.Error("run ended without an error")
	}
}
