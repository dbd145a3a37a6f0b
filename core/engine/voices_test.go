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

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/core"
)

// members is a Cluster in which this node leads all, and the nodes named count.
type members struct {
	mu       sync.Mutex
	counting []string      // guarded by mu
	suspects []bool        // guarded by mu; what it was told
	changed  chan struct{} // guarded by mu; made in the bubble that the engine runs in
}

func membersOf(nodes ...string) *members { return &members{counting: nodes} }

func (m *members) Leads(string) bool   { return true }
func (m *members) Decided(core.Vector) {}

func (m *members) Changed() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.changed = make(chan struct{}, 1)
	return m.changed
}

func (m *members) Counts(node string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Contains(m.counting, node)
}

func (m *members) Suspects(yes bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.suspects = append(m.suspects, yes)
}

// told is what it was told of suspicion so far.
func (m *members) told() []bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.suspects)
}

// only has these nodes count from now on.
func (m *members) only(nodes ...string) {
	m.mu.Lock()
	m.counting = nodes
	changed := m.changed
	m.mu.Unlock()
	changed <- struct{}{}
	synctest.Wait()
}

// seqs number the samples of a test.
var seqs uint64

// hears is a sample of any node, with time to be taken.
func (e *Engine) hears(node, backend string, ok bool) {
	s := core.Sample{
		Backend: core.BackendID{Service: "web", Backend: backend}, Probe: "alive", Type: core.ProbeTCP, Role: core.HealthRole, OK: ok,
		Code: core.L4Refused, Detail: "connection refused", TakenAt: time.Now(), Node: node,
	}
	if ok {
		s.Code, s.Detail = core.L4OK, "connected"
	}
	seqs++
	s.Seq = seqs
	e.Offer(s)
	synctest.Wait()
}

// clusterTest runs an engine of node "test" with others and two backends.
func clusterTest(t *testing.T, m *members, probers, quorum int, f func(t *testing.T, e *Engine, k *kernel, l *log)) {
	t.Helper()
	k := &kernel{}
	setup := setupOf(web("web", "weighted", 1, 1))
	p := setup.Probes["alive"]
	p.Interval, p.Timeout = time.Second, time.Second
	setup.Probes["alive"] = p
	setup.Cluster = core.ClusterSpec{Group: "g", Roles: core.AllRoles, Probers: probers, Quorum: quorum}
	engineTestWith(t, k, policies{"weighted": weighted}, setup, Config{Cluster: m}, func(t *testing.T, e *Engine, l *log) {
		f(t, e, k, l)
	})
}

// One node at a time asks a target: rise and fall go on whoever it is, and only nodes
// that count are listened to.
func TestHealthOfOtherNodes(t *testing.T) {
	m := membersOf("lb2")
	clusterTest(t, m, 1, 1, func(t *testing.T, e *Engine, k *kernel, l *log) {
		e.hears("lb2", "b1", true)
		e.hears("test", "b2", true)
		time.Sleep(3 * time.Second)
		want(t, k, "web", 32768, 32768)
		for range 5 {
			e.hears("lb9", "b1", false) // not of us
		}
		want(t, k, "web", 32768, 32768)
		l.changes()
		e.hears("lb2", "b1", false)
		want(t, k, "web", 32768, 32768)
		e.hears("test", "b1", false) // took the target over
		want(t, k, "web", 0, 65536)
		e.hears("lb2", "b1", true)
		e.hears("lb2", "b1", true)
		e.hears("lb2", "b1", false)
		e.hears("lb2", "b1", false)
		wantChanges := []string{
			"b1 up→down alive L4CON: at test: connection refused",
			"b1 down→up alive L4OK: at lb2: connected",
			"b1 up→down alive L4CON: at lb2: connection refused",
		}
		if diff := cmp.Diff(wantChanges, l.changes()); diff != "" {
			t.Errorf("changes (-want +got):\n%s", diff)
		}
		d := e.latest(t, "web")
		if len(d.Causes) != 1 || d.Causes[0].Node != "lb2" || d.Causes[0].Probe != "alive" || d.Causes[0].Backend != "b1" || d.Causes[0].Seq != seqs {
			t.Errorf("causes: %+v, want sample lb2/alive/%d", d.Causes, seqs)
		}
		time.Sleep(2 * time.Second)
		if b := e.backend(t, 0); b.Why != "down: alive L4CON at lb2: connection refused" {
			t.Errorf("why: %q", b.Why)
		}
	})
}

