// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// BenchmarkTakeSample shows that a sample costs much the same however many services there
// are, and backends of one.
func BenchmarkTakeSample(b *testing.B) {
	for _, c := range []struct{ services, backends int }{{1, 16}, {1000, 16}, {1, 16000}} {
		b.Run(fmt.Sprintf("%dx%d", c.services, c.backends), func(b *testing.B) {
			var list []core.Service
			for i := range c.services {
				s := core.Service{Traffic: core.Simple(netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)}), 80), core.TCP), Name: fmt.Sprintf("s%d", i), Policy: "weighted", Every: time.Minute, Probes: []string{"alive"}}
				for j := range c.backends {
					s.Backends = append(s.Backends, core.Backend{Name: fmt.Sprintf("b%05d", j), Weight: 1, Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i), byte(j >> 8), byte(j)}), 80)})
				}
				list = append(list, s)
			}
			setup := setupOf(list...)
			setup.Probing = suspicious
			e := New(Config{Node: "test", Applier: &kernel{}, Publisher: &log{}, Log: slog.New(slog.DiscardHandler)}, setup)
			services := e.build(setup, core.Plan{})
			e.install(setup, services)
			i := 0
			b.ResetTimer()
			for range b.N {
				s := list[i%c.services]
				e.takeSample(core.Sample{Backend: core.BackendID{Service: s.Name, Backend: s.Backends[(i/c.services)%c.backends].Name}, Probe: "alive", Role: core.HealthRole, OK: true, Node: "test", Code: core.L4OK, TakenAt: time.Now(), Metrics: []core.Metric{{Name: core.MetricResponse, Value: 0.1, Unit: "seconds"}}})
				i++
			}
		})
	}
}
