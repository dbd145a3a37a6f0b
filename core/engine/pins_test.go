// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/core"
)

// A pinKeeper remembers what it was given, as text.
type pinKeeper struct {
	mu    sync.Mutex
	saved []string // guarded by mu
	err   error
}

func (k *pinKeeper) Save(_ uint64, all map[string][]core.PinState) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.saved = nil
	for name, pins := range all {
		for _, p := range pins {
			k.saved = append(k.saved, name+": "+p.String())
		}
	}
	slices.Sort(k.saved)
	return k.err
}

func (k *pinKeeper) get() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.saved
}

// pins are those in the kernel's plan: "192.0.2.7/32 b1".
func (k *kernel) pins(service string) (out []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.plans[service].Traffic == nil {
		return nil
	}
	for _, p := range k.plans[service].Pins {
		out = append(out, p.Client.String()+" "+p.Backend)
	}
	return out
}

func client(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func pinned(s core.Service, pins ...core.Pin) core.Service {
	s.Pins = pins
	return s
}

func (e *Engine) pin(t *testing.T, r core.PinRequest) core.PinResult {
	t.Helper()
	r.Author = "alice"
	res, err := e.Pin(t.Context(), "web", r)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func wantPins(t *testing.T, k *kernel, service string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, k.pins(service)); diff != "" {
		t.Errorf("pins of %s in the kernel (-want +got):\n%s", service, diff)
	}
}

// A pin by command is in the kernel when the command is back, before the one of
// the configuration for the same client, which counts again after it.
func TestPinByCommand(t *testing.T) {
	k, keep := &kernel{}, &pinKeeper{}
	s := pinned(web("web", "weighted", 1, 1), core.Pin{Client: client("192.0.2.7/32"), Backend: "b1"}, core.Pin{Client: client("192.0.2.0/24"), Backend: "b1"})
	engineTestWith(t, k, policies{"weighted": weighted}, setupOf(s), Config{PinKeeper: keep}, func(t *testing.T, e *Engine, l *log) {
		e.up("b1", "b2")
		k.slow(30 * time.Millisecond)
		res := e.pin(t, core.PinRequest{Client: client("192.0.2.7/32"), Backend: "b2", Reason: "a test"})
		if res.Warning != "" || res.Pin == nil || res.Pin.Backend != "b2" || res.Before != nil || res.Configured != "b1" {
			t.Errorf("result %+v", res)
		}
		wantPins(t, k, "web", "192.0.2.7/32 b2", "192.0.2.0/24 b1")
		e.pin(t, core.PinRequest{Client: client("198.51.100.0/24"), Backend: "b1", ForSeconds: 60})
		wantPins(t, k, "web", "192.0.2.7/32 b2", "192.0.2.0/24 b1", "198.51.100.0/24 b1")
		if diff := cmp.Diff([]string{"web: pin of 192.0.2.7 to b2 by alice: a test", "web: pin of 198.51.100.0/24 to b1 by alice"}, keep.get()); diff != "" {
			t.Errorf("saved (-want +got):\n%s", diff)
		}
		if got := s.Pins[0].Backend; got != "b1" {
			t.Errorf("the configuration was changed: %s", got)
		}
		_, pins, err := e.Pins(t.Context(), "web")
		if err != nil || len(pins) != 3 || pins[0].Reason != "a test" || pins[1].ByCommand() || pins[2].Until.IsZero() {
			t.Errorf("Pins: %+v, %v", pins, err)
		}

		time.Sleep(61 * time.Second)
		wantPins(t, k, "web", "192.0.2.7/32 b2", "192.0.2.0/24 b1")
		res = e.pin(t, core.PinRequest{Client: client("192.0.2.7/32")})
		if res.Before == nil || res.Before.Backend != "b2" || res.Pin != nil || res.Configured != "b1" {
			t.Errorf("unpin: %+v", res)
		}
		wantPins(t, k, "web", "192.0.2.7/32 b1", "192.0.2.0/24 b1")
		if res = e.pin(t, core.PinRequest{Client: client("192.0.2.7/32")}); res.Before != nil {
			t.Errorf("unpin of nothing: %+v", res)
		}
		if len(keep.get()) > 0 {
			t.Errorf("still saved: %v", keep.get())
		}
		for _, text := range []string{"to b1 by alice, for 1m0s", "to b1 by alice ended: its time is up", "a test ended by alice"} {
			if !l.has(text) {
				t.Errorf("no event says %q: %+v", text, l.events)
			}
		}
	})
}

// Weights go on being changed in a service with pins by command: no change asks
// for more than a re-weight because of them.
func TestReweightWithPins(t *testing.T) {
	k := &kernel{}
	engineTest(t, k, policies{"weighted": weighted}, setupOf(web("web", "weighted", 1, 1)), func(t *testing.T, e *Engine, l *log) {
		e.up("b1", "b2")
		e.pin(t, core.PinRequest{Client: client("192.0.2.7/32"), Backend: "b2"})
		k.mu.Lock()
		before, traffic := k.syncs, k.plans["web"].Traffic
		k.mu.Unlock()
		e.say("web", "b1", false)
		e.say("web", "b1", false)
		time.Sleep(time.Second)
		want(t, k, "web", 0, 65536)
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.syncs != before || k.plans["web"].Traffic != traffic {
			t.Errorf("%d full syncs, want %d; the traffic is another: %t", k.syncs, before, k.plans["web"].Traffic != traffic)
		}
	})
}

func TestPinsOfAnEarlierLife(t *testing.T) {
	k, keep := &kernel{}, &pinKeeper{}
	pin := func(c, backend string) core.PinState {
		return core.PinState{Pin: core.Pin{Client: client(c), Backend: backend}, Author: "alice"}
	}
	cfg := Config{PinKeeper: keep, Pins: map[string][]core.PinState{
		"web": {pin("192.0.2.7/32", "b2"), pin("192.0.2.8/32", "gone")}, "old": {pin("192.0.2.9/32", "b1")},
	}}
	engineTestWith(t, k, policies{"weighted": weighted}, setupOf(web("web", "weighted", 1, 1)), cfg, func(t *testing.T, e *Engine, l *log) {
		wantPins(t, k, "web", "192.0.2.7/32 b2") // from the first plan on
		time.Sleep(time.Second)
		if diff := cmp.Diff([]string{"web: pin of 192.0.2.7 to b2 by alice"}, keep.get()); diff != "" {
			t.Errorf("saved (-want +got):\n%s", diff)
		}
		for _, text := range []string{"web/gone is not in the configuration", "old/b1 is not in the configuration"} {
			if !l.has(text) {
				t.Errorf("no event says %q: %+v", text, l.events)
			}
		}
	})
}

func TestPinsAndReload(t *testing.T) {
	other := web("web", "weighted", 1, 1)
	other.Backends[0].Name = "new1"
	alone := web("web", "weighted", 1, 1)
	alone.Backends = alone.Backends[1:]
	last := web("web", "weighted", 1, 1)
	last.Backends[0].Sorry = true
	for _, tt := range []struct {
		name  string
		setup core.Service
		want  []string

		dropped string // what is told if there is nothing to want
	}{
		{"the same", web("web", "weighted", 5, 1), []string{"192.0.2.7/32 b1"}, "dropped"},
		{"another name", other, []string{"192.0.2.7/32 new1"}, "dropped"},
		{"another name of the service", web("shop", "weighted", 1, 1), []string{"192.0.2.7/32 b1"}, "dropped"},
		{"it left", alone, nil, "by alice dropped: web/b1 is not in the configuration any more"},
		{"it serves when nobody else can", last, nil, "dropped: backend web/b1 is the sorry server"},
		{"the configuration pins it too", pinned(web("web", "weighted", 1, 1), core.Pin{Client: client("192.0.2.7/32"), Backend: "b2"}), []string{"192.0.2.7/32 b1"}, "dropped"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := &kernel{}
			engineTest(t, k, policies{"weighted": weighted}, setupOf(web("web", "weighted", 1, 1)), func(t *testing.T, e *Engine, l *log) {
				e.up("b1", "b2")
				e.pin(t, core.PinRequest{Client: client("192.0.2.7/32"), Backend: "b1"})
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
				time.Sleep(time.Second)
				wantPins(t, k, tt.setup.Name, tt.want...)
				if told := l.has(tt.dropped); told != (tt.want == nil) {
					t.Errorf("told %t: %+v", told, l.events)
				}
			})
		})
	}
}

