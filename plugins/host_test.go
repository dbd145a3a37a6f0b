// SPDX-License-Identifier: Apache-2.0

package plugins_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/plugins"
)

// TestAnswers asks one host for good and for bad answers.
func TestAnswers(t *testing.T) {
	h := newHost(t, "count", "trap")
	t.Run("shipped policies", func(t *testing.T) { shippedPolicies(t, h) })
	t.Run("a trap keeps no state", func(t *testing.T) { trapKeepsNoState(t, h) })
	t.Run("schedule refuses", func(t *testing.T) { scheduleRefuses(t, h) })
}

func shippedPolicies(t *testing.T, h *plugins.Host) {
	var names []string
	for _, v := range h.Views() {
		if h.Shipped(v.Name) {
			names = append(names, v.Name)
		}
		if !strings.HasPrefix(v.Version, v.Name+"@") || len(v.Version) != len(v.Name)+13 {
			t.Errorf("version of %s is %q, want name@12 hex digits", v.Name, v.Version)
		}
	}
	want := []string{"failover", "least-conn", "least-cpu", "least-response", "maglev", "rr", "weighted"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("policies (-want +got):\n%s", diff)
	}
	r := h.Schedule(t.Context(), []core.Call{call("weighted", "web", 4), call("rr", "web", 4)})
	for i, want := range [][]float64{{1, 2, 3, 4}, {1, 1, 1, 1}} {
		if r[i].Err != nil {
			t.Fatal(r[i].Err)
		}
		if diff := cmp.Diff(shares(want), shares(r[i].Weights)); diff != "" {
			t.Errorf("shares (-want +got):\n%s", diff)
		}
	}
}

func shares(w []float64) []string {
	sum := 0.0
	for _, v := range w {
		sum += v
	}
	out := make([]string, len(w))
	for i, v := range w {
		out[i] = fmt.Sprintf("%.6f", v/sum)
	}
	return out
}

// TestHostileGuests puts a bad policy between two good ones: the others answer,
// the offender's result names the cause, the fault is counted.
func TestHostileGuests(t *testing.T) {
	tests := []struct {
		guest, cause string // a regular expression
		quarantined  string // yes, no, or either: where the machine's speed decides
	}{
		{"loop", "endless loop", "yes"},
		{"trap", "unreachable", "no"},
		{"bomb", "memory|CPU time", "either"},
		{"short", "no weight for backend b3", "no"},
		{"zero", "every weight is 0", "no"},
		{"nan", "not a number", "no"},
		{"recurse", "stack overflow|CPU time", "either"},
	}
	guests := []string{"count"}
	for _, tt := range tests {
		guests = append(guests, tt.guest)
	}
	h := newHost(t, guests...)
	for _, tt := range tests {
		t.Run(tt.guest, func(t *testing.T) {
			before := view(t, h, "count").Calls
			calls := []core.Call{call("count", "a", 3), call("rr", "b", 3), call(tt.guest, "c", 3),
				call("count", "d", 3), call(tt.guest, "e", 3), call("weighted", "f", 3)}
			for round := range 2 {
				r := h.Schedule(t.Context(), calls)
				for i, c := range calls {
					bad := c.Policy == tt.guest
					if (r[i].Err != nil) != bad || (len(r[i].Weights) != 3) != bad {
						t.Errorf("round %d: %s on %s: weights %v, error %v", round, c.Policy, c.Snapshot.Service, r[i].Weights, r[i].Err)
					}
					if bad && !regexp.MustCompile(tt.cause).MatchString(r[i].Err.Error()) {
						t.Errorf("round %d: error %q does not name the cause %q", round, r[i].Err, tt.cause)
					}
				}
			}
			v := view(t, h, tt.guest)
			if v.Faults < 2 || !regexp.MustCompile(tt.cause).MatchString(v.LastFault) {
				t.Errorf("view %+v: want 2 faults or more and the last one for %q", v, tt.cause)
			}
			if got := v.QuarantineSecond > 0; tt.quarantined != "either" && got != (tt.quarantined == "yes") {
				t.Errorf("quarantined %t (%v s), want %s", got, v.QuarantineSecond, tt.quarantined)
			}
			if v := view(t, h, "count"); v.Faults != 0 || v.Calls != before+4 {
				t.Errorf("the neighbour: %+v, want 4 calls and no fault", v)
			}
		})
	}
}