// Of three that ask each target two decide.
func TestQuorum(t *testing.T) {
	m := membersOf("lb2", "lb3")
	clusterTest(t, m, 3, 2, func(t *testing.T, e *Engine, k *kernel, l *log) {
		all := []string{"test", "lb2", "lb3"}
		for _, n := range all {
			e.hears(n, "b1", true)
			e.hears(n, "b2", true)
		}
		time.Sleep(2 * time.Second)
		want(t, k, "web", 32768, 32768)
		l.changes()
		e.hears("lb2", "b1", false)
		e.hears("lb2", "b1", false) // one voice says down
		e.hears("lb3", "b1", false) // and one bad sample of another is no voice yet
		want(t, k, "web", 32768, 32768)
		e.hears("test", "b1", true)
		e.hears("lb3", "b1", false)
		want(t, k, "web", 0, 65536)
		time.Sleep(1500 * time.Millisecond)
		if b := e.backend(t, 0); b.Why != "down: alive L4CON at lb2 and lb3 (2 of 3): connection refused" {
			t.Errorf("why: %q", b.Why)
		}
		// lb2 is heard no more: one of two finds it bad, which is fewer than the quorum.
		m.only("lb3")
		want(t, k, "web", 32768, 32768)
		// And nobody but lb3 is left, which finds it bad: all of the voices there are.
		time.Sleep(3 * time.Second)
		e.hears("lb3", "b1", false)
		want(t, k, "web", 0, 65536)
		// Silence changes nothing.
		time.Sleep(time.Minute)
		want(t, k, "web", 0, 65536)
		e.hears("lb3", "b1", true)
		e.hears("lb3", "b1", true)
		time.Sleep(2 * time.Second)
		want(t, k, "web", 32768, 32768)
	})
}