// A pin that comes while a reload, or any full sync, is under way is not lost.
func TestPinDuringSync(t *testing.T) {
	k := &kernel{}
	engineTest(t, k, policies{"weighted": weighted}, setupOf(web("web", "weighted", 1, 1)), func(t *testing.T, e *Engine, l *log) {
		e.up("b1", "b2")
		k.slow(100 * time.Millisecond)
		done := make(chan error, 1)
		go func() { _, err := e.Reload(context.Background(), setupOf(web("web", "weighted", 1, 1))); done <- err }()
		time.Sleep(50 * time.Millisecond)
		began := time.Now()
		e.pin(t, core.PinRequest{Client: client("192.0.2.7/32"), Backend: "b1"})
		wantPins(t, k, "web", "192.0.2.7/32 b1")
		if took := time.Since(began); took < 150*time.Millisecond || took > 300*time.Millisecond {
			t.Errorf("it took %s: want the rest of one commit, and one more", took)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		first := make(chan error, 1)
		go func() {
			_, err := e.Pin(context.Background(), "web", core.PinRequest{Client: client("192.0.2.8/32"), Backend: "b1", Author: "bob"})
			first <- err
		}()
		time.Sleep(50 * time.Millisecond)
		e.pin(t, core.PinRequest{Client: client("192.0.2.9/32"), Backend: "b2"})
		wantPins(t, k, "web", "192.0.2.7/32 b1", "192.0.2.8/32 b1", "192.0.2.9/32 b2")
		if err := <-first; err != nil {
			t.Error(err)
		}
	})
}

func TestPinsRefused(t *testing.T) {
	k := &kernel{}
	s := web("web", "weighted", 1, 1)
	s.Backends = append(s.Backends, core.Backend{Name: "sorry", Sorry: true, Addr: netip.MustParseAddrPort("10.0.0.9:80")})
	engineTest(t, k, policies{"weighted": weighted}, setupOf(s), func(t *testing.T, e *Engine, l *log) {
		for want, r := range map[string]core.PinRequest{
			"web/b9 is not configured":       {Client: client("192.0.2.7/32"), Backend: "b9", Author: "a"},
			"is the sorry server":            {Client: client("192.0.2.7/32"), Backend: "sorry", Author: "a"},
			"no address of the family":       {Client: client("2001:db8::7/128"), Backend: "b1", Author: "a"},
			"author is missing":              {Client: client("192.0.2.7/32"), Backend: "b1"},
			"client is missing":              {Backend: "b1", Author: "a"},
			"write it as 192.0.2.0/24":       {Client: client("192.0.2.7/24"), Backend: "b1", Author: "a"},
			"the end of a pin takes no time": {Client: client("192.0.2.7/32"), Author: "a", ForSeconds: 3},
			"want 0 to 31622400":             {Client: client("192.0.2.7/32"), Backend: "b1", Author: "a", ForSeconds: -1},
			"is not a character to print":    {Client: client("192.0.2.7/32"), Backend: "b1", Author: "a\x1b"},
			"service nope is not configured": {},
		} {
			service := "web"
			if strings.HasPrefix(want, "service nope") {
				service, r = "nope", core.PinRequest{Client: client("192.0.2.7/32"), Backend: "b1", Author: "a"}
			}
			if _, err := e.Pin(t.Context(), service, r); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%+v: got %v, want %q", r, err, want)
			}
		}
		e.cfg.PinKeeper = &pinKeeper{err: errors.New("no space left")}
		if res := e.pin(t, core.PinRequest{Client: client("192.0.2.7/32"), Backend: "b1"}); !strings.Contains(res.Warning, "a restart of the daemon will forget it: no space left") {
			t.Errorf("result %+v", res)
		}
		k.mu.Lock()
		k.refuse = map[string]error{"web": errors.New("no memory")}
		k.mu.Unlock()
		if res := e.pin(t, core.PinRequest{Client: client("192.0.2.8/32"), Backend: "b1"}); !strings.Contains(res.NotInForce, "it was refused") {
			t.Errorf("result %+v", res)
		}
	})
}

