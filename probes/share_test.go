// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/lab/bubbletest"
)

// fullSpec has something in every field, so that a test can change each.
func fullSpec() *core.ProbeSpec {
	var s core.ProbeSpec
	fill(reflect.ValueOf(&s).Elem())
	return &s
}

func fill(v reflect.Value) {
	if v.Type() == reflect.TypeFor[netip.Addr]() {
		v.Set(reflect.ValueOf(netip.MustParseAddr("192.0.2.7")))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Map:
		value := reflect.New(v.Type().Elem()).Elem()
		fill(value)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("key"), value)
	default:
		change(v)
	}
}

// change makes another value of a plain one.
func change(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(v.String() + "x")
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Float64:
		v.SetFloat(v.Float() + 1)
	default:
		if v.CanInt() {
			v.SetInt(v.Int() + 1)
		} else {
			v.SetUint(v.Uint() + 1)
		}
	}
}

// leaves calls f for each plain value in v, by its path.
func leaves(path string, v reflect.Value, f func(path string, change func())) {
	if v.Type() == reflect.TypeFor[netip.Addr]() {
		f(path, func() { v.Set(reflect.ValueOf(netip.MustParseAddr("192.0.2.8"))) })
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			leaves(path+"."+v.Type().Field(i).Name, v.Field(i), f)
		}
	case reflect.Slice:
		leaves(path+"[0]", v.Index(0), f)
	case reflect.Map:
		f(path+"{}", func() {
			value := reflect.New(v.Type().Elem()).Elem()
			v.SetMapIndex(reflect.ValueOf("another"), value)
		})
	default:
		f(path, func() { change(v) })
	}
}

// TestCatalogueSeesEveryField changes each field of a spec in turn: secrets count, and
// the four that are about what follows from the answers do not.
func TestCatalogueSeesEveryField(t *testing.T) {
	apart := []string{".Name", ".Role", ".Rise", ".Fall"}
	seen := 0
	var paths []string
	leaves("", reflect.ValueOf(fullSpec()).Elem(), func(path string, _ func()) { paths = append(paths, path) })
	for _, path := range paths {
		c := newCatalogue()
		first := c.choose(fullSpec())
		if again := c.choose(fullSpec()); again != first {
			t.Fatal("a copy of a spec does not ask alike")
		}
		other := fullSpec()
		leaves("", reflect.ValueOf(other).Elem(), func(p string, change func()) {
			if p == path {
				change()
				seen++
			}
		})
		if alike := c.choose(other) == first; alike != slices.Contains(apart, path) {
			t.Errorf("specs that differ in %s ask alike: %t", path, alike)
		}
	}
	if seen < 80 || seen != len(paths) {
		t.Errorf("%d of %d fields were changed", seen, len(paths))
	}
}

// The hash only saves time, so it must not save too little: many specs that differ in
// a secret, a variable of a command or a source must not all be compared with each other.
func TestCatalogueHashes(t *testing.T) {
	for name, set := range map[string]func(s *core.ProbeSpec, i int){
		"secret":      func(s *core.ProbeSpec, i int) { s.SNMP.Community = core.Secret(fmt.Sprint("secret", i)) },
		"environment": func(s *core.ProbeSpec, i int) { s.Exec.Env["A"] = core.Secret(fmt.Sprint(i)) },
		"variable":    func(s *core.ProbeSpec, i int) { s.Exec.Env[fmt.Sprint("A", i)] = "" },
		"source":      func(s *core.ProbeSpec, i int) { s.Way.Source = netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}) },
	} {
		c := newCatalogue()
		for i := range 1000 {
			s := fullSpec()
			set(s, i)
			c.choose(s)
		}
		for _, specs := range c.byHash {
			if len(specs) > 3 {
				t.Errorf("%s: %d of 1000 specs have one hash", name, len(specs))
			}
		}
	}
}

// member is a target of a service, whose probe is shared with those of the same address.
func member(service, backend, addr, probe string) Target {
	t := target(backend, time.Second)
	t.ID.Service, t.Addr, t.Spec.Name = service, netip.MustParseAddrPort(addr), probe
	return t
}

