// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

const (
	// reportEvery is how often what has changed is reported, reportAgain how often what
	// has not, for who came since. reportGone is for how long a report holds.
	reportEvery = time.Second
	reportAgain = 5 * time.Second
	reportGone  = 2*reportAgain + reportEvery
)

// A Counter counts the connections of this node: engine.Flows has the words.
type Counter interface {
	Counts() map[core.BackendID]core.FlowCount
	AsOf() (at time.Time, live bool)
	SetIdle(backend core.BackendID, idle bool)
}

// A reaper is a Counter that is an engine.Reaper too.
type reaper interface {
	SetDown(core.BackendID, core.OnDown)
	SetUp(core.BackendID)
}

// Peers are what a Member knows of the other nodes and of their services.
type Peers interface {
	Live(node string) bool
	Ahead(node string) time.Duration
	Leads(service string) bool
	Hears() (services []string, all bool)
	Heard() <-chan struct{}
}

// A FlowsConfig is what Flows is made of.
type FlowsConfig struct {
	Group, Node, Inst string
	Own               Counter // nil: this node carries no connections
	Peers             Peers
	Bus               Bus
	Log               *slog.Logger // nil: no log
}

// Flows are the connections of a service on all nodes, for who decides its shares, and on
// this node for who does not. They are an engine.Flows and an engine.Reaper.
//
// Open and Closed are summed. Opened and the counts of passive health stay those of this
// node: they are only ever set against one another, and what went wrong on the way from
// another node is for that node to see.
//
// A backend that gets no new connections is reported, too, whatever its policy goes by:
// who waits for the end of a drain waits for those of all nodes.
//
// A node hears the reports of the services that it leads or would lead next, and no others.
type Flows struct {
	cfg FlowsConfig

	mu     sync.Mutex
	report map[string][]string          // service -> backends, to be reported; guarded by mu
	idle   map[core.BackendID]time.Time // those that get no new connections here, since when; guarded by mu
	heard  map[string]*abroad           // by service; guarded by mu
	all    bool                         // every service is heard; guarded by mu

	// These are of the goroutine in Run.
	sent  map[string]sentReport
	again time.Time // what was reported before is reported again
	deaf  bool      // the bus did not take what is to be heard
	told  core.Seldom
}

// An abroad is what is known of the connections of a service on other nodes.
type abroad struct {
	remotes map[string]*remote // by node
	closed  map[string]uint64  // by backend, since this node leads
}

// A remote is the latest report of a node about a service.
type remote struct {
	r      core.FlowReport
	heard  time.Time
	byName map[string]core.FlowOf
}

// A sentReport is what was last reported of a service.
type sentReport struct {
	at       time.Time
	live     bool
	backends []core.FlowOf
}

// NewFlows returns Flows that Run will connect with those of other nodes.
func NewFlows(cfg FlowsConfig) *Flows {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Flows{cfg: cfg, idle: map[core.BackendID]time.Time{}, heard: map[string]*abroad{}, sent: map[string]sentReport{}}
}

// SetReported says of which services, and which of their backends, the connections of
// this node are reported.
func (f *Flows) SetReported(services map[string][]string) {
	services = maps.Clone(services)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.report = services
}

// Run reports and listens until ctx is done, when it returns nil. An error means that the
// bus could not be subscribed.
func (f *Flows) Run(ctx context.Context) error {
	hear, cancel, err := f.cfg.Bus.SubscribeFlows(f.cfg.Group, func(r core.FlowReport) { f.hear(r, time.Now()) })
	if err != nil {
		return fmt.Errorf("listen for connections in cluster %s: %w", f.cfg.Group, err)
	}
	defer cancel()
	f.follow(hear, time.Now())
	ticker := time.NewTicker(reportEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-f.cfg.Peers.Heard():
			f.follow(hear, time.Now())
		case now := <-ticker.C:
			if f.deaf {
				f.follow(hear, now)
			}
			if f.cfg.Own != nil {
				f.publish(now)
			}
		}
	}
}

// publish reports what is due.
func (f *Flows) publish(now time.Time) {
	at, live := f.cfg.Own.AsOf()
	counts := f.cfg.Own.Counts()
	report, idle := f.reporting(counts, at, live)
	maps.DeleteFunc(f.sent, func(svc string, _ sentReport) bool { _, ok := report[svc]; return !ok })
	for _, svc := range slices.Sorted(maps.Keys(report)) {
		list := flowsOf(svc, report[svc], counts)
		r := core.FlowReport{Node: f.cfg.Node, Inst: f.cfg.Inst, Service: svc, At: at.UTC(), Live: live || idle[svc], Backends: list}
		if r.Live {
			r.At = now.UTC()
		}
		last, ok := f.sent[svc]
		if ok && last.live == r.Live && slices.Equal(last.backends, list) && now.Sub(last.at) < reportAgain-reportEvery/2 && last.at.After(f.again) {
			continue
		}
		f.sent[svc] = sentReport{now, r.Live, list}
		if err := f.cfg.Bus.PublishFlows(r, f.cfg.Group); err != nil {
			f.cfg.Log.Debug("connections could not be reported to the group", "service", svc, "error", err)
		}
	}
}