// Tending is asked for as long as there is something to do, and no longer.
func TestTend(t *testing.T) {
	k := &kernel{again: 500 * time.Millisecond}
	engineTest(t, k, policies{"weighted": weighted}, setupOf(web("web", "weighted", 1, 1)), func(t *testing.T, e *Engine, l *log) {
		e.up("b1", "b2")
		time.Sleep(10 * time.Second)
		k.mu.Lock()
		n := k.tends
		k.again = 0
		k.mu.Unlock()
		if n < 15 || n > 26 {
			t.Errorf("%d turns in 13 s: want one every 0.5 s", n)
		}
		time.Sleep(time.Second)
		k.mu.Lock()
		n = k.tends
		k.mu.Unlock()
		time.Sleep(30 * time.Second)
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.tends != n {
			t.Errorf("%d more turns although nothing is left and nothing was committed", k.tends-n)
		}
	})
}

// A death does not wait for tending, however long that would take.
func TestTendIsCutShort(t *testing.T) {
	k := &kernel{again: time.Second, tendTook: time.Hour}
	engineTest(t, k, policies{"weighted": weighted}, setupOf(web("web", "weighted", 1, 1)), func(t *testing.T, e *Engine, l *log) {
		e.say("web", "b1", true)
		e.say("web", "b2", true)
		time.Sleep(5 * time.Second)
		want(t, k, "web", 32768, 32768)
		k.mu.Lock()
		if k.tends == 0 {
			t.Error("nothing was tended")
		}
		k.mu.Unlock()
		time.Sleep(5 * time.Second)
		e.say("web", "b1", false)
		e.say("web", "b1", false)
		time.Sleep(time.Millisecond)
		want(t, k, "web", 0, 65536)
	})
}

