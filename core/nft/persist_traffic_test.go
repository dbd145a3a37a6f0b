// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"net/netip"
	"testing"

	"github.com/steelyard-lb/steelyard/core"
)

// TestPersistencePrefix has two addresses of one prefix be one client, and a third
// one another, in a dual-stack service. The weights are turned around in between,
// so that only what is remembered leads both to the same backend.
func TestPersistencePrefix(t *testing.T) {
	s := with(service("web", "10.0.9.1:80", core.TCP,
		backend("b1", "10.0.2.11:8080", core.Slots), backend("b1", "[fd00:2::11]:8080", core.Slots),
		backend("b2", "10.0.2.12:8080", 0), backend("b2", "[fd00:2::12]:8080", 0)), func(t *core.Traffic) {
		t.Frontends = append(t.Frontends, core.ExactFrontend(netip.MustParseAddrPort("[fd00:9::1]:80"), core.TCP))
		t.Persistence = sticky(service("", "10.0.9.1:80", core.TCP)).Persistence
		t.Persistence.Prefix4, t.Persistence.Prefix6 = 24, 56
	})
	w, a := newTraffic(t, plan(s))
	w.in(w.client, func() {
		w.up("c1", "10.0.1.77/24", "10.0.3.5/32", "fd00:1:0:ff::7/128", "fd00:1:0:100::7/128")
	})
	w.in(w.balancer, func() {
		w.run("ip", "route", "add", "10.0.3.0/24", "via", "10.0.1.2")
		w.run("ip", "route", "add", "fd00:1::/48", "via", "fd00:1::2")
	})
	gets := func(from, vip, want string) {
		t.Helper()
		w.in(w.client, func() {
			for range 5 {
				name, client, err := askFrom("tcp", netip.AddrPortFrom(netip.MustParseAddr(from), 0).String(), vip, patience)
				w.must(err)
				if name != want || client != from {
					t.Errorf("%s got %s, which saw %s: want %s", from, name, client, want)
				}
			}
		})
	}
	gets("10.0.1.2", "10.0.9.1:80", "b1")
	gets("fd00:1::2", "[fd00:9::1]:80", "b1")
	turned := *clonePlan(&s)
	for i := range turned.Backends {
		turned.Backends[i].Slots, turned.Backends[i].Alive = core.Slots-s.Backends[i].Slots, true
	}
	if _, err := a.Reweight(t.Context(), []core.ServicePlan{turned}); err != nil {
		t.Fatal(err)
	}
	gets("10.0.1.77", "10.0.9.1:80", "b1")
	gets("10.0.3.5", "10.0.9.1:80", "b2")
	gets("fd00:1:0:ff::7", "[fd00:9::1]:80", "b1")
	gets("fd00:1:0:100::7", "[fd00:9::1]:80", "b2")
	found, err := a.Sessions(t.Context(), turned, core.SessionFilter{}, 10)
	got := map[string]string{}
	for _, e := range found.List {
		got[e.Client.String()] = e.Backend
	}
	for client, backend := range map[string]string{"10.0.1.0/24": "b1", "10.0.3.0/24": "b2", "fd00:1::/56": "b1", "fd00:1:0:100::/56": "b2"} {
		if got[client] != backend || len(got) != 4 || err != nil {
			t.Errorf("sessions %v, %v: want %s on %s, of 4", got, err, client, backend)
		}
	}
}
