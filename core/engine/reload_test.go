// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/core"
)

// A reload that changes a probe, or adds one, keeps what is known of the
// backends: nobody is taken out until the first sample of the new probe.
func TestReloadOfAProbeKeepsHealth(t *testing.T) {
	slower := alive
	slower.Interval = 2 * time.Second
	more := web("web", "weighted", 1, 1)
	more.Probes = []string{"alive", "page"}
	page := alive
	page.Name = "page"
	for _, tt := range []struct {
		name  string
		setup Setup
	}{
		{"another interval", Setup{Services: []core.Service{web("web", "weighted", 1, 1)}, Probes: map[string]core.ProbeSpec{"alive": slower}}},
		{"one more probe", Setup{Services: []core.Service{more}, Probes: map[string]core.ProbeSpec{"alive": alive, "page": page}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := &kernel{}
			engineTest(t, k, policies{"weighted": weighted}, setupOf(web("web", "weighted", 1, 1)), func(t *testing.T, e *Engine, l *log) {
				e.say("web", "b1", true)
				e.say("web", "b2", true)
				time.Sleep(3 * time.Second)
				want(t, k, "web", 32768, 32768)
				if _, err := e.Reload(t.Context(), tt.setup); err != nil {
					t.Fatal(err)
				}
				time.Sleep(3 * time.Second)
				want(t, k, "web", 32768, 32768)
				e.say("web", "b1", false)
				e.say("web", "b1", false)
				synctest.Wait()
				want(t, k, "web", 0, 65536)
			})
		})
	}
}

// Other names for a service and its backends are no news of their health.
func TestReloadWithOtherNames(t *testing.T) {
	k := &kernel{}
	engineTest(t, k, policies{"weighted": weighted}, setupOf(web("web", "weighted", 1, 1)), func(t *testing.T, e *Engine, l *log) {
		e.say("web", "b1", true)
		e.say("web", "b2", true)
		e.say("web", "b2", false)
		e.say("web", "b2", false)
		time.Sleep(3 * time.Second)
		want(t, k, "web", 65536, 0)
		other := web("other", "weighted", 1, 1)
		for i := range other.Backends {
			other.Backends[i].Name = fmt.Sprintf("c%d", i+1)
		}
		if _, err := e.Reload(t.Context(), setupOf(other)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		want(t, k, "other", 65536, 0)
		e.say("other", "c2", true)
		e.say("other", "c2", true)
		e.say("other", "c1", false)
		e.say("other", "c1", false)
		synctest.Wait()
		want(t, k, "other", 0, 65536)
		if d, err := e.Decisions(t.Context(), "other", 1); err != nil || d[0].Backends[0].Backend != "c1" {
			t.Errorf("the latest decision speaks of %+v, err %v", d[0].Backends, err)
		}
	})
}

// A backend that dies while a reload is being committed is out as soon as that
// is done: the policy, which hangs, is not waited for.
func TestDeathDuringReload(t *testing.T) {
	k := &kernel{}
	engineTest(t, k, policies{"hanging": hanging}, setupOf(web("web", "hanging", 1, 1)), func(t *testing.T, e *Engine, l *log) {
		e.say("web", "b1", true)
		e.say("web", "b2", true)
		time.Sleep(3 * time.Second)
		want(t, k, "web", 32768, 32768)
		k.slow(100 * time.Millisecond)
		done := make(chan error, 1)
		go func() { _, err := e.Reload(context.Background(), setupOf(web("web", "hanging", 1, 1))); done <- err }()
		time.Sleep(50 * time.Millisecond) // the commit of the reload is under way
		e.say("web", "b1", false)
		e.say("web", "b1", false)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		time.Sleep(200 * time.Millisecond)
		want(t, k, "web", 0, 65536)
		ds, err := e.Decisions(t.Context(), "web", 1)
		if err != nil || ds[0].Trigger != "b1 went down" || ds[0].Backends[0].Why != "down: alive L4CON: connection refused" {
			t.Errorf("decision %q because %q, err %v", ds[0].Trigger, ds[0].Backends[0].Why, err)
		}
	})
}

// What the data plane says of a service may name it already.
func TestRefusalNamesAServiceOnce(t *testing.T) {
	err := refusal(syncOutcome{refused: map[string]error{"b": errors.New("service b: no such port"), "a": errors.New("invalid argument")}})
	if want := "service a: invalid argument; service b: no such port"; err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
}

// What tips a backend while a reload is on its way is told once, and not undone by it.
func TestReloadBesideADeath(t *testing.T) {
	k := &kernel{}
	setup := probed(core.HealthRule{}, core.ProbeSpec{Name: "alive", Type: core.ProbeTCP})
	engineTest(t, k, policies{"weighted": weighted}, setup, func(t *testing.T, e *Engine, l *log) {
		e.up("b1", "b2")
		time.Sleep(2 * time.Second)
		l.changes()
		k.slow(200 * time.Millisecond)
		done := make(chan error, 1)
		go func() { _, err := e.Reload(t.Context(), setup); done <- err }()
		time.Sleep(50 * time.Millisecond)
		e.bad("b1", 2)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		want(t, k, "web", 0, 65536)
		if diff := cmp.Diff([]string{"b1 up→down alive L4CON: so it is"}, l.changes()); diff != "" {
			t.Errorf("changes (-want +got):\n%s", diff)
		}
	})
}
