// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/core"
)

// The loss of the last backend, and its return, are told once, and a start is not
// a loss.
func TestLossOfAServiceIsTold(t *testing.T) {
	k := &kernel{}
	engineTest(t, k, policies{"weighted": weighted}, setupOf(web("web", "weighted", 1, 1)), func(t *testing.T, e *Engine, l *log) {
		fall := func(backends ...string) {
			for _, b := range backends {
				for range 5 {
					e.say("web", b, false)
				}
			}
			time.Sleep(3 * time.Second)
		}
		e.up("b1")
		e.up("b2")
		fall("b1")
		fall("b2")
		e.up("b1", "b1", "b1")
		var got []core.Severity
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, ev := range l.events {
			if ev.Topic == "service" {
				got = append(got, ev.Severity)
				t.Log(ev.Message)
			}
		}
		if d := cmp.Diff([]core.Severity{core.Error, core.Info}, got); d != "" {
			t.Errorf("events (-want +got):\n%s", d)
		}
	})
}
