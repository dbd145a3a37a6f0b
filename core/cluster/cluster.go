// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
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
	// SubscribeFlows hears nothing until hear has said of which services, or of all. hear
	// is not called by two goroutines at a time.
	SubscribeFlows(group string, fn func(core.FlowReport)) (hear func(services []string, all bool) error, cancel func(), err error)
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
	hears   chan struct{}
	wake    chan struct{}

	told core.Seldom // of the goroutine that sends

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
		changed: make(chan struct{}, 1), moved: make(chan struct{}, 1), hears: make(chan struct{}, 1), wake: make(chan struct{}, 1),
		state: newState(cfg.Spec, self),
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
	if out.services || out.roster {
		m.stand.Store(m.state.standing())
	}
	if out.leads || out.roster {
		poke(m.changed)
	}
	if out.roster {
		poke(m.moved)
	}
	if out.hears {
		poke(m.hears)
	}
	if out.presence {
		m.sayAt = time.Time{}
	}
	if out.presence || len(out.events) > 0 {
		poke(m.wake)
	}
	out.presence, out.services, out.leads, out.roster, out.hears = false, false, false, false, false
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
		if _, due := m.told.Due("bus", "unsent", now); due {
			m.cfg.Log.Warn("this node cannot be heard by its group", "error", err)
		}
	}
	for _, e := range events {
		e.At = now.UTC()
		log := m.cfg.Log.With("part", "cluster")
		if e.Service != "" {
			log = log.With("service", e.Service)
		}
		log.Log(context.Background(), levels[e.Severity], e.Message)
		m.cfg.Event(e)
	}
}

// levels are those of the log: who looks for what happened the day after has only that.
var levels = map[core.Severity]slog.Level{core.Info: slog.LevelInfo, core.Warn: slog.LevelWarn, core.Error: slog.LevelError}

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