func TestAskedOnce(t *testing.T) {
	edit := func(t Target, f func(*core.ProbeSpec)) Target { f(t.Spec); return t }
	kind := func(kind string) func(*core.ProbeSpec) {
		return func(s *core.ProbeSpec) { s.Type = kind }
	}
	command := func(words ...string) func(*core.ProbeSpec) {
		return func(s *core.ProbeSpec) { s.Type, s.Exec.Command = core.ProbeExec, words }
	}
	port := func(s *core.ProbeSpec) { s.Port = 9000 }
	a, b, c := "192.0.2.1:80", "192.0.2.1:81", "192.0.2.2:80"
	tests := []struct {
		name string
		x, y Target
		want bool
	}{
		{"the same", member("s", "b1", a, "p"), member("t", "b2", a, "q"), true},
		{"another port", member("s", "b1", a, "p"), member("t", "b2", b, "p"), false},
		{"another address", member("s", "b1", a, "p"), member("t", "b2", c, "p"), false},
		{"a port of the probe's", edit(member("s", "b1", a, "p"), port), edit(member("t", "b2", b, "p"), port), true},
		{"the agent of one machine", edit(member("s", "b1", a, "p"), kind(core.ProbeSNMPCPU)), edit(member("t", "b2", b, "p"), kind(core.ProbeSNMPCPU)), true},
		{"ping of one machine", edit(member("s", "b1", a, "p"), kind(core.ProbePing)), edit(member("t", "b2", b, "p"), kind(core.ProbePing)), true},
		{"a command", edit(member("s", "b1", a, "p"), command("true", "{address}")), edit(member("t", "b2", a, "p"), command("true", "{address}")), true},
		{"a command about a port", edit(member("s", "b1", a, "p"), command("true", "{port}")), edit(member("t", "b2", b, "p"), command("true", "{port}")), false},
		{"a command about a service", edit(member("s", "b1", a, "p"), command("true", "-s={service}")), edit(member("t", "b1", a, "p"), command("true", "-s={service}")), false},
		{"a command about a backend", edit(member("s", "b1", a, "p"), command("true", "{backend}")), edit(member("s", "b2", a, "p"), command("true", "{backend}")), false},
		{"another interval", member("s", "b1", a, "p"), edit(member("t", "b2", a, "p"), func(s *core.ProbeSpec) { s.Interval++ }), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newCatalogue()
			if got := c.question(tt.x) == c.question(tt.y); got != tt.want {
				t.Errorf("asked once: %t, want %t", got, tt.want)
			}
		})
	}
}

// TestRunnerAsksOnce: two services, one address. Each has samples of its own, with its
// own names and its own Seq, from one run.
func TestRunnerAsksOnce(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		b := newBench(nil)
		const addr = "192.0.2.1:80"
		x, y := member("web", "x", addr, "alive"), member("api", "y", addr, "up")
		y.Spec.Role, y.Spec.Rise = core.MetricRole, 5
		b.SetTargets([]Target{x, y})
		b.start()
		time.Sleep(10*time.Second + 600*time.Millisecond)
		synctest.Wait()
		if s := b.Stats()[0]; s.Targets != 1 || s.Shared != 1 || s.Runs != uint64(b.stubs[0].runs.Load()) {
			t.Errorf("stats %+v, want 1 target, 1 shared", s)
		}
		b.stop()
		if len(b.stubs) != 1 {
			t.Fatalf("%d probers for one question", len(b.stubs))
		}
		xs, ys := b.of("x"), b.of("y")
		if len(xs) < 10 || len(xs) != len(ys) || int(b.stubs[0].runs.Load()) != len(xs) {
			t.Fatalf("%d and %d samples of %d runs", len(xs), len(ys), b.stubs[0].runs.Load())
		}
		for i := range xs {
			if xs[i].Seq != uint64(i+1) || ys[i].Seq != uint64(i+1) || !xs[i].TakenAt.Equal(ys[i].TakenAt) {
				t.Errorf("sample %d: seq %d and %d, at %s and %s", i, xs[i].Seq, ys[i].Seq, xs[i].TakenAt, ys[i].TakenAt)
			}
		}
		if s := ys[0]; s.Probe != "up" || s.Role != core.MetricRole || s.Backend.Service != "api" || s.Node != "n1" || s.Type != core.ProbeTCP {
			t.Errorf("got %+v", s)
		}
	})
}

