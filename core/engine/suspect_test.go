// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// A rack is n backends of one service, each probed at its own rhythm, as by a runner:
// a first delay of its own, jitter, and a failure that takes its time to be noticed.
type rack struct {
	e    *Engine
	spec core.ProbeSpec
	node string

	mu   sync.Mutex
	dead []core.Code // guarded by mu; per backend, empty while it answers
}

func (r *rack) set(code core.Code, backends ...int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, i := range backends {
		r.dead[i] = code
	}
}

func (r *rack) probe(ctx context.Context, i int, noise *rand.Rand) {
	wait := func(d time.Duration) bool {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(d):
			return true
		}
	}
	if !wait(time.Duration(noise.Float64() * float64(r.spec.Interval))) {
		return
	}
	for {
		began := time.Now()
		r.mu.Lock()
		code := r.dead[i]
		r.mu.Unlock()
		s := core.Sample{
			Backend: core.BackendID{Service: "web", Backend: fmt.Sprintf("b%03d", i)}, Probe: "alive", Role: core.HealthRole,
			OK: code == "", Code: core.L4OK, TakenAt: began, Node: r.node,
		}
		if code != "" {
			s.Code, s.Detail = code, "no answer"
			if code != core.L4Refused && !wait(r.spec.Timeout) {
				return
			}
		}
		r.e.Offer(s)
		next := time.Duration(float64(r.spec.Interval) * (1 + r.spec.Jitter*(2*noise.Float64()-1)))
		if !wait(next - time.Since(began)) {
			return
		}
	}
}

func upTo(n int) (list []int) {
	for i := range n {
		list = append(list, i)
	}
	return list
}

var suspicious = core.Probing{SuspectRatio: 0.8, SuspectMin: 10, SuspectFor: 10 * time.Minute}

// rackTest runs an engine with n backends that are probed, and waits until all are up.
func rackTest(t *testing.T, n, fall int, probing core.Probing, f func(t *testing.T, e *Engine, l *log, r *rack)) {
	t.Helper()
	rackTestOf(t, n, fall, probing, nil, 1, func(t *testing.T, e *Engine, l *log, r *rack) {
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() { r.probe(ctx, i, rand.New(rand.NewPCG(uint64(i), 7))) })
		}
		defer func() { cancel(); wg.Wait() }()
		time.Sleep(5 * time.Second)
		if up, _ := e.ups(t); up != n {
			t.Fatalf("%d of %d are up at the start", up, n)
		}
		l.changes()
		f(t, e, l, r)
	})
}

// rackTestOf runs an engine with n backends that nobody probes yet, alone or with others.
func rackTestOf(t *testing.T, n, fall int, probing core.Probing, m *members, probers int, f func(t *testing.T, e *Engine, l *log, r *rack)) {
	t.Helper()
	spec := core.ProbeSpec{
		Name: "alive", Type: core.ProbeTCP, Role: core.HealthRole, Rise: 2, Fall: fall,
		Interval: 2 * time.Second, Timeout: time.Second, Jitter: 0.1,
	}
	s := web("web", "weighted")
	s.Every = time.Minute // these tests are about health
	for i := range n {
		s.Backends = append(s.Backends, core.Backend{Name: fmt.Sprintf("b%03d", i), Weight: 1, Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 80)})
	}
	setup := Setup{Services: []core.Service{s}, Probes: map[string]core.ProbeSpec{"alive": spec}, Probing: probing}
	setup.Cluster.Probers, setup.Cluster.Quorum = probers, probers
	cfg := Config{}
	if m != nil {
		cfg.Cluster = m
	}
	engineTestWith(t, &kernel{}, policies{"weighted": weighted}, setup, cfg, func(t *testing.T, e *Engine, l *log) {
		f(t, e, l, &rack{e: e, spec: spec, node: "test", dead: make([]core.Code, n)})
	})
}

// ups is how many backends are up, and why no health goes down.
func (e *Engine) ups(t *testing.T) (n int, suspect string) {
	t.Helper()
	synctest.Wait()
	v, err := e.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range v.Services[0].Backends {
		if b.Health == core.Up {
			n++
		}
	}
	if (v.Probing.Suspect == "") != v.Probing.SuspectSince.IsZero() {
		t.Errorf("suspicion %q since %s", v.Probing.Suspect, v.Probing.SuspectSince)
	}
	return n, v.Probing.Suspect
}

