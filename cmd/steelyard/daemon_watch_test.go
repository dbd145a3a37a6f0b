// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/core"
)

// Connections are followed for policies that go by them and for max_connections.
func TestWhoNeedsLiveCounts(t *testing.T) {
	service := func(name, policy string, limits ...uint32) core.Service {
		s := core.Service{Name: name, Policy: policy}
		for _, limit := range limits {
			s.Backends = append(s.Backends, core.Backend{Name: "b", Addr: netip.MustParseAddrPort("192.0.2.1:80"), MaxConnections: limit})
		}
		return s
	}
	shadowed := service("d", "weighted", 0)
	shadowed.Shadow = "least-conn"
	got := map[string][]bool{}
	for _, w := range watched([]core.Service{
		service("a", "weighted", 0, 0), service("b", "least-conn", 0), service("c", "weighted", 0, 100), shadowed,
	}, func(policy string) bool { return policy == "least-conn" }) {
		got[w.ID.Service] = append(got[w.ID.Service], w.Live)
	}
	want := map[string][]bool{"a": {false, false}, "b": {true}, "c": {false, true}, "d": {true}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("live (-want +got):\n%s", diff)
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
