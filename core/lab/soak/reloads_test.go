// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// A reload is what a new configuration may make of a service, beside other
// weights.
type reload func(*core.ServicePlan)

// TestSoakReloads sends connections through a service while it is changed in more
// than its weights, with other services coming and going. Each must find a
// backend: the rules and the elements that they look up change in one moment.
func TestSoakReloads(t *testing.T) {
	same := func(*core.ServicePlan) {}
	tests := []struct {
		name  string
		cycle []reload
	}{
		{"its maps stay", []reload{
			same,
			func(s *core.ServicePlan) { s.Backends = s.Backends[:len(s.Backends)/2] },
			func(s *core.ServicePlan) {
				s.Persistence = core.Persistence{Timeout: 90 * time.Second, Prefix4: 32, Prefix6: 128, Size: 2 * clients}
			},
			func(s *core.ServicePlan) { s.Limits.New = core.Rate{PerSecond: 1e6, Burst: 1e6} },
			func(s *core.ServicePlan) { s.Frontends = append(s.Frontends, elsewhere(s)) },
		}},
		{"it gets new maps", []reload{
			func(s *core.ServicePlan) { s.Distribution = core.RoundRobin },
			func(s *core.ServicePlan) { s.Distribution, s.Seed = core.Hash, 7 },
			same,
			func(s *core.ServicePlan) { s.Name = "by-another-name" },
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { reloads(t, tt.cycle) })
	}
}

// elsewhere is another frontend for a service.
func elsewhere(s *core.ServicePlan) core.Frontend {
	f := s.First()
	return core.ExactFrontend(netip.AddrPortFrom(f.Addr(), f.Ports.First+1000), f.Protocol)
}

func reloads(t *testing.T, cycle []reload) {
	tr := trial{"random", func(*core.Traffic) {}, 8, choose(30_000, 1_000_000), choose(20, 1_000)}
	s := tr.service(0)
	st := newStand(t, choose(100, 1000), []core.ServicePlan{s})
	snd := st.sender(&s)
	defer snd.close()
	before := st.losses()
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	took, err := both(ctx, snd, tr, func(k int) error { return st.reload(s, cycle[k%len(cycle)], k) })
	st.must(err)
	lost := st.losses().since(before)
	entered, arrived := st.arrivals(&s)
	missed := int64(snd.next) - int64(arrived) - int64(lost.toBalancer+lost.full+lost.notInserted+lost.toBackends)
	t.Logf("%d connections and %d reloads in %s: entered %d, arrived %d, missed %d; the kernel dropped %+v",
		snd.next, len(took), time.Since(began).Round(time.Millisecond), entered, arrived, missed, lost)
	if missed != 0 {
		t.Errorf("%d of %d connections found no backend during %d reloads", missed, entered, len(took))
	}
}

// reload puts a change in force, in another mix of services each time.
func (st *stand) reload(s core.ServicePlan, edit reload, k int) error {
	traffic := *s.Traffic
	traffic.Frontends = slices.Clone(traffic.Frontends)
	s.Traffic, s.Backends = &traffic, slices.Clone(s.Backends)
	edit(&s)
	weigh(&s, 0)
	plan := core.Plan{Services: slices.DeleteFunc(slices.Clone(st.plan.Services), func(o core.ServicePlan) bool { return o.First() == s.First() })}
	plan.Services = append(slices.Delete(plan.Services, k%50, k%50+10), s)
	slices.SortFunc(plan.Services, func(x, y core.ServicePlan) int { return strings.Compare(x.Name, y.Name) })
	_, refused, err := st.a.Sync(context.Background(), plan)
	if err == nil && len(refused) > 0 {
		err = fmt.Errorf("refused: %v", refused)
	}
	return err
}