func TestForget(t *testing.T) {
	k := &kernel{}
	s := web("web", "weighted", 1, 1)
	s.Persistence = core.Persistence{Timeout: time.Minute, Prefix4: 32, Prefix6: 128, Size: 10}
	engineTest(t, k, policies{"weighted": weighted}, setupOf(s, web("plain", "weighted", 1)), func(t *testing.T, e *Engine, l *log) {
		e.up("b1", "b2")
		n, err := e.Forget(t.Context(), "web", core.SessionFilter{Backend: "b1"}, "alice")
		if err != nil || n != 3 || !l.has("3 sessions forgotten by alice") {
			t.Errorf("Forget: %d, %v; %+v", n, err, l.events)
		}
		for service, want := range map[string]error{"plain": ErrNoPersistence, "nope": ErrUnknownBackend} {
			if _, err := e.Forget(t.Context(), service, core.SessionFilter{}, "alice"); !errors.Is(err, want) {
				t.Errorf("%s: got %v, want %v", service, err, want)
			}
		}
		if _, err := e.Forget(t.Context(), "web", core.SessionFilter{Backend: "b9"}, "alice"); !errors.Is(err, ErrUnknownBackend) {
			t.Errorf("of b9: %v", err)
		}
		if got := fmt.Sprint(k.forgot); got != "[web b1]" {
			t.Errorf("the kernel was asked: %s", got)
		}
	})
}
