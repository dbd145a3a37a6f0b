// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

func weigh(n uint32) core.OverrideRequest {
	return core.OverrideRequest{Kind: core.OverrideWeight, Weight: n, Author: "alice"}
}

// The answer of a policy that was asked before a command is none to it: neither is
// the command answered by it, nor does it use up the free move of the new weights.
func TestWeightWhileThePolicyIsAsked(t *testing.T) {
	slow := func(ctx context.Context, s core.Snapshot) core.Result {
		time.Sleep(700 * time.Millisecond)
		return weighted(ctx, s)
	}
	k := &kernel{took: 10 * time.Millisecond}
	engineTest(t, k, policies{"slow": slow}, setupOf(web("web", "slow", 100, 100)), func(t *testing.T, e *Engine, l *log) {
		e.up("b1", "b2")
		for range 5 { // at several points of a call
			time.Sleep(150 * time.Millisecond)
			if res := e.command(t, "web", "b1", weigh(300)); res.NotInForce != "" {
				t.Fatalf("result: %+v", res)
			}
			want(t, k, "web", 49152, 16384)
			e.command(t, "web", "b1", core.OverrideRequest{Kind: core.OverrideReady, Author: "alice"})
			want(t, k, "web", 32768, 32768)
		}
	})
}

// A weight by command moves the shares freely, whenever a reload comes beside it.
func TestWeightBesideAReload(t *testing.T) {
	k := &kernel{}
	engineTest(t, k, policies{"weighted": weighted}, setupOf(web("web", "weighted", 100, 100)), func(t *testing.T, e *Engine, l *log) {
		e.up("b1", "b2")
		k.slow(100 * time.Millisecond)
		for _, n := range []uint32{300, 700} {
			done := make(chan error, 1)
			go func() {
				_, err := e.Reload(context.Background(), setupOf(web("web", "weighted", 100, 100)))
				done <- err
			}()
			time.Sleep(50 * time.Millisecond) // its commit is under way
			if res := e.command(t, "web", "b1", weigh(n)); res.Outcome != core.Applied || res.NotInForce != "" {
				t.Errorf("weight %d: %+v", n, res)
			}
			want(t, k, "web", 65536*n/(n+100), 65536*100/(n+100))
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
	})
}

// A decision that changes nothing against what is on its way into the kernel is in
// force when that is.
func TestCommandWaitsForTheCommitThatCarriesIt(t *testing.T) {
	k := &kernel{}
	engineTest(t, k, policies{"weighted": weighted}, setupOf(web("web", "weighted", 1, 1)), func(t *testing.T, e *Engine, l *log) {
		e.up("b1", "b2")
		k.slow(200 * time.Millisecond)
		e.say("web", "b1", false)
		e.say("web", "b1", false)
		time.Sleep(50 * time.Millisecond) // the commit that takes it out is under way
		want(t, k, "web", 32768, 32768)
		e.command(t, "web", "b1", drain)
		want(t, k, "web", 0, 65536)
	})
}

// What was asked for and cannot be noticed is told with its reason.
func TestNotInForce(t *testing.T) {
	k := &kernel{}
	bad := errors.New("it trapped")
	mine := func(ctx context.Context, s core.Snapshot) core.Result {
		if s.Backends[1].Weight == 7 {
			return core.Result{Err: bad}
		}
		return weighted(ctx, s)
	}
	setup := web("web", "mine", 1, 1, 1)
	setup.Backends[2].Priority = 1
	ready := core.OverrideRequest{Kind: core.OverrideReady, Author: "alice"}
	engineTest(t, k, policies{"mine": mine}, setupOf(setup), func(t *testing.T, e *Engine, l *log) {
		check := func(backend string, r core.OverrideRequest, want string) {
			t.Helper()
			if res := e.command(t, "web", backend, r); want == "" && res.NotInForce != "" || !strings.Contains(res.NotInForce, want) {
				t.Errorf("%s of %s: %q, want %q", r.Kind, backend, res.NotInForce, want)
			}
		}
		check("b1", weigh(20), "not probed yet")
		check("b1", weigh(0), "")
		check("b1", ready, "not probed yet")
		check("b1", ready, "") // nothing was set
		e.up("b2", "b3")
		e.say("web", "b1", false)
		e.say("web", "b1", false)
		check("b1", weigh(20), "down: alive L4CON: connection refused")
		check("b1", drain, "")
		check("b1", ready, "down: alive")
		check("b3", weigh(20), "in reserve")
		check("b2", weigh(7), "policy mine fails, and the shares before hold: it trapped")
	})
}

// Who takes out the last backend that serves is told what clients meet now.
func TestEmptiedByCommand(t *testing.T) {
	silent, sorry, shy := web("web", "weighted", 1, 1), web("web", "weighted", 1, 1, 1), web("web", "weighted", 1, 1, 1, 1)
	silent.OnEmpty = core.Drop
	sorry.Backends[2].Sorry = true
	shy.Shaping.Panic = 0.6
	for _, tt := range []struct {
		name  string
		setup core.Service
		up    []string
		r     core.OverrideRequest // of b1
		want  string
	}{
		{"another serves", web("web", "weighted", 1, 1), []string{"b1", "b2"}, drain, ""},
		{"the last", web("web", "weighted", 1, 1), []string{"b1"}, drain, "no backend of web takes new connections any more: they are refused (on_empty: reject)"},
		{"the last by its weight", web("web", "weighted", 1, 1), []string{"b1"}, weigh(0), "they are refused"},
		{"the last of a silent service", silent, []string{"b1"}, drain, "they get no answer (on_empty: drop)"},
		{"the last before the sorry server", sorry, []string{"b1"}, drain, "they go to the sorry server"},
		{"panic", shy, []string{"b1", "b2"}, drain, "too few backends of web are up: new connections go to all of them"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			engineTest(t, &kernel{}, policies{"weighted": weighted}, setupOf(tt.setup), func(t *testing.T, e *Engine, l *log) {
				e.up(tt.up...)
				res := e.command(t, "web", "b1", tt.r)
				if tt.want == "" && res.Warning != "" || !strings.Contains(res.Warning, tt.want) {
					t.Errorf("warning %q, want %q", res.Warning, tt.want)
				}
			})
		})
	}
}

// Of two commands at once the first says that it is not in force any more, and
// speaks for the second of nothing else.
func TestCommandThatIsReplaced(t *testing.T) {
	k := &kernel{}
	engineTest(t, k, policies{"weighted": weighted}, setupOf(web("web", "weighted", 1, 1)), func(t *testing.T, e *Engine, l *log) {
		e.up("b1", "b2")
		k.slow(200 * time.Millisecond)
		first := make(chan core.OverrideResult, 1)
		go func() {
			res, err := e.Override(context.Background(), core.BackendID{Service: "web", Backend: "b1"}, drain)
			if err != nil {
				t.Error(err)
			}
			first <- res
		}()
		time.Sleep(50 * time.Millisecond) // its commit is under way
		e.command(t, "web", "b1", core.OverrideRequest{Kind: core.OverrideReady, Author: "bob"})
		if res := <-first; res.Warning != "another command has taken its place meanwhile" || res.NotInForce != "" {
			t.Errorf("the first: %+v", res)
		}
		want(t, k, "web", 32768, 32768)
	})
}
