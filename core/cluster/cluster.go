// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// A Bus is how nodes hear one another. A node does not hear itself. Publish methods may
// block for as long as the bus does; an error means that the message is lost, which the
// next one makes up for. The functions that are subscribed are called one at a time.
type Bus interface {
	PublishPresence(core.Presence) error
	SubscribePresences(group string, fn func(core.Presence)) (cancel func(), err error)
	PublishVector(core.Vector) error
	SubscribeVectors(group string, fn func(core.Vector)) (cancel func(), err error)
	PublishFlows(core.FlowReport, string) error
	SubscribeFlows(group string, fn func(core.FlowReport)) (cancel func(), err error)
}

// A Config is what a Member is made of.
type Config struct {
	Spec core.ClusterSpec // with a Group
	// Self is what the node says of itself: Node, Inst, Roles, Version, ConfigHash,
	// Revision and StartedAt. The rest is filled in. Its Roles are those that count.
	Self core.Presence
	Bus  Bus
	// Dir keeps the highest epoch over a restart; empty: it is not kept.
	Dir string
	Log *slog.Logger
	// Event tells the world; nil: nobody. It is called from one goroutine.
	Event func(core.Event)
}

// A Member is this node as one of a group. Its methods may be called from any goroutine,
// before and while Run runs, and do not block.
type Member struct {
	cfg    Config
	epochs *epochFile
	stand  atomic.Pointer[standing]

	changed chan struct{} // holds one word, and so do the others: who is late misses nothing
	moved   chan struct{}
	wake    chan struct{}

	mu    sync.Mutex
	state *state    // guarded by mu
	seq   uint64    // of the latest presence; guarded by mu
	sayAt time.Time // when the next is due; guarded by mu
}

// New returns a Member that Run will join to its group. An error means that the
// configuration is not one of a group.
func New(cfg Config) (*Member, error) {
	switch {
	case cfg.Spec.Alone():
		return nil, errors.New("join a cluster: it has no group; set cluster.group")
	case cfg.Self.Node == "" || cfg.Self.Inst == "":
		return nil, fmt.Errorf("join cluster %s: this node has no name or no instance", cfg.Spec.Group)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Event == nil {
		cfg.Event = func(core.Event) {}
	}
	epochs, err := openEpochFile(cfg.Dir, time.Now())
	if err != nil {
		cfg.Log.Warn("the epoch of the cluster of an earlier life is not known; it starts from the clock", "error", err)
	}
	self := cfg.Self
	self.Group = cfg.Spec.Group
	self.Epoch = max(self.Epoch, epochs.kept)
	m := &Member{
		cfg: cfg, epochs: epochs,
		changed: make(chan struct{}, 1), moved: make(chan struct{}, 1), wake: make(chan struct{}, 1),
		state: newState(cfg.Spec, self, time.Now()),
	}
	m.stand.Store(m.state.standing())
	return m, nil
}

// Follow sets who gets the vectors of other nodes that count. Call it before Run. fn must
// not block, nor call a method that changes the Member.
func (m *Member) Follow(fn func(core.Vector)) { m.state.follow = fn }

// Run takes part in the group until ctx is done; then it says that the node leaves and
// returns nil. An error means that the bus could not be subscribed.
func (m *Member) Run(ctx context.Context) error {
	m.step((*state).begin)
	hearVector, err := m.cfg.Bus.SubscribeVectors(m.cfg.Spec.Group, func(v core.Vector) {
		m.step(func(s *state, now time.Time) { s.hearVector(v, now) })
	})
	if err != nil {
		return fmt.Errorf("join cluster %s: %w", m.cfg.Spec.Group, err)
	}
	defer hearVector()
	hear, err := m.cfg.Bus.SubscribePresences(m.cfg.Spec.Group, func(p core.Presence) {
		m.step(func(s *state, now time.Time) { s.hear(p, now) })
	})
	if err != nil {
		return fmt.Errorf("join cluster %s: %w", m.cfg.Spec.Group, err)
	}
	defer hear()

	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { m.send(ctx) })
	wg.Go(func() { m.epochs.keep(ctx, m.epoch, m.cfg.Log) })
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			m.step((*state).tick)
		}
	}
}

// step does one thing to the state and sees to what it leads to.
func (m *Member) step(f func(*state, time.Time)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f(m.state, time.Now())
	m.settle()
}

// settle makes known what a step has changed. It needs mu.
func (m *Member) settle() {
	out := &m.state.out
	if out.leads || out.roster {
		m.stand.Store(m.state.standing())
		poke(m.changed)
	}
	if out.roster {
		poke(m.moved)
	}
	if out.presence {
		m.sayAt = time.Time{}
	}
	if out.presence || len(out.events) > 0 {
		poke(m.wake)
	}
	out.presence, out.leads, out.roster = false, false, false
}

