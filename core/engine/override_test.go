// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/core"
)

var drain = core.OverrideRequest{Kind: core.OverrideDrain, Author: "alice", Reason: "kernel update"}

// command changes a backend and fails the test if that is refused.
func (e *Engine) command(t *testing.T, service, backend string, r core.OverrideRequest) core.OverrideResult {
	t.Helper()
	res, err := e.Override(t.Context(), core.BackendID{Service: service, Backend: backend}, r)
	if err != nil {
		t.Fatalf("%s %s/%s: %v", r.Kind, service, backend, err)
	}
	return res
}

// up makes the backends of web up, and waits for their shares.
func (e *Engine) up(backends ...string) {
	for _, b := range backends {
		e.say("web", b, true)
	}
	time.Sleep(3 * time.Second)
}

func (e *Engine) backend(t *testing.T, i int) core.BackendView {
	t.Helper()
	v, err := e.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return v.Services[0].Backends[i]
}

// A keeper remembers what it was given.
type keeper struct {
	mu    sync.Mutex
	saved map[core.BackendID]core.Override // guarded by mu
	err   error
}

func (k *keeper) Save(_ uint64, all map[core.BackendID]core.Override) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.saved = all
	return k.err
}

func (k *keeper) names() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var out []string
	for id, o := range k.saved {
		out = append(out, id.String()+" "+o.String())
	}
	slices.Sort(out)
	return out
}

// A drained backend gets nobody new as soon as the command is back, though its
// policy hangs; it keeps its clients and is still probed.
func TestDrain(t *testing.T) {
	k, keep := &kernel{took: time.Millisecond}, &keeper{}
	p := policies{"hanging": hanging}
	engineTestWith(t, k, p, setupOf(web("web", "hanging", 1, 1)), Config{Keeper: keep}, func(t *testing.T, e *Engine, l *log) {
		e.up("b1", "b2")
		want(t, k, "web", 32768, 32768)
		res := e.command(t, "web", "b1", drain)
		want(t, k, "web", 0, 65536)
		if res.Outcome != core.Applied || res.Before != nil || res.Override.Author != "alice" || res.Warning != "" {
			t.Errorf("result: %+v", res)
		}
		if diff := cmp.Diff([]bool{true, true}, k.alive("web")); diff != "" {
			t.Errorf("alive (-want +got):\n%s", diff)
		}
		b := e.backend(t, 0)
		if b.State != core.StateDrain || b.Health != core.Up || b.Why != "drain by alice: kernel update" {
			t.Errorf("the view says %s, %s, %q", b.State, b.Health, b.Why)
		}
		d, err := e.Decisions(t.Context(), "web", 1)
		if err != nil || d[0].Trigger != "drain of b1 by alice" || d[0].Backends[0].Override == nil || d[0].Seq != res.Decision {
			t.Errorf("decision %+v, %v", d[0], err)
		}
		if steps := d[0].Backends[0].Steps; !slices.ContainsFunc(steps, func(s core.Step) bool { return s.Name == "drain" && s.After == 0 }) {
			t.Errorf("no step says that it drains: %+v", steps)
		}
		// It dies: the clients that are bound to it must go elsewhere.
		e.say("web", "b1", false)
		e.say("web", "b1", false)
		time.Sleep(10 * time.Millisecond)
		if diff := cmp.Diff([]bool{false, true}, k.alive("web")); diff != "" {
			t.Errorf("alive after its death (-want +got):\n%s", diff)
		}
		if b := e.backend(t, 0); b.State != core.StateDrain || b.Health != core.Down {
			t.Errorf("the view says %s, %s", b.State, b.Health)
		}
		if diff := cmp.Diff([]string{"web/b1 drain by alice: kernel update"}, keep.names()); diff != "" {
			t.Errorf("saved (-want +got):\n%s", diff)
		}
		res = e.command(t, "web", "b1", core.OverrideRequest{Kind: core.OverrideReady, Author: "bob"})
		if res.Before == nil || res.Override != nil || len(keep.names()) > 0 {
			t.Errorf("ready: %+v, saved %v", res, keep.names())
		}
		want(t, k, "web", 0, 65536) // health is the gate still
		e.say("web", "b1", true)
		e.say("web", "b1", true)
		time.Sleep(10 * time.Millisecond)
		want(t, k, "web", 32768, 32768)
		for _, text := range []string{"drain by alice: kernel update, until it is ended", "drain by alice: kernel update ended by bob"} {
			if !l.has(text) {
				t.Errorf("no event says %q: %+v", text, l.events)
			}
		}
		res = e.command(t, "web", "b1", core.OverrideRequest{Kind: core.OverrideReady, Author: "bob"})
		if res.Before != nil || res.Override != nil {
			t.Errorf("ready without an override: %+v", res)
		}
	})
}

