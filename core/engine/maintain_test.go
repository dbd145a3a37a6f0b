// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/core"
)

// once is a window from so long after the start of a bubble, which is at midnight UTC.
func once(after, lasts time.Duration, backends ...string) core.Maintenance {
	start := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).Add(after)
	return core.Maintenance{Name: "kernel-updates", Reason: "kernel update", Backends: backends, Start: start, End: start.Add(lasts), Zone: "UTC"}
}

func TestMaintenanceWindow(t *testing.T) {
	k := &kernel{}
	setup := setupOf(web("web", "weighted", 1, 1))
	setup.Maintenance = []core.Maintenance{once(2*time.Hour, 2*time.Hour, "web/b1")}
	engineTest(t, k, policies{"weighted": weighted}, setup, func(t *testing.T, e *Engine, l *log) {
		e.up("b1", "b2")
		want(t, k, "web", 32768, 32768)
		time.Sleep(time.Until(setup.Maintenance[0].Start) + time.Second)
		want(t, k, "web", 0, 65536)
		if diff := cmp.Diff([]bool{true, true}, k.alive("web")); diff != "" {
			t.Errorf("its clients are sent away:\n%s", diff)
		}
		const note = "maintenance kernel-updates: kernel update, until 04:00"
		b := e.backend(t, 0)
		if b.State != core.StateMaint || b.Health != core.Up || b.Why != note {
			t.Errorf("b1 is %s (%s): %s", b.State, b.Health, b.Why)
		}
		d, err := e.Decisions(t.Context(), "web", 1)
		if err != nil || !slices.ContainsFunc(d[0].Backends[0].Steps, func(s core.Step) bool { return s.Name == "drain" && s.Note == "drained: "+note }) {
			t.Errorf("no step says so: %+v, %v", d[0].Backends[0].Steps, err)
		}
		res := e.command(t, "web", "b1", core.OverrideRequest{Kind: core.OverrideReady, Author: "bob"})
		if res.NotInForce != "it is drained: "+note {
			t.Errorf("ready: %+v", res)
		}
		want(t, k, "web", 0, 65536)
		// A drain by command goes before it, and its end does not end the window.
		e.command(t, "web", "b1", drain)
		if b := e.backend(t, 0); b.State != core.StateDrain {
			t.Errorf("b1 is %s: %s", b.State, b.Why)
		}
		e.command(t, "web", "b1", core.OverrideRequest{Kind: core.OverrideReady, Author: "bob"})
		want(t, k, "web", 0, 65536)
		if b := e.backend(t, 0); b.State != core.StateMaint {
			t.Errorf("b1 is %s: %s", b.State, b.Why)
		}

		// A reload keeps it; one that takes it away ends it.
		if _, err := e.Reload(t.Context(), setup); err != nil {
			t.Fatal(err)
		}
		want(t, k, "web", 0, 65536)
		if diff := cmp.Diff([]string{"drained: " + note}, l.told("maintenance")); diff != "" {
			t.Errorf("told (-want +got):\n%s", diff)
		}
		time.Sleep(time.Until(setup.Maintenance[0].End) + 2*time.Second)
		want(t, k, "web", 32768, 32768)
		if diff := cmp.Diff([]string{"maintenance kernel-updates is over"}, l.told("maintenance")); diff != "" {
			t.Errorf("told (-want +got):\n%s", diff)
		}
	})
}

// A window that has begun is in force from the first plan on, one that a reload brings
// from the reload on, and one that it takes away until then. The last backends are
// never drained silently.
func TestMaintenanceAndReload(t *testing.T) {
	k := &kernel{}
	setup := setupOf(web("web", "weighted", 1, 1))
	s := setup.Services[0]
	k.left = core.Plan{Services: []core.ServicePlan{{Name: "web", Backends: []core.BackendPlan{
		{Name: "b1", Addr: s.Backends[0].Addr, Slots: 32768}, {Name: "b2", Addr: s.Backends[1].Addr, Slots: 32768}}}}}
	setup.Maintenance = []core.Maintenance{once(0, 2*time.Hour, "*/b1")}
	engineTest(t, k, policies{"weighted": weighted}, setup, func(t *testing.T, e *Engine, l *log) {
		want(t, k, "web", 0, 65536)
		e.up("b1", "b2")
		want(t, k, "web", 0, 65536)
		all := setup
		all.Maintenance = []core.Maintenance{once(0, 2*time.Hour, "web/*")}
		l.told("service")
		if _, err := e.Reload(t.Context(), all); err != nil {
			t.Fatal(err)
		}
		want(t, k, "web", 0, 0)
		if told := l.told("service"); len(told) != 1 || !strings.HasPrefix(told[0], "no backend of web takes new connections any more") {
			t.Errorf("told: %q", told)
		}
		none := setup
		none.Maintenance = nil
		if _, err := e.Reload(t.Context(), none); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		want(t, k, "web", 32768, 32768)
		if told := l.told("maintenance"); len(told) != 4 { // b1 and b2 in, and out
			t.Errorf("told: %q", told)
		}
	})
}

// What plan shows of a configuration knows the windows that it is in.
func TestPreviewOfMaintenance(t *testing.T) {
	setup := setupOf(web("web", "weighted", 1, 1))
	setup.Maintenance = []core.Maintenance{{Name: "m", Backends: []string{"web/b2"}, Start: time.Now().Add(-time.Hour), End: time.Now().Add(time.Hour)}}
	p := Preview(setup, core.InForce{Services: []core.Service{}})
	if got := slotsOf(p.Services[0]); !slices.Equal(got, []uint32{65536, 0}) {
		t.Errorf("slots %v", got)
	}
}

// The next look at the windows is a time span from now: until a time on the wall it
// would take an hour more when the clock is set back by one.
func TestWindowDueIsMonotonic(t *testing.T) {
	e := New(Config{}, Setup{})
	now := time.Now()
	e.setup.Maintenance = []core.Maintenance{{Name: "m", Backends: []string{"*/*"}, Start: now.Add(30 * time.Second).Round(0), End: now.Add(time.Hour).Round(0)}}
	due := e.nextWindow(now)
	if !strings.Contains(due.String(), "m=") || due.Sub(now) != 30*time.Second {
		t.Errorf("due %s", due)
	}
}
