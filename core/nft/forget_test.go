// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// remembered puts entries into the map of persistence of a service, as packets of
// as many clients would.
func remembered(t testing.TB, a *Applier, s *core.ServicePlan, n int, to func(i int) netip.AddrPort) {
	t.Helper()
	c := compiler{s: s}
	of := c.stickyMap(false)
	for first := 0; first < n; first += 1000 {
		a.b.reset(a.table, a.w.seq)
		var list []*elem
		for i := first; i < min(n, first+1000); i++ {
			client := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
			list = append(list, &elem{key: appendAddr(nil, client), data: appendTarget(nil, of.data, to(i))})
		}
		a.b.writeElems(of, list, a.b.addElements)
		a.b.finish()
		if complaints, err := a.w.transact(&a.b); err != nil || len(complaints) > 0 {
			t.Fatalf("%v %+v", err, complaints)
		}
	}
	a.gen, _ = a.w.generation()
}

// Forget takes out the entries that the filter picks and no others, and Tend those
// of dead backends.
func TestForgetAndTend(t *testing.T) {
	newNetns(t)
	a := open(t, Config{})
	s := sticky(service("web", "192.0.2.10:80", core.TCP, backend("a", "198.51.100.1:8080", 32768), backend("b", "198.51.100.2:8080", 32768)))
	mustSync(t, a, plan(s, service("plain", "192.0.2.11:80", core.TCP, backend("a", "198.51.100.1:8080", 65536))))
	fill := func() {
		if _, err := a.Forget(t.Context(), "web", core.SessionFilter{}); err != nil {
			t.Fatal(err)
		}
		remembered(t, a, &s, 3000, func(i int) netip.AddrPort { return s.Backends[i%2].Addr })
	}
	left := func() int {
		found, err := a.Sessions(t.Context(), s, core.SessionFilter{}, 5)
		if err != nil || len(found.List) != min(5, found.Counts[0].Entries) {
			t.Fatalf("%+v, %v", found, err)
		}
		return found.Counts[0].Entries
	}
	for _, tt := range []struct {
		name string
		f    core.SessionFilter
		want int
	}{
		{"one", core.SessionFilter{Client: netip.MustParsePrefix("10.0.1.1/32")}, 1},
		{"a network", core.SessionFilter{Client: netip.MustParsePrefix("10.0.1.0/24")}, 256},
		{"of a backend", core.SessionFilter{Backend: "a"}, 1500},
		{"both", core.SessionFilter{Backend: "b", Client: netip.MustParsePrefix("10.0.1.0/24")}, 128},
		{"of nobody", core.SessionFilter{Client: netip.MustParsePrefix("2001:db8::/32")}, 0},
		{"all", core.SessionFilter{}, 3000},
	} {
		fill()
		n, err := a.Forget(t.Context(), "web", tt.f)
		if rest := left(); err != nil || n != tt.want || rest != 3000-tt.want {
			t.Errorf("%s: forgot %d and left %d, %v; want %d", tt.name, n, rest, err, tt.want)
		}
	}
	if n, err := a.Forget(t.Context(), "plain", core.SessionFilter{}); n != 0 || err != nil {
		t.Errorf("of a service without persistence: %d, %v", n, err)
	}
	if _, err := a.Forget(t.Context(), "nope", core.SessionFilter{}); err == nil {
		t.Error("of no service: no error")
	}

	if again, err := a.Tend(t.Context()); again != 0 || err != nil {
		t.Errorf("Tend while all live: %v, %v", again, err)
	}
	s.Backends[0].Slots, s.Backends[1].Slots, s.Backends[0].Alive = 0, core.Slots, false
	if _, err := a.Reweight(t.Context(), []core.ServicePlan{s}); err != nil {
		t.Fatal(err)
	}
	fill() // as connections that were under way do
	if again, err := a.Tend(t.Context()); again != sweepEvery || err != nil || left() != 1500 {
		t.Errorf("Tend with one dead: %v, %v, and %d entries left; want 1500", again, err, left())
	}
	gen, err := a.w.generation()
	if err != nil {
		t.Fatal(err)
	}
	if c := mustSync(t, a, plan(s, service("plain", "192.0.2.11:80", core.TCP, backend("a", "198.51.100.1:8080", 65536)))); c.Changed != 0 || c.Generation != gen {
		t.Errorf("a sync after it: %+v, want generation %d and nothing changed", c, gen)
	}
}

