// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// TestHeldDecisionsStay: a decision that somebody was given, or that was published,
// is not written over by those after it, which use the paper of others.
func TestHeldDecisionsStay(t *testing.T) {
	text := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	engineTest(t, &kernel{}, policies{"weighted": weighted}, setupOf(web("web", "weighted", 1, 3)), func(t *testing.T, e *Engine, l *log) {
		e.say("web", "b1", true)
		e.say("web", "b2", true)
		e.samples <- &core.Sample{Backend: core.BackendID{Service: "web", Backend: "b1"}, Probe: "cpu", Role: core.MetricRole, OK: true,
			TakenAt: time.Now(), Node: "test", Metrics: []core.Metric{{Name: core.MetricCores, Value: 4, Unit: "count"}}}
		time.Sleep(15 * time.Second) // past the first that changed nothing and was published
		l.mu.Lock()
		published := append([]core.Decision(nil), l.decisions...)
		l.mu.Unlock()
		before := text(published)
		time.Sleep(5 * time.Second)
		if after := text(published); after != before {
			t.Errorf("what was published became\n%s, was\n%s", after, before)
		}
		var held [][]core.Decision
		var said []string
		for range 4 {
			ds, err := e.Decisions(t.Context(), "web", 1)
			if err != nil || len(ds[0].Backends[0].Inputs) == 0 {
				t.Fatalf("decision %+v, error %v: want one with inputs", ds, err)
			}
			held, said = append(held, ds), append(said, text(ds))
			time.Sleep(3 * time.Second)
		}
		for i, ds := range held {
			if got := text(ds); got != said[i] {
				t.Errorf("held decision %d became\n%s, was\n%s", i, got, said[i])
			}
		}
	})
}
