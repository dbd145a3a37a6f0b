// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// TestBackendIsSmall: what the engine keeps of a backend that is probed, with its
// part in the latest decision. It was 4.7 kB.
func TestBackendIsSmall(t *testing.T) {
	const services, backends, most = 200, 16, 3100
	var list []core.Service
	for i := range services {
		list = append(list, web(fmt.Sprintf("s%d", i), "weighted", slices.Repeat([]uint32{1}, backends)...))
	}
	k, before := &kernel{}, heapBytes()
	engineTest(t, k, policies{"weighted": weighted}, setupOf(list...), func(t *testing.T, e *Engine, l *log) {
		for _, s := range list {
			for _, b := range s.Backends {
				e.Offer(core.Sample{
					Backend: core.BackendID{Service: s.Name, Backend: b.Name}, Probe: "alive", Role: core.HealthRole, OK: true, Node: "test",
					Code: core.L4OK, Detail: fmt.Sprintf("connected to %s in 45µs", b.Addr), TakenAt: time.Now(),
					Metrics: []core.Metric{{Name: core.MetricResponse, Value: 0.1, Unit: "seconds"}, {Name: core.MetricCores, Value: 4, Unit: "count"}},
				})
			}
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		l.mu.Lock()
		l.decisions, l.healths = nil, nil // the test's own
		l.mu.Unlock()
		if each := (heapBytes() - before) / (services * backends); each > most {
			t.Errorf("a backend takes %d bytes, want %d at most", each, most)
		} else {
			t.Logf("a backend takes %d bytes", each)
		}
		want(t, k, "s0", slices.Repeat([]uint32{core.Slots / backends}, backends)...)
	})
}

// heapBytes is what lives on the heap.
func heapBytes() int64 {
	runtime.GC()
	runtime.GC() // pools are emptied by the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
