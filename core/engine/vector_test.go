// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// The mailbox keeps the newest vector of each service that there is, and nothing else.
func TestMailbox(t *testing.T) {
	m := newMailbox()
	m.put(vector(9, 1, 1), time.Now())
	if got := m.take(); got != nil {
		t.Errorf("a node alone took %+v", got)
	}
	m.only([]core.Service{{Name: "web"}, {Name: "api"}})
	other := vector(9, 1, 1)
	other.Service = "db"
	for _, v := range []core.Vector{vector(9, 1, 1), vector(9, 3, 3), vector(9, 2, 2), other} {
		m.put(v, time.Now())
	}
	got := m.take()
	if len(got) != 1 || got[0].Seq != 3 || got[0].Backends[0].Slots != 3 || got[0].heard.IsZero() {
		t.Fatalf("took %+v", got)
	}
	m.put(vector(9, 3, 3), time.Now())
	if got := m.take(); got != nil {
		t.Errorf("took %+v twice", got)
	}
	api := vector(1, 1, 1)
	api.Service = "api"
	m.put(api, time.Now())
	m.only([]core.Service{{Name: "web"}})
	m.put(vector(9, 2, 2), time.Now()) // the order outlives a reload
	if got := m.take(); got != nil {
		t.Errorf("took %+v of a service that is gone, or an older one", got)
	}
	if len(m.boxes) != 1 {
		t.Errorf("%d services in the mailbox, want 1", len(m.boxes))
	}
}

// While this node leads, only who took over from it is heard.
func TestMailboxOfALeader(t *testing.T) {
	m := newMailbox()
	m.only([]core.Service{{Name: "web"}})
	m.put(vector(9, 1, 1), time.Now())
	m.take()
	m.leads("web", true)
	m.leads("web", true)
	for _, v := range []core.Vector{vector(9, 2, 1), vector(11, 1, 1), vector(11, 2, 7), vector(10, 1, 1)} {
		m.put(v, time.Now())
	}
	if got := m.take(); len(got) != 1 || got[0].Epoch != 11 || got[0].Seq != 2 {
		t.Errorf("took %+v", got)
	}
}

// Many offer while the engine takes: nothing is lost that is the newest.
func TestMailboxHammer(t *testing.T) {
	const services, offers = 8, 2000
	var list []core.Service
	for i := range services {
		list = append(list, core.Service{Name: fmt.Sprint("s", i)})
	}
	m := newMailbox()
	m.only(list)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range offers {
				v := core.Vector{Service: list[(i+w)%services].Name, Node: "lb2", Epoch: 1, Seq: uint64(1 + i)}
				m.put(v, time.Now())
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	seen := map[string]uint64{}
	take := func() {
		for _, v := range m.take() {
			if v.Seq <= seen[v.Service] {
				t.Errorf("%s: %d after %d", v.Service, v.Seq, seen[v.Service])
			}
			seen[v.Service] = v.Seq
		}
	}
	for running := true; running; {
		select {
		case <-m.news:
			take()
		case <-done:
			running = false
		}
	}
	take()
	for name, seq := range seen {
		if seq <= offers-services {
			t.Errorf("%s: ended at %d", name, seq)
		}
	}
	if len(seen) != services {
		t.Errorf("heard of %d services, want %d", len(seen), services)
	}
}

// What it costs to follow a decision that changes no slot.
func BenchmarkTakeVector(b *testing.B) {
	setup := setupOf(web("web", "weighted", slices.Repeat([]uint32{1}, 16)...))
	e := New(Config{Node: "test", Cluster: newGroup(false), Publisher: &log{}, Log: slog.New(slog.DiscardHandler)}, setup)
	e.install(setup, e.build(setup, core.Plan{}))
	s := e.services["web"]
	for seq := uint64(1); b.Loop(); seq++ {
		e.OfferVector(vector(9, seq, slices.Repeat([]uint32{4096}, 16)...))
		e.takeVectors()
		if s.sent == nil {
			s.waiting = nil
			s.sent, s.sentPlan = s.slots, slices.Clone(e.planned)
		}
	}
	if d := s.decision; d.Outcome != core.Unchanged || d.Leader == nil {
		b.Fatalf("decision %+v", d)
	}
}

// What the same vector costs that a leader sends again and again.
func BenchmarkOfferTheSameVector(b *testing.B) {
	e := New(Config{Node: "test", Cluster: newGroup(false)}, setupOf(web("web", "weighted", 1, 1)))
	v := vector(9, 1, 32768, 32768)
	for b.Loop() {
		e.OfferVector(v)
	}
}