// reporting are the services to report after a reading, with their backends: those whose
// connections decide about shares, and those of which something was idle by then. The
// latter alone are in idle: since no more can have come, their counts are of the moment.
func (f *Flows) reporting(counts map[core.BackendID]core.FlowCount, at time.Time, live bool) (report map[string][]string, idle map[string]bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	report, idle = maps.Clone(f.report), map[string]bool{}
	for id, since := range f.idle {
		_, decides := f.report[id.Service]
		if _, counted := counts[id]; decides || !counted || !live && at.Before(since) {
			continue
		}
		if report == nil {
			report = map[string][]string{}
		}
		report[id.Service], idle[id.Service] = append(report[id.Service], id.Backend), true
	}
	for svc := range idle {
		slices.Sort(report[svc])
	}
	return report, idle
}

// flowsOf picks the backends of a service that are counted.
func flowsOf(svc string, backends []string, counts map[core.BackendID]core.FlowCount) []core.FlowOf {
	out := make([]core.FlowOf, 0, len(backends))
	for _, name := range backends {
		if c, ok := counts[core.BackendID{Service: svc, Backend: name}]; ok {
			out = append(out, core.FlowOf{Name: name, Open: c.Open, Opened: c.Opened, Closed: c.Closed})
		}
	}
	return out
}

// Counts are those of this node and, of the services that it leads, of the others that are
// there. A node that is gone has no open connections any more; what it had closed stays
// counted for as long as this node leads.
func (f *Flows) Counts() map[core.BackendID]core.FlowCount {
	out := map[core.BackendID]core.FlowCount{}
	if f.cfg.Own != nil {
		maps.Copy(out, f.cfg.Own.Counts())
	}
	now := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	for svc, a := range f.heard {
		a.prune(now)
		if f.all && len(a.remotes) == 0 && len(a.closed) == 0 {
			delete(f.heard, svc)
		}
		if !f.cfg.Peers.Leads(svc) {
			clear(a.closed) // of an earlier lead: it would be a burst of the next one's first moment
			continue
		}
		for name, n := range a.closed {
			id := core.BackendID{Service: svc, Backend: name}
			c := out[id]
			c.Closed += n
			out[id] = c
		}
		for _, o := range a.remotes {
			if f.there(o, now) {
				o.addOpen(out)
			}
		}
	}
	return out
}

// AsOf is live if all nodes are whose connections are summed, and else of the oldest
// reading, by the clock of this node.
func (f *Flows) AsOf() (at time.Time, live bool) {
	now := time.Now()
	at, live = now, true
	if f.cfg.Own != nil {
		if at, live = f.cfg.Own.AsOf(); live {
			at = now
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for svc, a := range f.heard {
		if !f.cfg.Peers.Leads(svc) {
			continue
		}
		for _, o := range a.remotes {
			if o.r.Live || !f.there(o, now) {
				continue
			}
			live = false
			if then := o.r.At.Add(-f.cfg.Peers.Ahead(o.r.Node)); then.Before(at) {
				at = then
			}
		}
	}
	return at, live
}

// SetIdle is for this node's own counts, and has them reported.
func (f *Flows) SetIdle(backend core.BackendID, idle bool) {
	f.noteIdle(backend, idle, time.Now())
	if f.cfg.Own != nil {
		f.cfg.Own.SetIdle(backend, idle)
	}
}

func (f *Flows) noteIdle(backend core.BackendID, idle bool, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, was := f.idle[backend]; !idle {
		delete(f.idle, backend)
	} else if !was {
		f.idle[backend] = now
	}
}

// SetDown is for this node's own connections.
func (f *Flows) SetDown(backend core.BackendID, mode core.OnDown) {
	if r, ok := f.cfg.Own.(reaper); ok {
		r.SetDown(backend, mode)
	}
}

// SetUp is for this node's own connections.
func (f *Flows) SetUp(backend core.BackendID) {
	if r, ok := f.cfg.Own.(reaper); ok {
		r.SetUp(backend)
	}
}
