// SPDX-License-Identifier: Apache-2.0

package plugins_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/plugins"
	"github.com/steelyard-lb/steelyard/plugins/worker"
)

// The memory that a hostile worker may have had at its end: the limit, and what
// it can take between two looks of the parent, which the data limit of the
// process bounds.
const hostileMemory = worker.DefaultMemory + 80<<20

// A hostile is one policy of the corpus in testdata.
type hostile struct {
	file  string
	cause string // a regular expression
	// slow says that only the host's limits end it, so that the innocents must
	// have had answers meanwhile.
	slow bool
}

// refused are those that no Load takes.
var refusedOnes = []hostile{
	{"memless.wasm", "imports a memory.*exports no memory", false},
	{"escape.wasm", "imports env.open, which steelyard does not offer", false},
	{"hostile/silent.wasm", "exports no function sy_abi_v1.*sy_alloc.*sy_schedule", false},
	{"hostile/signatures.wasm", "exports sy_abi_v1 as :I, want :i.*sy_alloc as F:, want i:i.*sy_schedule", false},
	{"hostile/newer.wasm", `needs ABI v1\.99`, false},
	{"hostile/manifest-garbage.wasm", "manifest", false},
	{"hostile/manifest-huge.wasm", "at most 65536", false},
	{"hostile/manifest-outside.wasm", "outside the module's memory", false},
	{"hostile/manifest-endless.wasm", "endless loop", true},
	{"hostile/initloop.wasm", "endless loop", true},
	{"hostile/startloop.wasm", "endless loop", true},
	{"hostile/compilebomb.wasm", "CPU time|memory", true},
	{"hostile/toploop.lua", "endless loop|instructions|CPU", true},
	{"hostile/manifest.lua", "params", false},
	{"hostile/escape.lua", "there is no (_G|os|io|debug)", false},
}

// faulty are those whose calls fail.
var faultyOnes = []hostile{
	{"trap.wasm", "unreachable", false},
	{"short.wasm", "no weight for backend b3", false},
	{"zero.wasm", "every weight is 0", false},
	{"nan.wasm", "not a number", false},
	{"loop.wasm", "endless loop", true},
	{"bomb.wasm", "memory|CPU time", false},
	{"recurse.wasm", "stack overflow|CPU time|memory", false},
	{"hostile/divides.wasm", "divide by zero", false},
	{"hostile/outside.wasm", "out of bounds", false},
	{"hostile/garbage.wasm", "weight 3735928559 of backend b1 is over", false},
	{"hostile/negative.wasm", "negative|-1|not a number", false},
	{"hostile/flood.wasm", "said too much", false},
	{"hostile/misplaced.wasm", "outside the memory", false},
	{"hostile/tablegrowth.wasm", "memory|CPU time|no weight|out of memory", false},
	{"hostile/loop.lua", "endless loop|instructions|CPU", true},
	{"hostile/backtrack.lua", "endless loop|CPU|steps|pattern", false},
	{"hostile/rep.lua", "memory|too large|too long|bytes|CPU|size", false},
	{"hostile/concat.lua", "memory|CPU|too long|bytes", false},
	{"hostile/tables.lua", "memory|CPU|instructions", true},
	{"hostile/recurse.lua", "stack|deep|CPU|memory", false},
	{"hostile/nan.lua", "(?i)nan|not a number", false},
	{"hostile/short.lua", "(?i)b3|3 backends|2 weights|entries|no weight|weight", false},
	{"hostile/flood.lua", "said too much", false},
}

// innocents are services of a shipped policy and of a user's, which somebody
// else's policy must not disturb. They are asked every millisecond.
type innocents struct {
	rounds atomic.Int64 // answers of both
	stop   atomic.Bool
	wg     sync.WaitGroup
}

func (in *innocents) run(t *testing.T, h *plugins.Host) {
	ctx := context.WithoutCancel(t.Context()) // it ends before the cleanup that stops them
	for _, policy := range []string{"rr", "innocent"} {
		c := call(policy, "of-"+policy, 4)
		if policy == "innocent" {
			c.Snapshot.Params = map[string]float64{"step": 0}
		}
		in.wg.Go(func() {
			schedule := time.NewTicker(time.Millisecond)
			defer schedule.Stop()
			for ; !in.stop.Load(); <-schedule.C {
				if r := h.Schedule(ctx, []core.Call{c})[0]; r.Err != nil || len(r.Weights) != 4 {
					t.Errorf("%s: %+v", policy, r)
					return
				}
				in.rounds.Add(1)
			}
		})
	}
	t.Cleanup(func() { in.stop.Store(true); in.wg.Wait() })
}