// The uplink dies: nobody goes down, it is said why, and it ends with the outage.
func TestUplinkDies(t *testing.T) {
	for _, code := range []core.Code{core.L4Timeout, core.L4Refused, core.Internal} {
		rackTest(t, 100, 3, suspicious, func(t *testing.T, e *Engine, l *log, r *rack) {
			r.set(code, upTo(100)...)
			time.Sleep(time.Minute)
			up, suspect := e.ups(t)
			if up != 100 || !strings.Contains(suspect, "most say "+string(code)) {
				t.Errorf("%s: %d of 100 are up, suspicion %q", code, up, suspect)
			}
			if ch := l.changes(); len(ch) > 0 {
				t.Errorf("%s: %d changes: %q", code, len(ch), ch[0])
			}
			if told := l.told("probe"); len(told) != 1 || !strings.Contains(told[0], "of 100 health probes that were good fail at once") {
				t.Errorf("%s: told %q", code, told)
			}
			r.set("", upTo(100)...)
			time.Sleep(10 * time.Second)
			if up, suspect := e.ups(t); up != 100 || suspect != "" {
				t.Errorf("%s: after it, %d of 100 are up, suspicion %q", code, up, suspect)
			}
			if told := l.told("probe"); len(told) != 1 || !strings.Contains(told[0], "is over after") {
				t.Errorf("%s: told %q", code, told)
			}
			// From now on a death is one again.
			r.set(core.L4Refused, 3, 4)
			time.Sleep(10 * time.Second)
			if up, _ := e.ups(t); up != 98 {
				t.Errorf("%s: %d are up after the death of two", code, up)
			}
		})
	}
}

// With fall 1 each probe tips at its first failure, before it is clear that all fail.
// What they said is taken back, without a slow start.
func TestUplinkDiesWithFallOne(t *testing.T) {
	rackTest(t, 100, 1, suspicious, func(t *testing.T, e *Engine, l *log, r *rack) {
		r.set(core.L4Unreach, upTo(100)...)
		time.Sleep(10 * time.Second)
		up, suspect := e.ups(t)
		if up != 100 || suspect == "" {
			t.Errorf("%d of 100 are up, suspicion %q", up, suspect)
		}
		ch := l.changes()
		back := slices.DeleteFunc(slices.Clone(ch), func(s string) bool { return !strings.Contains(s, "taken back") })
		if len(back) == 0 || 2*len(back) != len(ch) {
			t.Errorf("%d changes, %d taken back", len(ch), len(back))
		}
		_ = e.do(t.Context(), func() {
			for _, b := range e.services["web"].backends {
				if !b.cameUp.IsZero() {
					t.Errorf("%s begins anew", b.spec.Name)
					break
				}
			}
		})
	})
}

// Ten of a hundred die, and go down as ever.
func TestSomeDie(t *testing.T) {
	rackTest(t, 100, 3, suspicious, func(t *testing.T, e *Engine, l *log, r *rack) {
		r.set(core.L4Timeout, upTo(10)...)
		time.Sleep(10 * time.Second)
		if up, suspect := e.ups(t); up != 90 || suspect != "" {
			t.Errorf("%d are up, suspicion %q", up, suspect)
		}
		if ch := l.changes(); len(ch) != 10 {
			t.Errorf("%d changes", len(ch))
		}
	})
}

// With most dead for long, those that are left count, and a suspicion leaves the dead
// where they are.
func TestUplinkDiesOfFew(t *testing.T) {
	rackTest(t, 100, 3, suspicious, func(t *testing.T, e *Engine, l *log, r *rack) {
		for i := 0; i < 85; i += 17 { // one after another, so that nobody suspects us
			r.set(core.L4Timeout, upTo(i + 17)[i:]...)
			time.Sleep(20 * time.Second)
		}
		if up, suspect := e.ups(t); up != 15 || suspect != "" {
			t.Fatalf("%d are up, suspicion %q", up, suspect)
		}
		r.set(core.L4Timeout, upTo(100)...)
		time.Sleep(30 * time.Second)
		if up, suspect := e.ups(t); up != 15 || !strings.Contains(suspect, "of 15 health probes") {
			t.Errorf("%d are up, suspicion %q", up, suspect)
		}
	})
}