// TestLoopDoesNotDelayShipped calls a shipped policy again and again while a
// user's policy loops.
func TestLoopDoesNotDelayShipped(t *testing.T) {
	h := newHost(t, "loop")
	var wg sync.WaitGroup
	done := make(chan struct{})
	wg.Go(func() {
		defer close(done)
		if r := h.Schedule(t.Context(), []core.Call{call("loop", "bad", 3)}); r[0].Err == nil {
			t.Error("a loop gave an answer")
		}
	})
	served := 0
	for looping := true; looping; served++ {
		if r := h.Schedule(t.Context(), []core.Call{call("rr", "good", 3)}); r[0].Err != nil {
			t.Fatal(r[0].Err)
		}
		select {
		case <-done:
			looping = false
		default:
		}
	}
	wg.Wait()
	if served < 50 {
		t.Errorf("%d calls of rr while the other policy looped for 50 ms: it waited", served)
	}
}

// TestQuarantineForThoseWhoWait: of many calls at once of a policy that loops, one
// costs a worker its life; those that waited behind it are told of the quarantine.
func TestQuarantineForThoseWhoWait(t *testing.T) {
	h := newHost(t, "loop")
	const callers = 6
	var wg sync.WaitGroup
	var told atomic.Int32
	for i := range callers {
		wg.Go(func() {
			r := h.Schedule(t.Context(), []core.Call{call("loop", fmt.Sprint("web", i), 2)})[0]
			if r.Err == nil {
				t.Error("a loop gave an answer")
			} else if strings.Contains(r.Err.Error(), "quarantined") {
				told.Add(1)
			}
		})
	}
	wg.Wait()
	if v := view(t, h, "loop"); v.Restarts != 1 || v.QuarantineSecond > 1 || told.Load() != callers-1 {
		t.Errorf("%d workers lost, quarantine %.1f s, %d calls told of it: want 1, at most 1 and %d",
			v.Restarts, v.QuarantineSecond, told.Load(), callers-1)
	}
}

// TestStateFollowsTheBackend checks that state is kept per backend id, starts
// at zero and is given back after the worker's death.
func TestStateFollowsTheBackend(t *testing.T) {
	h := newHost(t, "count", "loop")
	ask := func(names ...string) []string {
		s := snapshot("web", 0)
		for _, n := range names {
			s.Backends = append(s.Backends, core.BackendInput{ID: core.BackendID{Service: "web", Backend: n}.Hash(), Name: n, Health: core.Up, Weight: 1})
		}
		s.Params = map[string]float64{"step": 2}
		r := h.Schedule(t.Context(), []core.Call{{Policy: "count", Snapshot: s}, call("loop", "bad", 2)})
		if r[0].Err != nil {
			t.Fatal(r[0].Err)
		}
		var got []string
		for i, n := range names {
			got = append(got, fmt.Sprint(n, r[0].Weights[i]/1e6))
		}
		return got
	}
	for i, want := range []string{"[a1 b1]", "[b3 a3]", "[c1 a5]", "[b1 c3 a7]"} {
		names := [][]string{{"a", "b"}, {"b", "a"}, {"c", "a"}, {"b", "c", "a"}}[i]
		if got := fmt.Sprint(ask(names...)); got != want {
			t.Errorf("call %d: %s, want %s", i, got, want)
		}
	}
}

// trapKeepsNoState: a policy that wrote its state and then trapped has
// written nothing.
func trapKeepsNoState(t *testing.T, h *plugins.Host) {
	for range 3 {
		r := h.Schedule(t.Context(), []core.Call{call("trap", "web", 2)})
		if r[0].Err == nil || r[0].Weights != nil {
			t.Fatalf("got %+v, want an error and no weights", r[0])
		}
	}
	if v := view(t, h, "trap"); v.Faults != 3 || v.QuarantineSecond != 0 {
		t.Errorf("%+v: want 3 faults and no quarantine", v)
	}
}

