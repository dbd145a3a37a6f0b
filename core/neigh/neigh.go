// SPDX-License-Identifier: Apache-2.0

package neigh

import (
	"cmp"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// DefaultVerify is how often a neighbour is asked whether it is still there.
const DefaultVerify = 10 * time.Second

// A Config says how to follow the neighbours. The zero Config is ready.
type Config struct {
	Log    *slog.Logger  // nil means silence
	Verify time.Duration // zero means DefaultVerify
}

// A Table follows the next hops of one network namespace. All methods but Run
// may be called from any goroutine, before Run as well. Run may be called once.
type Table struct {
	log    *slog.Logger
	kernel kernel

	closing sync.Once
	closed  error // of the first Close; read after closing is done

	changed chan struct{} // capacity 1: see Changed
	wake    chan struct{} // capacity 1: there is something in watched

	mu      sync.Mutex
	state   state        // guarded by mu; written by Run alone
	stats   Stats        // guarded by mu
	watched []netip.Addr // guarded by mu; nil when state has it already
}

// Stats are about the Table itself, counted since it was opened.
type Stats struct {
	Events    uint64 // of the kernel, of any neighbour, link, route and rule
	Overruns  uint64 // times the kernel had to drop events
	Resyncs   uint64 // readings of all links and neighbours
	Routes    uint64 // routes asked for
	Solicited uint64 // times the kernel was made to ask a neighbour
}

// Open opens the sockets in the network namespace of the calling thread; events
// collect from now on. Run reads them and closes the sockets; without Run, call
// Close.
func Open(cfg Config) (*Table, error) {
	k, err := openKernel()
	if err != nil {
		return nil, err
	}
	return newTable(k, cfg), nil
}

func newTable(k kernel, cfg Config) *Table {
	return &Table{
		log: cmp.Or(cfg.Log, slog.New(slog.DiscardHandler)), kernel: k,
		changed: make(chan struct{}, 1), wake: make(chan struct{}, 1),
		state: newState(cmp.Or(cfg.Verify, DefaultVerify)),
	}
}

// Close closes the sockets. Run does it when it ends; calling it again is safe.
func (t *Table) Close() error {
	t.closing.Do(func() { t.closed = t.kernel.close() })
	return t.closed
}

// Watch replaces the addresses whose hops are wanted; IPv4-mapped ones mean
// IPv4. It does not wait for the kernel: Changed tells when the Hops are there.
func (t *Table) Watch(addrs []netip.Addr) {
	list := make([]netip.Addr, 0, len(addrs))
	for _, a := range addrs {
		if a.IsValid() {
			list = append(list, a.Unmap())
		}
	}
	t.mu.Lock()
	t.watched = list
	t.mu.Unlock()
	notify(t.wake)
}

// Hop is the way to a watched address, and whether it is known.
func (t *Table) Hop(a netip.Addr) (core.Hop, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.state.entries[a.Unmap()]; e != nil && e.hop.Device != "" {
		return e.hop, true
	}
	return core.Hop{}, false
}

// Changed receives after a Hop appeared, changed or went; several changes may
// be one receipt. The channel is never closed.
func (t *Table) Changed() <-chan struct{} { return t.changed }

// A View is what is known of a watched address.
type View struct {
	Addr netip.Addr
	Hop  core.Hop // zero if there is none; Problem says why
	// State is the kernel's word for its entry: reachable, stale, delay, probe,
	// permanent, incomplete, failed, or none.
	State string
	// Age is how long ago the neighbour last confirmed its address; negative if
	// it never did, or nobody asks it.
	Age     time.Duration
	Problem string
}

// Views returns what is known of each watched address, sorted by address.
func (t *Table) Views() []View {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	list := make([]View, 0, len(t.state.sorted))
	for _, e := range t.state.sorted {
		list = append(list, e.view(now))
	}
	return list
}

// Why says why a watched address has no Hop, with the cure where there is one;
// it is empty if it has one, or is not watched.
func (t *Table) Why(a netip.Addr) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.state.entries[a.Unmap()]; e != nil {
		return e.problem
	}
	return ""
}

// Stats returns the numbers of the Table itself.
func (t *Table) Stats() Stats {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.stats
}

func (e *entry) view(now time.Time) View {
	v := View{Addr: e.addr, Hop: e.hop, State: stateName(0), Age: -1, Problem: e.problem}
	if s, ok := e.at(); ok {
		v.State = stateName(s.state)
		if s.state&valid != 0 && !s.foreign {
			v.Age = now.Sub(s.confirmed)
		}
	}
	return v
}

// stateNames are those of ip(8), by bit of NUD_….
var stateNames = []string{"incomplete", "reachable", "stale", "delay", "probe", "failed", "noarp", "permanent"}

func stateName(nud uint16) string {
	i := slices.IndexFunc([]uint16{1, 2, 4, 8, 16, 32, 64, 128}, func(bit uint16) bool { return nud&bit != 0 })
	if i < 0 {
		return "none"
	}
	return stateNames[i]
}

// notify tells a channel of capacity 1; one that is full knows already.
func notify(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
