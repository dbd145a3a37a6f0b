// SPDX-License-Identifier: Apache-2.0

package core

import (
	"net/netip"
	"testing"
)

// TestSettings: long lists are counted and left out, the service keeps them, and a
// service without connection tracking cannot balance this node's own connections.
func TestSettings(t *testing.T) {
	s := Service{Traffic: Simple(netip.MustParseAddrPort("192.0.2.10:80"), TCP), AllowFile: "/a", DenyFile: "/d", OnDown: Reset, MinUp: 2, Shaping: Shaping{Panic: 0.3}}
	s.Allow, s.Deny, s.Pins = make([]netip.Prefix, 3), make([]netip.Prefix, 5), make([]Pin, 2)
	got := s.Settings(true)
	if got.AllowPrefixes != 3 || got.DenyPrefixes != 5 || got.ConfigPins != 2 || got.AllowFile != "/a" || got.DenyFile != "/d" {
		t.Errorf("counted %+v", got)
	}
	if got.Allow != nil || got.Deny != nil || got.Pins != nil || len(s.Deny) != 5 {
		t.Errorf("lists: %+v, of the service %d", got.Traffic, len(s.Deny))
	}
	if got.OnDown != Reset || got.MinUp != 2 || got.Panic != 0.3 || !got.LocalClients || s.Settings(false).LocalClients {
		t.Errorf("got %+v", got)
	}
	if s.Forwarding = DSR; s.Settings(true).LocalClients {
		t.Error("dsr balances this node's own connections")
	}
}
