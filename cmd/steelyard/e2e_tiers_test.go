// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/steelyard-lb/steelyard/core"
)

// untilStates waits until the backends of web have these states, and the first
// of them that has a share is that of who.
func (r *rig) untilStates(what string, who string, states ...core.BackendState) {
	r.t.Helper()
	r.until(what, func() error {
		s, err := r.service("web")
		if err != nil {
			return err
		}
		fed := ""
		for i, b := range s.Backends {
			if b.State != states[i] {
				return fmt.Errorf("%s is %s, want %s (%s)", b.Name, b.State, states[i], b.Why)
			}
			if b.Share > 0 && fed == "" {
				fed = b.Name
			}
		}
		if fed != who {
			return fmt.Errorf("%q is fed, want %s", fed, who)
		}
		return nil
	})
	out, _ := r.steelyard("show")
	r.t.Logf("%s:\n%s", what, out)
}

// Who serves when who cannot: limits, groups, the sorry server, and what becomes
// of the connections of the dead.
func TestTiers(t *testing.T) {
	t.Parallel()
	r := newRig(t, 4)
	servers := r.echoes()
	addr := func(i int) string { return r.lab.Backends[i].Addr4.String() }
	r.write(fmt.Sprintf(`services:
  web:
    vip: %s
    port: 81
    policy: weighted
    every: 200ms
    probes: [alive]
    on_down: reset
    backends:
      b1: {address: %s, max_connections: 10}
      b2: {address: %s}
      b3: {address: %s, priority: 1}
    sorry: {address: %s}
`, r.lab.VIP4, addr(0), addr(1), addr(2), addr(3)))
	r.start()
	r.untilStates("all is well", "b1", core.StateUp, core.StateUp, core.StateReserve, core.StateSorry)
	held := r.hold(40)
	r.untilStates("b1 is full", "b2", core.StateFull, core.StateUp, core.StateReserve, core.StateSorry)
	if out, code := r.steelyard("backend", "drain", "web/b2", "--for", "30m", "--reason", "kernel update", "--author", "alice"); code != 0 {
		t.Fatal(out)
	}
	r.untilStates("b2 is drained", "b3", core.StateFull, core.StateDrain, core.StateUp, core.StateSorry)
	out, _ := r.steelyard("explain", "web/b2")
	t.Log(out)
	out, _ = r.steelyard("explain", "web")
	t.Log(out)
	for _, c := range held["b1"] {
		_ = c.Close()
	}
	r.untilStates("b1 has room again", "b1", core.StateUp, core.StateDrain, core.StateReserve, core.StateSorry)
	r.untilShares("web", 100, 0, 0, 0)
	late := r.hold(3)["b1"]
	for i := range 3 {
		_ = servers[i].Close()
	}
	r.untilStates("the sorry server", "sorry", core.StateDown, core.StateDrain, core.StateDown, core.StateSorry)
	if by := r.hold(5); len(by["b4"]) != 5 {
		t.Errorf("who answers: %v", by)
	}
	r.until("the connections of the dead are reset", func() error {
		if err := echo(late[0]); err == nil {
			return fmt.Errorf("one goes on")
		}
		return nil
	})
	// A drained backend's health is still followed, but nothing waited for its fall.
	r.until("the list says that b2 is down", func() error {
		out, code := r.steelyard("backend", "list")
		if code != 0 || !strings.Contains(out, "web/b2   drain    down") {
			return fmt.Errorf("list: %d\n%s", code, out)
		}
		return nil
	})
}
