// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/config"
	"github.com/steelyard-lb/steelyard/core/ops"
)

// namesTold is how many names an answer lists, so that it stays a line.
const namesTold = 8

// metricTargets are the backends of a configuration by all that a monitor may call them:
// whoever hands a number in is told at once that it is about nobody. The engine finds
// the backends by itself once the number has arrived, by the same rule.
//
// The zero value is ready. It is made when the first number comes, since most nodes
// never need it, and anew after a reload.
type metricTargets struct {
	mu       sync.Mutex
	of       *config.Config      // guarded by mu, as are the next; what they are made of
	services map[string][]string // backends by service; all lists are sorted
	all      []string            // services
	names    []string            // of backends
	addrs    map[netip.Addr]bool // of backends
}

// look says that id means nobody: nil if it is a backend of cfg, or a target that
// matches one.
func (t *metricTargets) look(cfg *config.Config, id core.BackendID) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.of != cfg {
		t.index(cfg)
	}
	if id.Service == "" {
		addr, err := netip.ParseAddr(id.Backend)
		if has(t.names, id.Backend) || err == nil && t.addrs[addr.Unmap()] {
			return nil
		}
		service, backend, whole := strings.Cut(id.Backend, "/")
		if !whole {
			return unmatched("no backend has the name or the address %s; backends here: %s", id.Backend, around(t.names, id.Backend))
		}
		id = core.BackendID{Service: service, Backend: backend}
	}
	backends, known := t.services[id.Service]
	switch {
	case !known:
		return unmatched("no backend %s: there is no service %s; services here: %s", id, id.Service, around(t.all, id.Service))
	case !has(backends, id.Backend):
		return unmatched("no backend %s; service %s has %s", id, id.Service, around(backends, id.Backend))
	}
	return nil
}

// index files every backend of cfg. The caller holds mu.
func (t *metricTargets) index(cfg *config.Config) {
	t.of, t.services, t.all, t.names, t.addrs = cfg, map[string][]string{}, nil, nil, map[netip.Addr]bool{}
	for _, s := range cfg.Services {
		backends := make([]string, 0, len(s.Backends))
		for _, b := range s.Backends {
			backends = append(backends, b.Name)
			for _, a := range []netip.AddrPort{b.Addr, b.Alt} {
				if a.IsValid() {
					t.addrs[a.Addr().Unmap()] = true
				}
			}
		}
		slices.Sort(backends)
		t.services[s.Name], t.all, t.names = backends, append(t.all, s.Name), append(t.names, backends...)
	}
	slices.Sort(t.all)
	slices.Sort(t.names)
	t.names = slices.Compact(t.names)
}

func has(sorted []string, name string) bool {
	_, found := slices.BinarySearch(sorted, name)
	return found
}

// around lists names: all of few, or of many the neighbours of what is missing, since
// what begins in the same way is probably meant.
func around(sorted []string, missing string) string {
	n := len(sorted)
	if n == 0 {
		return "none"
	}
	at, _ := slices.BinarySearch(sorted, missing)
	from := max(0, min(at-namesTold/2, n-namesTold))
	to := min(n, from+namesTold)
	out := strings.Join(sorted[from:to], ", ")
	if rest := n - (to - from); rest > 0 {
		out += fmt.Sprintf(" and %d more", rest)
	}
	return out
}

func unmatched(format string, args ...any) error {
	return &ops.UnmatchedError{Text: fmt.Sprintf(format, args...)}
}