// One or two machines that are most of the backends die: that is not us. When the
// others fail too, it is.
func TestFewMachinesAreNotUs(t *testing.T) {
	for _, machines := range []int{1, 2} {
		rackTest(t, 50, 3, suspicious, func(t *testing.T, e *Engine, l *log, r *rack) {
			setup, err := e.Setup(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			setup.Services = slices.Clone(setup.Services)
			backends := slices.Clone(setup.Services[0].Backends)
			for i := range 45 {
				backends[i].Addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, 0, byte(i % machines)}), uint16(1000+i))
			}
			setup.Services[0].Backends = backends
			if _, err := e.Reload(t.Context(), setup); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Second)
			r.set(core.L4Timeout, upTo(45)...)
			time.Sleep(20 * time.Second)
			if up, suspect := e.ups(t); up != 5 || suspect != "" {
				t.Errorf("%d of %d machines: %d are up, suspicion %q", machines, machines+5, up, suspect)
			}
			r.set("", upTo(45)...)
			time.Sleep(20 * time.Second)
			r.set(core.L4Timeout, upTo(50)...)
			time.Sleep(20 * time.Second)
			if up, suspect := e.ups(t); up != 50 || suspect == "" {
				t.Errorf("all of %d machines: %d are up, suspicion %q", machines+5, up, suspect)
			}
		})
	}
}

// Two backends of a small node both die, and both go down.
func TestSmallNodesSuspectNothing(t *testing.T) {
	rackTest(t, 2, 3, suspicious, func(t *testing.T, e *Engine, l *log, r *rack) {
		r.set(core.L4Refused, 0, 1)
		time.Sleep(10 * time.Second)
		if up, suspect := e.ups(t); up != 0 || suspect != "" {
			t.Errorf("%d are up, suspicion %q", up, suspect)
		}
	})
}

// A suspicion that lasts too long ends, and is not begun again by what still fails.
func TestSuspicionIsSpent(t *testing.T) {
	rackTest(t, 50, 3, suspicious, func(t *testing.T, e *Engine, l *log, r *rack) {
		r.set(core.L4Timeout, upTo(48)...)
		time.Sleep(9 * time.Minute)
		if up, suspect := e.ups(t); up != 50 || suspect == "" {
			t.Errorf("after 9 minutes %d are up, suspicion %q", up, suspect)
		}
		l.told("probe")
		time.Sleep(2 * time.Minute)
		if up, suspect := e.ups(t); up != 2 || suspect != "" {
			t.Errorf("after 11 minutes %d are up, suspicion %q", up, suspect)
		}
		if told := l.told("probe"); len(told) != 1 || !strings.Contains(told[0], "what they say counts again") {
			t.Errorf("told %q", told)
		}
		// Good samples have counted all the time, and do so now.
		r.set("", upTo(48)...)
		time.Sleep(20 * time.Second)
		if up, _ := e.ups(t); up != 50 {
			t.Errorf("%d are up again", up)
		}
		r.set(core.L4Timeout, upTo(50)...)
		time.Sleep(30 * time.Second)
		if up, suspect := e.ups(t); up != 50 || suspect == "" {
			t.Errorf("at the next outage %d are up, suspicion %q", up, suspect)
		}
	})
}