// poke leaves a word in c, unless there is one.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// send says what is to be said, whenever it is. It owns the bus's publish methods, so
// that a bus that blocks holds up nobody else.
func (m *Member) send(ctx context.Context) {
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	for {
		m.flush(false)
		select {
		case <-ctx.Done():
			m.flush(true)
			return
		case <-m.wake:
		case <-ticker.C:
		}
	}
}

// flush sends what is due, and with leaving the last word.
func (m *Member) flush(leaving bool) {
	m.mu.Lock()
	now := time.Now()
	m.state.self.Leaving = leaving
	p, say := m.presence(leaving, now)
	vectors := m.state.due(now)
	events := m.state.out.events
	m.state.out.events = nil
	m.mu.Unlock()

	var err error
	if say {
		err = m.cfg.Bus.PublishPresence(p)
	}
	for _, v := range vectors {
		err = errors.Join(err, m.cfg.Bus.PublishVector(v))
	}
	if err != nil {
		m.cfg.Log.Debug("could not be sent to the group", "error", err)
	}
	for _, e := range events {
		e.At = now.UTC()
		m.cfg.Event(e)
	}
}

// presence returns what this node says of itself, if it is due. It needs mu.
func (m *Member) presence(leaving bool, now time.Time) (core.Presence, bool) {
	if !leaving && now.Before(m.sayAt) {
		return core.Presence{}, false
	}
	m.sayAt = now.Add(presenceEvery - presenceJitter + rand.N(2*presenceJitter))
	m.seq++
	p := m.state.self
	p.Seq, p.At, p.Epoch = m.seq, now.UTC(), m.state.seen
	return p, true
}

// epoch is the highest epoch known.
func (m *Member) epoch() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state.seen
}

// Leads reports whether this node decides the shares of a service now.
func (m *Member) Leads(service string) bool {
	st := m.stand.Load()
	return st.leadsAll || st.leads[service]
}

// Counts reports whether the verdicts of a node's probes count here.
func (m *Member) Counts(node string) bool {
	return node == m.cfg.Self.Node || m.stand.Load().counts[node]
}

// Probes reports whether this node probes a target now.
func (m *Member) Probes(addr netip.AddrPort, probe string) bool {
	st := m.stand.Load()
	return st.probes(st.own, Target{addr, probe})
}

// Changed yields when an answer of Leads or Counts may be another.
func (m *Member) Changed() <-chan struct{} { return m.changed }

// Moved yields when an answer of Probes may be another.
func (m *Member) Moved() <-chan struct{} { return m.moved }

// Decided sends the shares of a service that this node leads to the others; Epoch, Seq,
// Node, Group and At are filled in. They are dropped if it leads the service no longer.
// v.Backends must not be changed afterwards.
func (m *Member) Decided(v core.Vector) {
	m.step(func(s *state, now time.Time) {
		if s.decided(v, now) {
			poke(m.wake)
		}
	})
}

// Suspects says whether this node suspects itself.
func (m *Member) Suspects(yes bool) {
	m.step(func(s *state, now time.Time) {
		if s.self.Suspects != yes {
			s.self.Suspects, s.out.presence = yes, true
			s.tick(now)
		}
	})
}

// SetServices says which services there are, at the start and after a reload.
func (m *Member) SetServices(names []string) {
	names = slices.Clone(names)
	m.step(func(s *state, now time.Time) { s.setServices(names, now) })
}

// SetTargets says which targets there are. Only what View counts depends on it.
func (m *Member) SetTargets(targets []Target) {
	m.step(func(s *state, _ time.Time) { s.targets = slices.Clone(targets) })
}

// SetSelf changes what this node says of itself, after a reload: its version, the hash
// and the revision of its configuration, its roles.
func (m *Member) SetSelf(change func(*core.Presence)) {
	m.step(func(s *state, now time.Time) {
		node, group, inst := s.self.Node, s.self.Group, s.self.Inst
		change(&s.self)
		s.self.Node, s.self.Group, s.self.Inst = node, group, inst
		s.out.presence = true
		if !s.self.Roles.Schedule {
			s.resign()
		}
		s.tick(now)
	})
}

// Reconnected says that the way to the bus is there again, so that others hear of this
// node at once.
func (m *Member) Reconnected() {
	m.step(func(s *state, _ time.Time) { s.out.presence = true })
}

// Live reports whether a node was heard of in the last 3 s and has not left.
func (m *Member) Live(node string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	o := m.state.members[node]
	return node == m.cfg.Self.Node || o != nil && o.within(probesAfter, time.Now())
}

// Ahead is how far the clock of a node is ahead of ours, as well as is known.
func (m *Member) Ahead(node string) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	if o := m.state.members[node]; o != nil {
		return o.clock.ahead()
	}
	return 0
}
