// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// fixed answers the same weights again and again.
func fixed(weights ...float64) func(context.Context, core.Snapshot) core.Result {
	return func(context.Context, core.Snapshot) core.Result {
		return core.Result{Weights: append([]float64(nil), weights...), Version: "fixed@1", Took: time.Millisecond}
	}
}

func failing(context.Context, core.Snapshot) core.Result {
	return core.Result{Err: errors.New("run policy bad: it fails")}
}

// withShadow is a service whose backends are up, with a shadow.
func withShadow(name, policy, shadow string) core.Service {
	s := web(name, policy, 1, 1)
	s.Shadow, s.Shaping.Step = shadow, 0
	return s
}

func (e *Engine) bothUp(service string) {
	e.say(service, "b1", true)
	e.say(service, "b2", true)
}

func latest(t *testing.T, e *Engine, service string) core.Decision {
	t.Helper()
	d, err := e.Decisions(t.Context(), service, 1)
	if err != nil || len(d) == 0 {
		t.Fatalf("decisions of %s: %v, %v", service, d, err)
	}
	return d[0]
}

// shadowText is what a decision says of its shadow, briefly.
func shadowText(d core.Decision) string {
	if d.Shadow == nil {
		return "no shadow"
	}
	text := fmt.Sprintf("%s moves %.2f", d.Shadow.Policy, d.Shadow.Moved)
	for _, b := range d.Backends {
		if b.Shadow == nil {
			text += " -"
			continue
		}
		text += fmt.Sprintf(" %.2f", b.Shadow.Share)
	}
	if d.Shadow.PolicyError != "" {
		text += ", " + d.Shadow.PolicyError
	}
	return text
}

// A shadow is shown with its own shares and changes nothing.
func TestShadowIsOnlyShown(t *testing.T) {
	k := &kernel{}
	p := policies{"weighted": weighted, "other": fixed(3, 1)}
	engineTest(t, k, p, setupOf(withShadow("web", "weighted", "other"), web("plain", "weighted", 1, 1)), func(t *testing.T, e *Engine, l *log) {
		e.bothUp("web")
		e.bothUp("plain")
		time.Sleep(5 * time.Second)
		want(t, k, "web", 32768, 32768)
		d := latest(t, e, "web")
		if got := shadowText(d); got != "other moves 0.25 0.75 0.25" {
			t.Error(got)
		}
		if d.Shadow.PolicyVersion != "fixed@1" || d.Shadow.PolicySeconds != 0.001 || d.Shadow.SnapshotSeq == 0 || *d.Backends[0].Shadow.Policy != 0.75 {
			t.Errorf("%+v, %+v", d.Shadow, d.Backends[0].Shadow)
		}
		if got := shadowText(latest(t, e, "plain")); got != "no shadow" {
			t.Error(got)
		}
		v, err := e.View(t.Context())
		if err != nil || v.Services[1].Shadow == nil || v.Services[0].Shadow != nil {
			t.Errorf("view: %+v, %v", v.Services, err)
		}
		// The dead get nothing from it either.
		e.say("web", "b1", false)
		e.say("web", "b1", false)
		time.Sleep(2 * time.Second)
		if got := shadowText(latest(t, e, "web")); got != "other moves 0.00 0.00 1.00" {
			t.Error(got)
		}
	})
}

// A shadow goes by the step limit from its own shares, not from those in force.
func TestShadowHasItsOwnPast(t *testing.T) {
	k := &kernel{}
	turn := time.Now().Add(-time.Hour) // of the bubble, below
	p := policies{"weighted": weighted, "turns": func(_ context.Context, s core.Snapshot) core.Result {
		if time.Now().Before(turn) {
			return core.Result{Weights: []float64{1, 1}}
		}
		return core.Result{Weights: []float64{1, 0}}
	}}
	s := withShadow("web", "weighted", "turns")
	s.Shaping.Step = 0.25
	engineTest(t, k, p, setupOf(s), func(t *testing.T, e *Engine, l *log) {
		turn = time.Now().Add(10 * time.Second)
		e.bothUp("web")
		var shares []float64
		for range 120 {
			time.Sleep(200 * time.Millisecond)
			if d := latest(t, e, "web"); d.Backends[0].Shadow != nil {
				shares = append(shares, d.Backends[0].Shadow.Share)
			}
		}
		want(t, k, "web", 32768, 32768)
		for i := 1; i < len(shares); i++ {
			if step := math.Abs(shares[i]-shares[i-1]) / shares[i-1]; step > 0.2501 {
				t.Errorf("from %.3f to %.3f in one decision", shares[i-1], shares[i])
			}
		}
		if first, last := shares[0], shares[len(shares)-1]; first != 0.5 || last < 0.95 {
			t.Errorf("began at %v and ended at %v, want 0.5 and almost 1", first, last)
		}
	})
}