// TestSubscribersComeAndGo: the timer and the prober stay, whoever joins or leaves, the
// first one too; and one who comes has a sample soon.
func TestSubscribersComeAndGo(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		b := newBench(nil)
		on := func(backend string) Target {
			t := member("web", backend, "192.0.2.1:80", "alive")
			t.Spec.Interval, t.Spec.Timeout = time.Minute, time.Second
			return t
		}
		b.SetTargets([]Target{on("first"), on("stays")})
		b.start()
		time.Sleep(200 * time.Second)
		synctest.Wait()
		b.SetTargets([]Target{on("stays"), on("late")})
		time.Sleep(maxFirstDelay)
		synctest.Wait()
		late := b.of("late")
		if len(late) != 1 || late[0].Seq != 1 {
			t.Fatalf("%d samples of a newcomer within %s, want 1", len(late), maxFirstDelay)
		}
		gone := len(b.of("first"))
		time.Sleep(200 * time.Second)
		b.SetTargets([]Target{on("renamed")}) // all others have left
		time.Sleep(200 * time.Second)
		synctest.Wait()
		b.SetTargets([]Target{on("renamed"), on("first")})
		time.Sleep(100 * time.Second)
		b.stop()

		if len(b.stubs) != 1 {
			t.Errorf("%d probers were made, want 1", len(b.stubs))
		}
		for _, name := range []string{"stays", "renamed"} {
			samples := b.of(name)
			for i := 2; i < len(samples); i++ {
				if gap := samples[i].TakenAt.Sub(samples[i-1].TakenAt); gap != time.Minute {
					t.Errorf("%s: sample %d came after %s, want 1m", name, i, gap)
				}
			}
		}
		if n := len(b.of("stays")); n < 7 || n > 8 {
			t.Errorf("stays: %d samples in 400 s, want one a minute", n)
		}
		// It has a sample of its own at once, and one of the common run in 100 s at least.
		first := b.of("first")
		if n := len(first); n < gone+2 || n > gone+3 {
			t.Errorf("first: %d samples before it left, %d in all", gone, n)
		}
		for i, s := range first {
			if s.Seq != uint64(i+1) {
				t.Errorf("first: sample %d has seq %d: it must go on", i, s.Seq)
			}
		}
	})
}

// With another Rise or Fall a target keeps its timer; while any that shares it is in
// transition, it is asked fast.
func TestSharedGoesFastForAny(t *testing.T) {
	bubbletest.Run(t, func(t *testing.T) {
		b := newBench(nil)
		b.verdict = func(run int) bool { return run < 10 }
		of := func(backend string, fall int) Target {
			t := member("web", backend, "192.0.2.1:80", "alive")
			t.Spec.Interval, t.Spec.FastInterval, t.Spec.DownInterval = 10*time.Second, time.Second, time.Minute
			t.Spec.Timeout, t.Spec.Rise, t.Spec.Fall = time.Second, 1, fall
			return t
		}
		b.SetTargets([]Target{of("x", 2), of("y", 5)})
		b.start()
		time.Sleep(10 * time.Second)
		b.SetTargets([]Target{of("x", 3), of("y", 5)})
		time.Sleep(290 * time.Second)
		b.stop()
		if len(b.stubs) != 1 {
			t.Errorf("%d probers were made, want 1", len(b.stubs))
		}
		var gaps []time.Duration
		got := b.of("x")
		for i := 9; i < 15; i++ { // run 10 is the first bad one
			gaps = append(gaps, got[i].TakenAt.Sub(got[i-1].TakenAt)/time.Second)
		}
		if want := []time.Duration{10, 1, 1, 1, 1, 60}; !slices.Equal(gaps, want) {
			t.Errorf("gaps of %d s, want %d: fast until the fifth bad one, for y", gaps, want)
		}
	})
}
