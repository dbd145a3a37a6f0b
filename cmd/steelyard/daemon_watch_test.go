// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/config"
)

// readers are policies that go by open connections, and one that reads how many went
// unanswered.
type readers struct{}

func (readers) FollowsConnections(policy string) bool { return policy == "least-conn" }

func (readers) CustomMetrics(policy string) []string {
	if policy == "wary" {
		return []string{core.MetricUnanswered}
	}
	return nil
}

// Connections are followed for policies that go by them, for max_connections and for
// agents that may name such a limit; what goes wrong, for passive health and policies
// that read it.
func TestWhoNeedsLiveCounts(t *testing.T) {
	service := func(name, policy string, limits ...uint32) core.Service {
		s := core.Service{Name: name, Policy: policy}
		for _, limit := range limits {
			s.Backends = append(s.Backends, core.Backend{Name: "b", Addr: netip.MustParseAddrPort("192.0.2.1:80"), MaxConnections: limit})
		}
		return s
	}
	shadowed, agent, passive := service("d", "weighted", 0), service("e", "weighted", 0), service("f", "weighted", 0)
	shadowed.Shadow = "least-conn"
	agent.Probes = []string{"says"}
	passive.Passive.Unanswered = 5
	cfg := &config.Config{
		Probes: map[string]core.ProbeSpec{"says": {Type: core.ProbeAgent}},
		Services: []core.Service{
			service("a", "weighted", 0, 0), service("b", "least-conn", 0), service("c", "weighted", 0, 100), shadowed, agent, passive, service("g", "wary", 0),
		},
	}
	type counts struct{ Live, Passive bool }
	got := map[string][]counts{}
	for _, w := range watched(cfg, readers{}) {
		got[w.ID.Service] = append(got[w.ID.Service], counts{w.Live, w.Passive})
	}
	want := map[string][]counts{
		"a": {{}, {}}, "b": {{Live: true}}, "c": {{}, {Live: true}}, "d": {{Live: true}}, "e": {{Live: true}},
		"f": {{Passive: true}}, "g": {{Passive: true}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
}

func TestCountedAgo(t *testing.T) {
	at := time.Unix(1_700_000_000, 0)
	for _, tt := range []struct {
		name string
		age  time.Duration
		want string
	}{
		{"live", 400 * time.Millisecond, ""},
		{"not live", 8 * time.Second, " (8.0 s ago)"},
		{"never", at.Sub(time.Time{}), ""},
	} {
		s := core.ServiceView{Backends: []core.BackendView{{ConnectionsAt: at.Add(-tt.age)}}}
		if tt.name == "never" {
			s.Backends[0].ConnectionsAt = time.Time{}
		}
		if got := countedAgo(s, at); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