func TestGoFaults(t *testing.T) {
	file := filepath.Join(t.TempDir(), "gofaults.wasm")
	buildGo(t, "testdata/gofaults", file)
	tests := map[string]string{
		"nan":        "weight of backend 0 is NaN",
		"negative":   "weight of backend 0 is -1",
		"panics":     "index out of range",
		"refuses":    "not today",
		"floods":     "said too much",
		"undeclared": "parameter nope is not declared",
	}
	var specs []core.PolicySpec
	for name := range tests {
		specs = append(specs, core.PolicySpec{Name: name, Path: file})
	}
	h := newHost(t)
	if err := h.Load(t.Context(), specs); err != nil {
		t.Fatal(err)
	}
	for name, cause := range tests {
		r := h.Schedule(t.Context(), []core.Call{call(name, "web", 2), call("rr", "web", 2)})
		if r[0].Err == nil || !strings.Contains(r[0].Err.Error(), cause) {
			t.Errorf("%s: error %v, want %q", name, r[0].Err, cause)
		}
		if r[1].Err != nil {
			t.Errorf("beside %s: %v", name, r[1].Err)
		}
	}
}

func scheduleRefuses(t *testing.T, h *plugins.Host) {
	unknown, wrong, out := call("nope", "a", 1), call("count", "b", 1), call("count", "c", 1)
	wrong.Snapshot.Params = map[string]float64{"stepp": 1}
	out.Snapshot.Params = map[string]float64{"step": 10}
	r := h.Schedule(t.Context(), []core.Call{unknown, wrong, out, call("count", "d", 1)})
	for i, want := range []string{"no such policy", "no parameter stepp: it has step", "want 0 to 9"} {
		if r[i].Err == nil || !strings.Contains(r[i].Err.Error(), want) {
			t.Errorf("call %d: %v, want %q", i, r[i].Err, want)
		}
	}
	if r[3].Err != nil {
		t.Error(r[3].Err)
	}
	if err := h.CheckParams("count", wrong.Snapshot.Params); err == nil {
		t.Error("CheckParams took an unknown parameter")
	}
}

// TestWorkerKilled kills the workers from outside between calls: nobody is
// blamed and the next call succeeds.
func TestWorkerKilled(t *testing.T) {
	h := newHost(t, "count")
	for _, pid := range plugins.WorkerPIDs(h) {
		p, err := os.FindProcess(pid)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []core.Call{call("count", "a", 2), call("rr", "b", 2)} {
		if r := h.Schedule(t.Context(), []core.Call{c})[0]; r.Err != nil {
			t.Errorf("%s after its worker was killed: %v", c.Policy, r.Err)
		}
	}
	for _, v := range h.Views() {
		if v.Faults != 0 {
			t.Errorf("%s is blamed: %+v", v.Name, v)
		}
	}
}

// Only policies that go by open or closed connections have them followed, and
// those that do not say, or that nobody knows.
func TestFollowsConnections(t *testing.T) {
	h := newHost(t, "count")
	for name, want := range map[string]bool{
		"rr": false, "weighted": false, "least-response": false, "least-conn": true, "least-cpu": true, "maglev": false, "failover": false,
		"count": true, "none": true,
	} {
		if got := h.FollowsConnections(name); got != want {
			t.Errorf("%s: %t, want %t", name, got, want)
		}
	}
}

// What a policy reads is told in the words of core: nothing is not the same as
// nobody knows.
func TestReads(t *testing.T) {
	h := newHost(t, "count")
	for name, want := range map[string][]string{
		"rr": {}, "least-response": {core.MetricResponse}, "least-conn": {core.MetricConnections}, "count": nil, "none": nil,
	} {
		if got := h.Reads(name); !slices.Equal(got, want) || (got == nil) != (want == nil) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