// A reload to one prober forgets the voices, and what they found stays.
func TestVoicesAndReload(t *testing.T) {
	m := membersOf("lb2", "lb3")
	clusterTest(t, m, 2, 1, func(t *testing.T, e *Engine, k *kernel, l *log) {
		e.hears("lb2", "b1", true)
		e.hears("lb3", "b1", true)
		e.hears("lb2", "b2", true)
		e.hears("lb3", "b2", false) // the first of a new voice is one of two, too
		e.hears("lb2", "b1", false)
		e.hears("lb2", "b1", false)
		want(t, k, "web", 0, 65536)
		setup, err := e.Setup(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, probers := range []int{2, 1} {
			setup.Cluster.Probers = probers
			reloadTo(t, e, setup)
			want(t, k, "web", 0, 65536)
			_ = e.do(t.Context(), func() {
				if got := len(e.votes); got != 2*(probers-1) {
					t.Errorf("with %d probers there are voices on %d probes", probers, got)
				}
			})
		}
		e.hears("lb3", "b1", true)
		e.hears("lb2", "b1", true)
		want(t, k, "web", 32768, 32768)
	})
}

// What is of a clock that is two minutes off is as if it were of now.
func TestClockOfAnotherNode(t *testing.T) {
	for _, off := range []time.Duration{-2 * time.Minute, 2 * time.Minute} {
		now := time.Now()
		s := arrived(core.Sample{TakenAt: now.Add(off), Took: time.Second, Metrics: []core.Metric{{At: now.Add(off - 5*time.Second)}, {}}}, now)
		if !s.TakenAt.Equal(now.Add(-time.Second)) || !s.Metrics[0].At.Equal(now.Add(-6*time.Second)) || !s.Metrics[1].At.IsZero() {
			t.Errorf("%s off: %v ago, its metric %v ago", off, now.Sub(s.TakenAt), now.Sub(s.Metrics[0].At))
		}
	}
	now := time.Now()
	if s := arrived(core.Sample{TakenAt: now.Add(-20 * time.Millisecond), Took: time.Millisecond}, now); !s.TakenAt.Equal(now.Add(-20 * time.Millisecond)) {
		t.Error("a delay of 19 ms was taken for a clock that is off")
	}
}

// A node that asks a third of the targets loses its uplink: it suspects itself before
// anything goes down, says so, and listens to the others, who take its part.
func TestProberLosesItsUplink(t *testing.T) {
	for _, probers := range []int{1, 2} {
		const n = 90
		m := membersOf("lb2", "lb3")
		rackTestOf(t, n, 3, suspicious, m, probers, func(t *testing.T, e *Engine, l *log, r *rack) {
			nodes := []string{"test", "lb2", "lb3"}
			ctx, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			defer func() { cancel(); wg.Wait() }()
			own := []int{}
			var racks []*rack
			for k, node := range nodes {
				o := &rack{e: e, spec: r.spec, node: node, dead: make([]core.Code, n)}
				racks = append(racks, o)
				for i := range n {
					if i%3 != k && (probers == 1 || (i+1)%3 != k) {
						continue
					}
					if k == 0 {
						own = append(own, i)
					}
					wg.Go(func() { o.probe(ctx, i, rand.New(rand.NewPCG(uint64(i), uint64(k)))) })
				}
			}
			time.Sleep(6 * time.Second)
			if up, _ := e.ups(t); up != n {
				t.Fatalf("%d of %d are up at the start", up, n)
			}
			l.changes()
			racks[0].set(core.L4Timeout, own...)
			time.Sleep(4 * time.Second)
			if up, suspect := e.ups(t); up != n || suspect == "" {
				t.Errorf("%d probers: %d are up, suspicion %q", probers, up, suspect)
			}
			if told := m.told(); !slices.Equal(told, []bool{true}) {
				t.Errorf("%d probers: told %v", probers, told)
			}
			for i := range n { // the others take over, and one of what they find has died
				if i%3 == 0 {
					o := racks[1]
					wg.Go(func() { o.probe(ctx, i, rand.New(rand.NewPCG(uint64(i), 9))) })
				}
			}
			racks[1].set(core.L4Refused, 0)
			racks[2].set(core.L4Refused, 0)
			time.Sleep(12 * time.Second)
			if up, suspect := e.ups(t); up != n-1 || suspect == "" {
				t.Errorf("%d probers: when the others have taken over %d are up, suspicion %q", probers, up, suspect)
			}
			if ch := l.changes(); len(ch) != 1 || !strings.HasPrefix(ch[0], "b000 up→down alive L4CON: at lb2") {
				t.Errorf("%d probers: changes %q", probers, ch)
			}
			racks[0].set("", own...)
			racks[0].set(core.L4Refused, 0)
			time.Sleep(6 * time.Second)
			if _, suspect := e.ups(t); suspect != "" {
				t.Errorf("%d probers: suspicion %q", probers, suspect)
			}
			if told := m.told(); !slices.Equal(told, []bool{true, false}) {
				t.Errorf("%d probers: told %v", probers, told)
			}
		})
	}
}

// What this node found dead before it suspected itself is taken back, and what another
// found dead is not.
func TestOnlyOwnVerdictsAreTakenBack(t *testing.T) {
	m := membersOf("lb2")
	rackTestOf(t, 40, 1, suspicious, m, 1, func(t *testing.T, e *Engine, l *log, r *rack) {
		for i := range 40 {
			e.hears("test", fmt.Sprintf("b%03d", i), true)
		}
		e.hears("lb2", "b000", false)
		e.hears("test", "b001", false)
		e.hears("lb2", "b001", false) // finds so, too
		for i := 2; i < 40; i++ {
			e.hears("test", fmt.Sprintf("b%03d", i), false)
		}
		if up, suspect := e.ups(t); up != 38 || suspect == "" {
			t.Errorf("%d are up, suspicion %q", up, suspect)
		}
	})
}

// What another node asks now counts for nothing in the judgement of this one.
func TestTargetsThatWentAreNotOurs(t *testing.T) {
	m := membersOf("lb2")
	clusterTest(t, m, 1, 1, func(t *testing.T, e *Engine, k *kernel, l *log) {
		for _, tt := range []struct {
			node string
			good int
		}{{"test", 2}, {"lb2", 0}, {"test", 2}} {
			e.hears(tt.node, "b1", true)
			e.hears(tt.node, "b2", true)
			_ = e.do(t.Context(), func() {
				if e.suspicion.Good != tt.good {
					t.Errorf("after samples of %s this node is judged by %d probes, want %d", tt.node, e.suspicion.Good, tt.good)
				}
			})
		}
	})
}

// A suspicion that has lasted as long as it may is over for the others too, unless they
// contradict this node.
func TestContradictedNodeStaysSuspect(t *testing.T) {
	for _, contradicted := range []bool{true, false} {
		m := membersOf("lb2")
		rackTestOf(t, 40, 3, core.Probing{SuspectRatio: 0.8, SuspectMin: 10, SuspectFor: time.Minute}, m, 1, func(t *testing.T, e *Engine, l *log, r *rack) {
			round := func(node string, ok bool) {
				for i := range 40 {
					e.hears(node, fmt.Sprintf("b%03d", i), ok)
				}
			}
			round("test", true)
			for range 40 {
				for range 3 { // enough to be down, were it believed
					round("test", false)
				}
				if contradicted {
					round("lb2", true)
				}
				time.Sleep(2 * time.Second)
			}
			up, _ := e.ups(t)
			told := m.told()
			if contradicted && (up != 40 || !slices.Equal(told, []bool{true})) {
				t.Errorf("contradicted: %d are up, told %v", up, told)
			}
			if !contradicted && (up != 0 || !slices.Equal(told, []bool{true, false})) {
				t.Errorf("not contradicted: %d are up, told %v", up, told)
			}
			round("test", true)
			round("test", true)
			if up, _ := e.ups(t); up != 40 || !slices.Equal(m.told(), []bool{true, false}) {
				t.Errorf("well again: %d are up, told %v", up, m.told())
			}
		})
	}
}

// With one prober for each target nothing is kept for each node.
func TestOneProberHasNoVoices(t *testing.T) {
	m := membersOf("lb2")
	clusterTest(t, m, 1, 1, func(t *testing.T, e *Engine, k *kernel, l *log) {
		e.hears("lb2", "b1", true)
		e.hears("test", "b1", true)
		_ = e.do(t.Context(), func() {
			if e.votes != nil {
				t.Errorf("there are voices: %v", e.votes)
			}
		})
	})
}

// A probe is an orphan for as long as no other node speaks of it; what this node finds
// itself does not count, or it would end what it has just begun.
func TestOrphans(t *testing.T) {
	m := membersOf("lb2")
	clusterTest(t, m, 1, 1, func(t *testing.T, e *Engine, k *kernel, l *log) {
		orphans := func() (out []string) {
			list, err := e.Orphans(t.Context(), func(addr netip.AddrPort, p *core.ProbeSpec, silent time.Duration) bool {
				return addr.Port() == 80 && p.Name == "alive" && silent >= 10*time.Second
			})
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range list {
				out = append(out, o.Backend.Backend+" "+o.Probe)
			}
			return out
		}
		e.hears("lb2", "b1", true)
		if got := orphans(); got != nil {
			t.Errorf("at the start: %q", got)
		}
		for range 11 {
			time.Sleep(time.Second)
			e.hears("lb2", "b1", true)
			e.hears("test", "b2", true)
			e.hears("lb9", "b2", true) // not of us
		}
		if got := orphans(); !slices.Equal(got, []string{"b2 alive"}) {
			t.Errorf("b2 is nobody's: %q", got)
		}
		e.hears("lb2", "b2", true)
		if got := orphans(); got != nil {
			t.Errorf("lb2 has it now: %q", got)
		}
		time.Sleep(12 * time.Second)
		if got := orphans(); len(got) != 2 {
			t.Errorf("lb2 is gone: %q", got)
		}
	})
}

// Nodes that come and go under new names leave nothing behind.
func TestVoicesOfNodesThatAreGone(t *testing.T) {
	m := membersOf()
	clusterTest(t, m, 2, 1, func(t *testing.T, e *Engine, k *kernel, l *log) {
		e.hears("test", "b1", true)
		for i := range 1000 {
			name := fmt.Sprint("lb-", i)
			m.only(name)
			e.hears(name, "b1", true)
			time.Sleep(time.Second)
		}
		_ = e.do(t.Context(), func() {
			for p, list := range e.votes {
				if len(list) > 10 {
					t.Errorf("%d voices of probe %s", len(list), p.spec.Name)
				}
			}
		})
	})
}