// Its time is up: it ends by itself and says so.
func TestOverrideEndsByItself(t *testing.T) {
	k, keep := &kernel{}, &keeper{}
	engineTestWith(t, k, policies{"weighted": weighted}, setupOf(web("web", "weighted", 1, 1)), Config{Keeper: keep}, func(t *testing.T, e *Engine, l *log) {
		e.up("b1", "b2")
		r := drain
		r.ForSeconds = 30
		e.command(t, "web", "b1", r)
		r.Kind, r.Weight, r.ForSeconds = core.OverrideWeight, 3, 60
		e.command(t, "web", "b2", r)
		time.Sleep(29 * time.Second)
		want(t, k, "web", 0, 65536)
		time.Sleep(4 * time.Second)
		want(t, k, "web", 16384, 49152)
		if !l.has("drain by alice: kernel update ended: its time is up") {
			t.Errorf("events: %+v", l.events)
		}
		time.Sleep(30 * time.Second)
		want(t, k, "web", 32768, 32768)
		if len(keep.names()) > 0 {
			t.Errorf("still saved: %v", keep.names())
		}
		d, err := e.Decisions(t.Context(), "web", 100)
		if err != nil || !slices.ContainsFunc(d, func(d core.Decision) bool { return d.Trigger == "drain of b1 ended: its time is up" }) {
			t.Errorf("no decision names the end, %v", err)
		}
	})
}

// What was commanded is in the log, with who and why, and so is its end.
func TestCommandsInTheLog(t *testing.T) {
	var out bytes.Buffer
	cfg := Config{Log: slog.New(slog.NewTextHandler(&out, nil))}
	engineTestWith(t, &kernel{}, policies{"weighted": weighted}, setupOf(web("web", "weighted", 1, 1)), cfg, func(t *testing.T, e *Engine, _ *log) {
		e.up("b1", "b2")
		r := drain
		r.ForSeconds = 30
		e.command(t, "web", "b1", r)
		time.Sleep(33 * time.Second)
		pin := core.PinRequest{Client: netip.MustParsePrefix("192.0.2.7/32"), Backend: "b2", Author: "bob"}
		if _, err := e.Pin(t.Context(), "web", pin); err != nil {
			t.Fatal(err)
		}
	})
	for _, want := range []string{
		`msg="by command" service=web backend=b1 what="drain by alice: kernel update, for 30s"`,
		`msg="by command" service=web backend=b1 what="drain by alice: kernel update ended: its time is up"`,
		`msg="by command" service=web backend=b2 what="pin of 192.0.2.7 to b2 by bob, until it is ended"`,
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %s in the log:\n%s", want, &out)
		}
	}
}

// A weight by command is what the policy goes by, without the limit on steps.
func TestWeightByCommand(t *testing.T) {
	k := &kernel{}
	engineTest(t, k, policies{"weighted": weighted}, setupOf(web("web", "weighted", 100, 100)), func(t *testing.T, e *Engine, l *log) {
		e.up("b1", "b2")
		res := e.command(t, "web", "b1", core.OverrideRequest{Kind: core.OverrideWeight, Weight: 300, Author: "alice"})
		want(t, k, "web", 49152, 16384)
		if res.Outcome != core.Applied || res.NotInForce != "" || res.Warning != "" {
			t.Errorf("result: %+v", res)
		}
		b := e.backend(t, 0)
		if b.Configured != 100 || b.Override.Weight != 300 || b.State != core.StateUp || b.Why != "weight 300 by alice; weighted" {
			t.Errorf("the view says %+v", b)
		}
		e.command(t, "web", "b1", core.OverrideRequest{Kind: core.OverrideWeight, Author: "alice"})
		want(t, k, "web", 0, 65536)
		e.command(t, "web", "b1", core.OverrideRequest{Kind: core.OverrideReady, Author: "alice"})
		want(t, k, "web", 32768, 32768)
	})
}