// BenchmarkTend sweeps a full map in which nothing is dead, and BenchmarkForget
// empties it.
func BenchmarkTend(b *testing.B) { benchmarkSessions(b, false) }

func BenchmarkForget(b *testing.B) { benchmarkSessions(b, true) }

func benchmarkSessions(b *testing.B, forget bool) {
	newNetns(b)
	a := open(b, Config{})
	s := sticky(service("web", "192.0.2.10:80", core.TCP, backend("a", "198.51.100.1:8080", 65536), backend("b", "198.51.100.2:8080", 0)))
	s.Backends[1].Alive = false
	mustSync(b, a, plan(s))
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		if forget || i == 0 {
			b.StopTimer()
			remembered(b, a, &s, 65536, func(int) netip.AddrPort { return s.Backends[0].Addr })
			b.StartTimer()
		}
		began := time.Now()
		var err error
		if forget {
			_, err = a.Forget(b.Context(), "web", core.SessionFilter{})
		} else {
			_, err = a.Tend(b.Context())
		}
		if err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(began))
	}
	reportP50(b, took)
}

// A fickle context is done once it was asked so many times.
type fickle struct {
	context.Context
	left int
}

func (f *fickle) Err() error {
	if f.left--; f.left < 0 {
		return context.Canceled
	}
	return nil
}

// A sweep that is cut short, at any point of the dump, does not spoil the next.
func TestForgetCutShort(t *testing.T) {
	newNetns(t)
	a := open(t, Config{})
	s := sticky(service("web", "192.0.2.10:80", core.TCP, backend("a", "198.51.100.1:8080", 65536)))
	mustSync(t, a, plan(s))
	const clients = 5000
	remembered(t, a, &s, clients, func(int) netip.AddrPort { return s.Backends[0].Addr })
	sum := 0
	for _, left := range []int{0, 1, 7, 900, clients - 1, clients, clients + 1, clients + 3} {
		n, err := a.Forget(&fickle{t.Context(), left}, "web", core.SessionFilter{})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("cut after %d looks: %d, %v", left, n, err)
		}
		sum += n
	}
	n, err := a.Forget(t.Context(), "web", core.SessionFilter{})
	if err != nil || sum+n != clients {
		t.Errorf("forgot %d, %v and %d before: want %d together", n, err, sum, clients)
	}
}

// BenchmarkTendCut is how long an urgent commit waits for a sweep of a full map.
func BenchmarkTendCut(b *testing.B) {
	newNetns(b)
	a := open(b, Config{})
	s := sticky(service("web", "192.0.2.10:80", core.TCP, backend("a", "198.51.100.1:8080", 65536), backend("b", "198.51.100.2:8080", 0)))
	s.Backends[1].Alive = false
	mustSync(b, a, plan(s))
	remembered(b, a, &s, 65536, func(int) netip.AddrPort { return s.Backends[0].Addr })
	var took []time.Duration
	for b.Loop() {
		ctx, cancel := context.WithCancel(b.Context())
		cut := make(chan time.Time, 1)
		timer := time.AfterFunc(10*time.Millisecond, func() { cut <- time.Now(); cancel() })
		_, err := a.Tend(ctx)
		if ended := time.Now(); !timer.Stop() {
			took = append(took, ended.Sub(<-cut))
		}
		cancel()
		if err != nil {
			b.Fatal(err)
		}
	}
	reportP50(b, took)
}