// A shadow that hangs or fails disturbs nobody.
func TestShadowDisturbsNobody(t *testing.T) {
	k := &kernel{}
	var hangs atomic.Int32
	p := policies{"weighted": weighted, "bad": failing, "hanging": func(ctx context.Context, s core.Snapshot) core.Result {
		hangs.Add(1)
		return hanging(ctx, s)
	}}
	setup := setupOf(withShadow("hangs", "weighted", "hanging"), withShadow("fails", "weighted", "bad"), withShadow("uses", "bad", "weighted"))
	engineTest(t, k, p, setup, func(t *testing.T, e *Engine, l *log) {
		for _, s := range []string{"hangs", "fails", "uses"} {
			e.bothUp(s)
		}
		time.Sleep(20 * time.Second)
		for name, text := range map[string]string{
			"hangs": "hanging moves 0.00 - -",
			"fails": "bad moves 0.00 - -, run policy bad: it fails",
			"uses":  "weighted moves 0.00 0.50 0.50",
		} {
			d := latest(t, e, name)
			if got := shadowText(d); got != text {
				t.Errorf("%s: %s, want %s", name, got, text)
			}
			if age := time.Since(d.At); age > 2*time.Second {
				t.Errorf("%s was decided %s ago", name, age)
			}
			if d.PolicyError != "" != (name == "uses") {
				t.Errorf("%s: policy error %q", name, d.PolicyError)
			}
		}
		if n := hangs.Load(); n != 1 {
			t.Errorf("the shadow that hangs was called %d times", n)
		}
		if !l.has("it fails") { // of the service that uses it
			t.Error("no event of the policy in force")
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, ev := range l.events {
			if ev.Service == "fails" || ev.Service == "hangs" {
				t.Errorf("an event of a service that is well: %+v", ev)
			}
		}
	})
}

// What a shadow thought of a backend before it went is forgotten when it comes back.
func TestShadowForgetsTheDead(t *testing.T) {
	k := &kernel{}
	var calls atomic.Int32
	p := policies{"weighted": weighted, "once": func(ctx context.Context, s core.Snapshot) core.Result {
		if calls.Add(1) == 1 {
			return fixed(3, 1)(ctx, s)
		}
		return failing(ctx, s)
	}}
	engineTest(t, k, p, setupOf(withShadow("web", "weighted", "once")), func(t *testing.T, e *Engine, l *log) {
		e.bothUp("web")
		time.Sleep(2 * time.Second)
		if b := latest(t, e, "web").Backends[0].Shadow; b.Policy == nil || *b.Policy != 0.75 {
			t.Fatalf("before: %+v", b)
		}
		e.say("web", "b1", false)
		e.say("web", "b1", false)
		synctest.Wait()
		e.bothUp("web")
		e.bothUp("web")
		time.Sleep(2 * time.Second)
		if b := latest(t, e, "web").Backends; b[0].Health != core.Up || b[0].Shadow.Policy != nil || b[1].Shadow.Policy == nil {
			t.Errorf("after: %+v, %+v", b[0].Shadow, b[1].Shadow)
		}
	})
}

// A reload takes a shadow away, brings one, and lets one that stays go on.
func TestShadowAtReload(t *testing.T) {
	k := &kernel{}
	p := policies{"weighted": weighted, "other": fixed(3, 1)}
	engineTest(t, k, p, setupOf(withShadow("a", "weighted", "other"), withShadow("b", "weighted", "other"), web("c", "weighted", 1, 1)), func(t *testing.T, e *Engine, l *log) {
		for _, s := range []string{"a", "b", "c"} {
			e.bothUp(s)
		}
		time.Sleep(3 * time.Second)
		if _, err := e.Reload(t.Context(), setupOf(web("a", "weighted", 1, 1), withShadow("b", "weighted", "other"), withShadow("c", "weighted", "other"))); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := shadowText(latest(t, e, "b")); got != "other moves 0.25 0.75 0.25" {
			t.Errorf("b at once: %s", got)
		}
		time.Sleep(3 * time.Second)
		for name, text := range map[string]string{"a": "no shadow", "b": "other moves 0.25 0.75 0.25", "c": "other moves 0.25 0.75 0.25"} {
			if got := shadowText(latest(t, e, name)); got != text {
				t.Errorf("%s: %s, want %s", name, got, text)
			}
		}
	})
}