// Overrides outlive the daemon; those of nobody are dropped and told.
func TestOverridesOfAnEarlierLife(t *testing.T) {
	k, keep := &kernel{}, &keeper{}
	made := core.Override{Kind: core.OverrideDrain, Author: "alice", Since: time.Now().Add(-time.Hour)}
	over := made
	over.Until = over.Since.Add(time.Minute)
	id := func(s, b string) core.BackendID { return core.BackendID{Service: s, Backend: b} }
	cfg := Config{Keeper: keep, Overrides: map[core.BackendID]core.Override{id("web", "b1"): made, id("web", "b2"): over, id("web", "b9"): made, id("old", "b1"): made}}
	engineTestWith(t, k, policies{"weighted": weighted}, setupOf(web("web", "weighted", 1, 1)), cfg, func(t *testing.T, e *Engine, l *log) {
		// The clock of the bubble is not that of made: whatever it says, b2's is over.
		e.do(t.Context(), func() { e.services["web"].backends[1].override.Until, e.overrideDue = time.Now(), time.Now() })
		e.up("b1", "b2")
		want(t, k, "web", 0, 65536)
		if diff := cmp.Diff([]string{"web/b1 drain by alice"}, keep.names()); diff != "" {
			t.Errorf("saved (-want +got):\n%s", diff)
		}
		for _, text := range []string{"web/b9 is not in the configuration", "old/b1 is not in the configuration", "its time is up"} {
			if !l.has(text) {
				t.Errorf("no event says %q: %+v", text, l.events)
			}
		}
	})
}

// An override follows its backend through reloads: by address to another name,
// by name to another address.
func TestOverridesAndReload(t *testing.T) {
	other := web("web", "weighted", 1, 1)
	other.Backends[0].Name = "new1"
	elsewhere := web("web", "weighted", 1, 1)
	elsewhere.Backends[0].Addr = web("web", "weighted", 1, 1, 1).Backends[2].Addr
	renamed := web("shop", "weighted", 1, 1)
	alone := web("web", "weighted", 1, 1)
	alone.Backends = alone.Backends[1:]
	for _, tt := range []struct {
		name  string
		setup core.Service
		want  []string
	}{
		{"the same", web("web", "weighted", 5, 1), []string{"web/b1 drain by alice: kernel update"}},
		{"another name", other, []string{"web/new1 drain by alice: kernel update"}},
		{"another address", elsewhere, []string{"web/b1 drain by alice: kernel update"}},
		{"another name of the service", renamed, []string{"shop/b1 drain by alice: kernel update"}},
		{"it left", alone, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k, keep := &kernel{}, &keeper{}
			engineTestWith(t, k, policies{"weighted": weighted}, setupOf(web("web", "weighted", 1, 1)), Config{Keeper: keep}, func(t *testing.T, e *Engine, l *log) {
				e.up("b1", "b2")
				e.command(t, "web", "b1", drain)
				f, err := e.InForce(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				foretold := Dropped(setupOf(tt.setup), crossed(t, f))
				dropped, err := e.Reload(t.Context(), setupOf(tt.setup))
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(foretold, dropped); diff != "" || (len(dropped) > 0) != (tt.want == nil) {
					t.Errorf("dropped (-foretold +got):\n%s", diff)
				}
				time.Sleep(3 * time.Second)
				if diff := cmp.Diff(tt.want, keep.names()); diff != "" {
					t.Errorf("saved (-want +got):\n%s", diff)
				}
				if tt.want != nil && k.get(tt.setup.Name)[0] != 0 {
					t.Errorf("it has slots again: %v", k.get(tt.setup.Name))
				}
				if dropped := l.has("drain by alice: kernel update dropped: web/b1 is not in the configuration any more"); dropped != (tt.want == nil) {
					t.Errorf("dropped %t: %+v", dropped, l.events)
				}
			})
		})
	}
}

