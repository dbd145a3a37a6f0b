// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

type refusedSome map[string]error

func (refusedSome) Error() string               { return "some were refused" }
func (r refusedSome) Refused() map[string]error { return r }

// Of a commit that the kernel takes in part, each service's decision has the
// outcome of that service, and a failed one is on record.
func TestCommitRefusedInPart(t *testing.T) {
	k := &kernel{}
	s1, s2 := web("bad", "weighted", 1, 1), web("web", "weighted", 1, 1)
	engineTest(t, k, policies{"weighted": weighted}, setupOf(s1, s2), func(t *testing.T, e *Engine, l *log) {
		for _, s := range []string{"bad", "web"} {
			e.say(s, "b1", true)
		}
		time.Sleep(3 * time.Second)
		k.mu.Lock()
		k.fail = refusedSome{"bad": errors.New("no memory")}
		k.mu.Unlock()
		for _, s := range []string{"bad", "web"} { // one batch of samples, one commit
			e.samples <- &core.Sample{Backend: core.BackendID{Service: s, Backend: "b2"}, Probe: "alive", Role: core.HealthRole, OK: true, Code: core.L4OK, TakenAt: time.Now(), Node: "test"}
		}
		time.Sleep(100 * time.Millisecond)
		want(t, k, "bad", 32768, 32768)
		for s, outcome := range map[string]core.Outcome{"bad": core.Failed, "web": core.Applied} {
			if got := l.outcome(s, "b2 went up"); got != outcome {
				t.Errorf("%s: outcome %q, want %q", s, got, outcome)
			}
		}
	})
}

// outcome is that of the published decision with this trigger.
func (l *log) outcome(service, trigger string) core.Outcome {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range l.decisions {
		if d.Service == service && d.Trigger == trigger {
			return d.Outcome
		}
	}
	return ""
}

// A service that the kernel refused may be serving with its slots before; the
// death of a backend does not wait for the next routine attempt, half a minute off.
func TestDeathInARefusedService(t *testing.T) {
	k := &kernel{}
	engineTest(t, k, policies{"weighted": weighted}, setupOf(web("web", "weighted", 1, 1)), func(t *testing.T, e *Engine, l *log) {
		e.say("web", "b1", true)
		e.say("web", "b2", true)
		time.Sleep(3 * time.Second)
		k.mu.Lock()
		k.fail, k.refuse = errors.New("busy"), map[string]error{"web": errors.New("busy")}
		k.mu.Unlock()
		e.say("web", "b2", false)
		e.say("web", "b2", false)
		time.Sleep(3 * time.Second)
		k.mu.Lock()
		k.refuse = nil // it was a passing fault
		k.mu.Unlock()
		e.say("web", "b1", false)
		e.say("web", "b1", false)
		e.say("web", "b2", true)
		e.say("web", "b2", true)
		time.Sleep(retryEvery + tick)
		synctest.Wait()
		want(t, k, "web", 0, 65536)
	})
}

// A reload for the sake of another service is no reason to jump.
func TestReloadKeepsTheStepLimit(t *testing.T) {
	k := &kernel{}
	p := policies{"mine": weighted}
	engineTest(t, k, p, setupOf(web("web", "mine", 1, 1)), func(t *testing.T, e *Engine, l *log) {
		e.say("web", "b1", true)
		e.say("web", "b2", true)
		time.Sleep(3 * time.Second)
		e.do(t.Context(), func() { // the policy has just changed its mind
			for i, b := range e.services["web"].backends {
				b.opinion = []float64{99, 1}[i]
			}
			e.services["web"].nextAt = time.Now().Add(time.Hour)
			e.services["web"].inFlight = true
		})
		if _, err := e.Reload(t.Context(), setupOf(web("web", "mine", 1, 1), web("other", "mine", 1))); err != nil {
			t.Fatal(err)
		}
		if got := k.get("web")[0]; got > 32768*5/4+1 {
			t.Errorf("b1 went from 32768 to %d slots; the step limit is 25 %%", got)
		}
	})
}
