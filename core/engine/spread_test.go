// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// A monitor that names a target of many backends thousands of times a second does not
// keep the event loop busy, and costs no other monitor anything.
func TestTargetOfMany(t *testing.T) {
	s := web("web", "queue", 1)
	for i := range 1000 {
		s.Backends = append(s.Backends, core.Backend{Name: fmt.Sprintf("c%d", i), Weight: 1, Addr: netip.AddrPortFrom(netip.MustParseAddr("10.9.9.9"), uint16(i+1))})
	}
	setup := setupOf(s)
	setup.Metrics = map[string][]string{"queue": {"depth"}}
	engineTest(t, &kernel{}, policies{"queue": weighted}, setup, func(t *testing.T, e *Engine, l *log) {
		send := func(node, target string, value float64, times int) {
			for range times {
				e.Offer(core.Sample{
					Backend: core.BackendID{Backend: target}, Probe: "depth", Role: core.MetricRole, OK: true, Node: node,
					TakenAt: time.Now(), Metrics: []core.Metric{{Name: "depth", Value: value}},
				})
			}
			synctest.Wait()
		}
		state := func() (depth, single float64, refused uint64) {
			_ = e.do(t.Context(), func() {
				backends := e.services["web"].backends
				depth, single, refused = backends[1].custom.find("depth").value, backends[0].custom.find("depth").value, e.refused
			})
			return depth, single, refused
		}
		send("zabbix", "10.9.9.9", 1, 2000) // two million backends
		if depth, _, refused := state(); depth != 1 || refused < 1900 {
			t.Errorf("depth %v, %d refused; want 1, and most", depth, refused)
		}
		if got := strings.Join(l.told("bus"), "\n"); !strings.Contains(got, `target "10.9.9.9" is 1000 backends`) {
			t.Errorf("told: %s", got)
		}
		send("zabbix", "b1", 2, 1)       // one backend is never too much
		send("nagios", "10.9.9.9", 3, 1) // nor does another monitor have less
		if depth, single, _ := state(); depth != 3 || single != 2 {
			t.Errorf("depth %v and %v, want 3 and 2", depth, single)
		}
		time.Sleep(3 * time.Second)
		send("zabbix", "10.9.9.9", 4, 1)
		if depth, _, _ := state(); depth != 4 {
			t.Errorf("three seconds later: depth %v, want 4", depth)
		}
	})
}

func TestSpreadsAreBounded(t *testing.T) {
	all, noon := spreads{}, time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	for i := range 2 * spreadSources {
		all.allow(fmt.Sprint(i), 2, 1, noon)
	}
	if len(all) != spreadSources {
		t.Errorf("%d monitors are remembered, want %d", len(all), spreadSources)
	}
	if !all.allow("late", 2, 1, noon.Add(time.Minute)) {
		t.Error("those that were silent make no room")
	}
}