// A command that comes while a reload is being committed is not lost, and is
// answered when it is in force.
func TestCommandDuringReload(t *testing.T) {
	k := &kernel{}
	engineTest(t, k, policies{"weighted": weighted}, setupOf(web("web", "weighted", 1, 1), web("old", "weighted", 1, 1)), func(t *testing.T, e *Engine, l *log) {
		e.up("b1", "b2")
		k.slow(100 * time.Millisecond)
		done := make(chan error, 1)
		go func() { _, err := e.Reload(context.Background(), setupOf(web("web", "weighted", 1, 1))); done <- err }()
		time.Sleep(50 * time.Millisecond) // its commit is under way
		res := make(chan core.OverrideResult, 1)
		go func() {
			r, err := e.Override(context.Background(), core.BackendID{Service: "old", Backend: "b1"}, drain)
			if err != nil {
				t.Error(err)
			}
			res <- r // its backend leaves with the reload
		}()
		if got := e.command(t, "web", "b1", drain); got.Outcome != core.Applied {
			t.Errorf("result: %+v", got)
		}
		want(t, k, "web", 0, 65536)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if got := <-res; got.Outcome == core.Applied {
			t.Errorf("the drain of a backend that is gone: %+v", got)
		}
	})
}

// What is wrong with a command is said; nothing changes.
func TestCommandsRefused(t *testing.T) {
	k := &kernel{}
	engineTest(t, k, policies{"weighted": weighted}, setupOf(web("web", "weighted", 1)), func(t *testing.T, e *Engine, l *log) {
		for backend, r := range map[string]core.OverrideRequest{"b9": drain, "b1": {Kind: "fold", Author: "alice"}} {
			_, err := e.Override(t.Context(), core.BackendID{Service: "web", Backend: backend}, r)
			if err == nil || !strings.Contains(err.Error(), "web/"+backend) {
				t.Errorf("%s %s: %v", r.Kind, backend, err)
			}
			if backend == "b9" && !errors.Is(err, ErrUnknownBackend) {
				t.Errorf("%v is not ErrUnknownBackend", err)
			}
		}
	})
}

// In force, but not for long: the disk is full, or the kernel refuses.
func TestCommandWarnings(t *testing.T) {
	k, keep := &kernel{}, &keeper{err: errors.New("no space left on device")}
	engineTestWith(t, k, policies{"weighted": weighted}, setupOf(web("web", "weighted", 1, 1)), Config{Keeper: keep}, func(t *testing.T, e *Engine, l *log) {
		e.up("b1", "b2")
		if res := e.command(t, "web", "b1", drain); !strings.Contains(res.Warning, "a restart of the daemon will forget it: no space left") || res.Outcome != core.Applied {
			t.Errorf("a full disk: %+v", res)
		}
		keep.mu.Lock()
		keep.err = nil
		keep.mu.Unlock()
		k.mu.Lock()
		k.fail = errors.New("no buffer space available")
		k.mu.Unlock()
		res := e.command(t, "web", "b2", drain)
		if res.Outcome != core.Failed || !strings.Contains(res.NotInForce, "no buffer space") {
			t.Errorf("a kernel that refuses: %+v", res)
		}
		time.Sleep(time.Second)
		want(t, k, "web", 0, 0) // it was tried again
		k.slow(time.Minute)
		start := time.Now()
		if res := e.command(t, "web", "b2", core.OverrideRequest{Kind: core.OverrideReady, Author: "bob"}); time.Since(start) > commitPatience || !strings.Contains(res.NotInForce, "not followed within") {
			t.Errorf("a kernel that hangs, after %s: %+v", time.Since(start), res)
		}
	})
}

func TestSaverIsACopy(t *testing.T) {
	keep := &keeper{}
	e := &Engine{cfg: Config{Keeper: keep}, services: map[string]*service{"web": {backends: []*backend{{id: core.BackendID{Service: "web", Backend: "b1"}, override: &core.Override{Kind: core.OverrideDrain, Author: "a"}}}}}}
	save := e.saver()
	e.services["web"].backends[0].override = nil
	if err := save(); err != nil || len(keep.saved) != 1 {
		t.Errorf("saved %v, %v; want what was in force when it was called", keep.saved, err)
	}
}