// TestHostileCorpus runs every hostile policy beside innocent ones. Each costs
// only itself: the innocents get every answer, and get them while a hostile call
// is still under way; its worker never has much more memory than the limit; its
// result names the cause and has no weights; the fault is counted and explained.
func TestHostileCorpus(t *testing.T) {
	innocent := core.PolicySpec{Name: "innocent", Path: "testdata/count.wasm"}
	h := ownHost(t, plugins.Config{LoadCPU: loadCPU})
	if err := h.Load(t.Context(), []core.PolicySpec{innocent}); err != nil {
		t.Fatal(err)
	}
	in := &innocents{}
	in.run(t, h)
	for _, c := range refusedOnes {
		if raceEnabled && c.slow {
			continue // the race detector makes the limit a long one: make test runs all without it, too
		}
		t.Run(c.file, func(t *testing.T) {
			before := in.rounds.Load()
			err := h.Load(t.Context(), []core.PolicySpec{innocent, c.spec()})
			c.judge(t, err, in.rounds.Load()-before)
			var death *worker.Death
			if errors.As(err, &death) {
				c.weigh(t, death.Peak)
			}
		})
	}
	for _, c := range faultyOnes {
		t.Run(c.file, func(t *testing.T) {
			for _, specs := range [][]core.PolicySpec{{innocent}, {innocent, c.spec()}} { // so that its counters are new
				if err := h.Load(t.Context(), specs); err != nil {
					t.Fatal(err)
				}
			}
			before := in.rounds.Load()
			r := h.Schedule(t.Context(), []core.Call{call("hostile", "victim", 3)})[0]
			c.judge(t, r.Err, in.rounds.Load()-before)
			if r.Weights != nil {
				t.Errorf("weights %v beside the error", r.Weights)
			}
			if v := view(t, h, "hostile"); v.Faults != 1 || !regexp.MustCompile(c.cause).MatchString(v.LastFault) || v.LastFaultAt.IsZero() {
				t.Errorf("view %+v: want one fault, for %q", v, c.cause)
			}
			c.weigh(t, plugins.WorkerPeak(h, "hostile"))
		})
	}
	if v := view(t, h, "innocent"); v.Faults != 0 || v.Restarts != 0 {
		t.Errorf("the innocent policy: %+v", v)
	}
}

func (c hostile) spec() core.PolicySpec {
	return core.PolicySpec{Name: "hostile", Path: filepath.Join("testdata", c.file)}
}

func (c hostile) judge(t *testing.T, err error, rounds int64) {
	t.Helper()
	t.Logf("%v; %d answers of others meanwhile", err, rounds)
	if err == nil || !regexp.MustCompile(c.cause).MatchString(err.Error()) {
		t.Errorf("error %v does not name the cause %q", err, c.cause)
	}
	if c.slow && rounds < 2 {
		t.Errorf("%d answers of others while it ran: they waited", rounds)
	}
}

func (c hostile) weigh(t *testing.T, peak int64) {
	t.Helper()
	t.Logf("at most %d MiB resident", peak>>20)
	if peak > hostileMemory {
		t.Errorf("the worker had %d MiB, more than %d and what fits between two looks", peak>>20, worker.DefaultMemory>>20)
	}
}

// TestLeak: a policy that answers well and keeps more from call to call is ended
// once it has too much.
func TestLeak(t *testing.T) {
	h := newHost(t)
	if err := h.Load(t.Context(), []core.PolicySpec{{Name: "hostile", Path: "testdata/hostile/leak.lua"}}); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(time.Minute)
	for {
		r := h.Schedule(t.Context(), []core.Call{call("hostile", "victim", 3)})[0]
		if r.Err != nil {
			if !strings.Contains(r.Err.Error(), "MiB of memory, more than") {
				t.Errorf("ended for %v, want that the parent saw its memory", r.Err)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("it is not ended")
		}
	}
	if peak := plugins.WorkerPeak(h, "hostile"); peak > hostileMemory {
		t.Errorf("the worker had %d MiB", peak>>20)
	}
}

// TestWorkerStops: a worker that reads no more, as one that is stopped, is
// replaced, and the call that waited for it gets its answer from the next. Only
// its own policy waits.
func TestWorkerStops(t *testing.T) {
	h := newHost(t, "count")
	if r := h.Schedule(t.Context(), []core.Call{call("count", "web", 2)})[0]; r.Err != nil {
		t.Fatal(r.Err)
	}
	pid := plugins.WorkerOf(h, "count")
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	done := make(chan core.Result, 1)
	go func() { done <- h.Schedule(t.Context(), []core.Call{call("count", "web", 2)})[0] }()
	served := 0
	for waiting := true; waiting; served++ {
		select {
		case r := <-done:
			waiting = false
			if r.Err != nil {
				t.Errorf("the call that waited for a stopped worker: %v", r.Err)
			}
		default:
			if r := h.Schedule(t.Context(), []core.Call{call("rr", "other", 2)})[0]; r.Err != nil {
				t.Fatal(r.Err)
			}
		}
	}
	if served < 10 {
		t.Errorf("%d answers of others while the worker stood", served)
	}
	if plugins.WorkerOf(h, "count") == pid {
		t.Error("the stopped worker is still in use")
	}
	if _, err := os.Stat("/proc/" + strconv.Itoa(pid)); err == nil {
		t.Error("the stopped worker is still there")
	}
}

// TestNoWorker: where workers do not start any more, every call is told why, also
// those for which none is tried.
func TestNoWorker(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "broken")
	h := ownHost(t, plugins.Config{Command: []string{"/bin/sh", "-c",
		`[ -e "$0" ] && { echo out of order >&2; exit 3; }; exec /proc/$PPID/exe worker`, broken}})
	if err := h.Load(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(broken, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	plugins.WorkerPeak(h, "rr") // ends it
	for i := range 5 {
		r := h.Schedule(t.Context(), []core.Call{call("rr", "web", 2)})[0]
		if r.Err == nil || !strings.Contains(r.Err.Error(), "out of order") {
			t.Errorf("call %d: %v, want what the worker said at its end", i, r.Err)
		}
	}
}

// TestKilledInACall: a worker that somebody kills while it runs a call is
// replaced, and the call that it took with it is told.
func TestKilledInACall(t *testing.T) {
	h := newHost(t, "loop")
	done := make(chan core.Result, 1)
	go func() { done <- h.Schedule(t.Context(), []core.Call{call("loop", "web", 2)})[0] }()
	_ = syscall.Kill(plugins.WorkerOf(h, "loop"), syscall.SIGKILL) // the call may not have begun, or be over
	if r := <-done; r.Err == nil {
		t.Error("a loop gave an answer")
	}
	if r := h.Schedule(t.Context(), []core.Call{call("rr", "web", 2)})[0]; r.Err != nil {
		t.Error(r.Err)
	}
}