// Without the rule they all go down; and the numbers that the engine keeps as samples
// come in are those of a count, over reloads too.
func TestSuspicionCountsRight(t *testing.T) {
	rackTest(t, 60, 2, core.Probing{}, func(t *testing.T, e *Engine, l *log, r *rack) {
		r.set(core.L4Timeout, upTo(60)...)
		time.Sleep(20 * time.Second)
		if up, suspect := e.ups(t); up != 0 || suspect != "" {
			t.Errorf("without the rule %d are up, suspicion %q", up, suspect)
		}
	})
	rackTest(t, 60, 2, core.Probing{SuspectRatio: 0.95, SuspectMin: 10, SuspectFor: time.Minute}, func(t *testing.T, e *Engine, l *log, r *rack) {
		noise := rand.New(rand.NewPCG(1, 2))
		for round := range 40 {
			code := []core.Code{"", core.L4Timeout, core.L4Refused, core.AgentNone}[noise.IntN(4)]
			r.set(code, upTo(noise.IntN(60))...)
			time.Sleep(time.Duration(noise.IntN(6000)) * time.Millisecond)
			if round%8 == 0 {
				setup, err := e.Setup(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				setup.Services = slices.Clone(setup.Services)
				setup.Services[0].Backends = setup.Services[0].Backends[:60-round/8]
				if _, err := e.Reload(t.Context(), setup); err != nil {
					t.Fatal(err)
				}
			}
			_ = e.do(t.Context(), func() {
				got := e.suspicion
				good, failing, recent := 0, 0, 0
				for _, b := range e.services["web"].backends {
					p := b.probes[0]
					recent += int(p.recent)
					if p.last.code != core.AgentNone && (p.state == core.Up || p.recent > 0) {
						if good++; p.state == core.Down || !p.last.ok {
							failing++
						}
					}
				}
				if recent != len(e.wentDown) {
					t.Errorf("round %d: %d probes went down of late by their own count, %d are noted", round, recent, len(e.wentDown))
				}
				if got.Good != good || got.Failing != failing {
					t.Errorf("round %d: counted %d of %d, there are %d of %d", round, got.Failing, got.Good, failing, good)
				}
			})
		}
	})
}

// A probe that runs once an hour does not make one event of what dies within an hour,
// and what flaps meanwhile is not remembered for as long.
func TestOneAfterAnotherIsNotUs(t *testing.T) {
	for _, slow := range []int{1, 200} {
		rackTest(t, 100, 3, suspicious, func(t *testing.T, e *Engine, l *log, r *rack) {
			setup, err := e.Setup(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			certs := web("xcerts", "weighted", slices.Repeat([]uint32{1}, slow)...)
			certs.Probes = []string{"cert"}
			setup.Services = append(slices.Clone(setup.Services), certs)
			setup.Probes = map[string]core.ProbeSpec{"alive": setup.Probes["alive"], "cert": {Name: "cert", Type: core.ProbeHTTP, Role: core.HealthRole, Rise: 1, Fall: 1, Interval: time.Hour, Timeout: 10 * time.Second}}
			reloadTo(t, e, setup)
			if slow == 1 {
				for i := range 95 {
					r.set(core.L4Timeout, i)
					time.Sleep(20 * time.Second)
				}
				if up, suspect := e.ups(t); up != 5 || suspect != "" {
					t.Errorf("%d are up, suspicion %q", up, suspect)
				}
				return
			}
			for range 1500 {
				e.repeat("b001", 3, false)
				e.repeat("b001", 2, true)
			}
			_ = e.do(t.Context(), func() {
				if n := len(e.wentDown); n > max(leastWentDown, 2*e.watched) {
					t.Errorf("%d deaths are remembered of %d probes", n, e.watched)
				}
			})
		})
	}
}

// A reload under suspicion that changes the probes is no reason to trust them.
func TestSuspicionAndReload(t *testing.T) {
	rackTest(t, 50, 1, suspicious, func(t *testing.T, e *Engine, l *log, r *rack) {
		r.set(core.L4Timeout, upTo(50)...)
		time.Sleep(20 * time.Second)
		l.changes()
		l.told("probe")
		setup, err := e.Setup(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		alive := setup.Probes["alive"]
		alive.Timeout = 900 * time.Millisecond
		setup.Probes = map[string]core.ProbeSpec{"alive": alive}
		for range 2 { // the second changes nothing
			reloadTo(t, e, setup)
			time.Sleep(20 * time.Second)
		}
		if up, suspect := e.ups(t); up != 50 || suspect == "" {
			t.Errorf("%d are up, suspicion %q", up, suspect)
		}
		if ch, told := l.changes(), l.told("probe"); len(ch)+len(told) > 0 {
			t.Errorf("changes %q, told %q", ch, told)
		}
		r.set("", upTo(50)...)
		time.Sleep(10 * time.Second)
		if up, suspect := e.ups(t); up != 50 || suspect != "" {
			t.Errorf("%d are up, suspicion %q", up, suspect)
		}
	})
}
