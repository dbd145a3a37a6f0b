// SPDX-License-Identifier: Apache-2.0

package plugins_test

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/plugins"
)

// A swapped is a policy whose file changes.
type swapped struct {
	*plugins.Host
	spec core.PolicySpec
}

// swapping gives the shared host the policy "mine", whose file holds a guest of
// testdata.
func swapping(t *testing.T, guest string) swapped {
	t.Helper()
	s := swapped{newHost(t), core.PolicySpec{Name: "mine", Path: filepath.Join(t.TempDir(), "mine.wasm")}}
	s.put(t, guest)
	if err := s.Load(t.Context(), []core.PolicySpec{s.spec}); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s swapped) put(t *testing.T, guest string) {
	t.Helper()
	code, err := os.ReadFile(filepath.Join("testdata", guest+".wasm"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.spec.Path, code, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (s swapped) refresh(t *testing.T, guest string) error {
	t.Helper()
	s.put(t, guest)
	_, err := s.Refresh(t.Context(), s.spec)
	return err
}

func (s swapped) ask(t *testing.T, service string) core.Result {
	t.Helper()
	return s.Schedule(t.Context(), []core.Call{call("mine", service, 2)})[0]
}

// TestSwapKeepsState: the next version goes on with the state of the one before.
func TestSwapKeepsState(t *testing.T) {
	s := swapping(t, "count")
	before := s.ask(t, "web")
	if changed, err := s.Refresh(t.Context(), s.spec); changed || err != nil {
		t.Errorf("a refresh of the same file: changed %t, %v", changed, err)
	}
	if err := s.refresh(t, "later"); err != nil {
		t.Fatal(err)
	}
	// Count answers in millionths of a thousandth, later in tenths of that and
	// 1,000 more: the second call of the service is number 1.
	if r := s.ask(t, "web"); r.Err != nil || r.Weights[0] != 1002e5 || r.Version == before.Version {
		t.Errorf("after the swap %+v, want weight 1002e5 of another version than %s", r, before.Version)
	}
	v := view(t, s.Host, "mine")
	if v.Swaps != 1 || v.Previous != before.Version || v.Calls != 2 || v.RolledBack != "" {
		t.Errorf("%+v: want 1 swap, 2 calls and the version before standing by", v)
	}
	pids := plugins.WorkerPIDs(s.Host)
	plugins.Tend(s.Host, time.Now().Add(11*time.Minute))
	if after := plugins.WorkerPIDs(s.Host); len(after) != len(pids)-1 || view(t, s.Host, "mine").Previous != "" {
		t.Errorf("workers %v, and %v once the version before has stood by for long enough", pids, after)
	}
}

// TestSwapForgetsState: state that no version could read any more is let go of; that
// of the version that stands by is there if it comes back.
func TestSwapForgetsState(t *testing.T) {
	h := newHost(t)
	script := func(version int, then string) core.PolicySpec {
		return core.PolicySpec{Name: "mine", Lua: fmt.Sprintf(`policy = { backend_state = { "seen" }, state_version = %d }
			function schedule(s)
				local w, seen = {}, s.state.seen
				for i = 1, s.n do seen[i] = seen[i] + 1; w[i] = seen[1] + i - 1 end
				%s
				return w
			end`, version, then)}
	}
	ask := func() core.Result { return h.Schedule(t.Context(), []core.Call{call("mine", "web", 2)})[0] }
	for v := range 5 {
		if err := h.Load(t.Context(), []core.PolicySpec{script(v, "")}); err != nil {
			t.Fatal(err)
		}
		if r := ask(); r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	if n := plugins.States(h, "mine"); n > 2 {
		t.Errorf("%d states of one service: want those of the version in force and of the one before", n)
	}
	if err := h.Load(t.Context(), []core.PolicySpec{script(5, "if s.seq > 1 then while true do end end")}); err != nil {
		t.Fatal(err)
	}
	c := call("mine", "web", 2)
	c.Snapshot.Seq = 2
	if r := h.Schedule(t.Context(), []core.Call{c})[0]; r.Err == nil {
		t.Fatal("a loop gave an answer")
	}
	if r := ask(); r.Err != nil || math.Round(r.Weights[0]*3/1e9) != 2 {
		t.Errorf("%+v: want the second call by the state of the version that came back, 2 to 3", r)
	}
}

// TestCanary: a version that fails on a real snapshot does not come into force,
// and the error names the service.
func TestCanary(t *testing.T) {
	for guest, cause := range map[string]string{
		"trap": "unreachable", "zero": "every weight is 0", "loop": "endless loop", "short": "no weight for backend", "down": "not up",
	} {
		t.Run(guest, func(t *testing.T) {
			s := swapping(t, "count")
			good := s.ask(t, "shop")
			if good.Err != nil {
				t.Fatal(good.Err)
			}
			if guest == "down" {
				// The test's own snapshot needs a backend that is not up.
				c := call("mine", "shop", 2)
				c.Snapshot.Backends[0].Health = core.Down
				if r := s.Schedule(t.Context(), []core.Call{c})[0]; r.Err != nil {
					t.Fatal(r.Err)
				}
			}
			err := s.refresh(t, guest)
			if err == nil || !strings.Contains(err.Error(), "service shop") || !strings.Contains(err.Error(), cause) {
				t.Errorf("error %v, want one about service shop and %q", err, cause)
			}
			if r := s.ask(t, "shop"); r.Err != nil || r.Version != good.Version {
				t.Errorf("after the canary: %+v, want an answer of %s", r, good.Version)
			}
			if v := view(t, s.Host, "mine"); v.Swaps != 0 || v.Faults != 0 || v.Previous != "" {
				t.Errorf("%+v: want no swap and no fault", v)
			}
		})
	}
}

// TestCanaryOfAReload: a reload that gives a policy other parameters brings its
// services' with it, so the canary does not ask for those before. A refresh brings
// the file alone, and is refused, for as long as there is such a service.
func TestCanaryOfAReload(t *testing.T) {
	h := newHost(t)
	script := func(param string) core.PolicySpec {
		return core.PolicySpec{Name: "mine", Lua: `policy = { params = { { name = "` + param + `", default = 1, max = 5 } } }
			function schedule(s) local w = {} for i = 1, s.n do w[i] = s.param.` + param + ` end return w end`}
	}
	ask := func(param string) {
		t.Helper()
		c := call("mine", "web", 2)
		c.Snapshot.Params = map[string]float64{param: 3}
		if r := h.Schedule(t.Context(), []core.Call{c})[0]; r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	for _, param := range []string{"speed", "pace"} {
		if err := h.Load(t.Context(), []core.PolicySpec{script(param)}); err != nil {
			t.Fatal(err)
		}
		ask(param)
	}
	if _, err := h.Refresh(t.Context(), script("rate")); err == nil || !strings.Contains(err.Error(), "no parameter pace") {
		t.Errorf("refresh without the parameter that the service gives: %v", err)
	}
	plugins.Tend(h, time.Now().Add(11*time.Minute))
	if changed, err := h.Refresh(t.Context(), script("rate")); !changed || err != nil {
		t.Errorf("refresh when the service is long gone: changed %t, %v", changed, err)
	}
}

// TestRollBack: a version that no canary could catch goes when its calls fail.
func TestRollBack(t *testing.T) {
	for guest, calls := range map[string]int{"trap": 3, "loop": 1} {
		t.Run(guest, func(t *testing.T) {
			s := swapping(t, "count")
			good := view(t, s.Host, "mine").Version
			if err := s.refresh(t, guest); err != nil {
				t.Fatal(err) // nothing was asked yet, so there is nothing to try it on
			}
			for i := range calls {
				if r := s.ask(t, "web"); r.Err == nil || r.Version == good {
					t.Fatalf("call %d: %+v, want a fault of the new version", i, r)
				}
			}
			if r := s.ask(t, "web"); r.Err != nil || r.Version != good {
				t.Fatalf("after %d faults: %+v, want an answer of %s", calls, r, good)
			}
			v := view(t, s.Host, "mine")
			if !strings.Contains(v.RolledBack, "rolled back to "+good) || v.Faults != uint64(calls) || v.LastFault == "" || v.QuarantineSecond > 0 {
				t.Errorf("%+v: want %d faults and why it was rolled back", v, calls)
			}
			if !eventTold("rolled back to " + good) {
				t.Error("no event tells of it")
			}
			// The same file is not tried again, neither by a reload nor by a refresh.
			if err := s.Load(t.Context(), []core.PolicySpec{s.spec}); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Refresh(t.Context(), s.spec); err == nil || !strings.Contains(err.Error(), "rolled back") {
				t.Errorf("refresh of the same file: %v", err)
			}
			if got := view(t, s.Host, "mine").Version; got != good {
				t.Errorf("version %s in force, want %s", got, good)
			}
			if err := s.refresh(t, "later"); err != nil {
				t.Fatal(err)
			}
			if v := view(t, s.Host, "mine"); v.RolledBack != "" || v.Version == good {
				t.Errorf("a good version after that: %+v", v)
			}
		})
	}
}

// TestThousandSwaps swaps two versions under load: every call is answered by one
// of them, and nothing grows.
func TestThousandSwaps(t *testing.T) {
	warm, swaps := 100, 1000
	if raceEnabled || testing.Short() {
		warm, swaps = 20, 60
	}
	s := swapping(t, "count")
	versions := map[string]bool{view(t, s.Host, "mine").Version: true}
	var wg sync.WaitGroup
	var stop atomic.Bool
	var answers atomic.Int64
	for g := range 4 {
		mine := call("mine", fmt.Sprint("s", g), 3)
		mine.Snapshot.Params = map[string]float64{"step": 0} // else the weights run into their limit
		wg.Go(func() {
			for !stop.Load() {
				for i, r := range s.Schedule(t.Context(), []core.Call{mine, call("rr", "other", 2)}) {
					if r.Err != nil || len(r.Weights) != 3-i {
						t.Errorf("lost: %+v", r)
						stop.Store(true)
					}
				}
				answers.Add(1)
			}
		})
	}
	var before usage
	for i := range swaps {
		if i == warm {
			before = used(t, s.Host)
		}
		if err := s.refresh(t, []string{"later", "count"}[i%2]); err != nil {
			t.Errorf("swap %d: %v", i, err)
			break
		}
		versions[view(t, s.Host, "mine").Version] = true
	}
	// What is let go of may be on its way out.
	after := used(t, s.Host)
	for end := time.Now().Add(20 * time.Second); after.over(before) && time.Now().Before(end); after = used(t, s.Host) {
		time.Sleep(50 * time.Millisecond)
	}
	stop.Store(true)
	wg.Wait()
	t.Logf("%d answers; after %d swaps %+v, after %d %+v", answers.Load(), warm, before, swaps, after)
	if v := view(t, s.Host, "mine"); v.Swaps != uint64(swaps) || v.Faults != 0 || len(versions) != 2 {
		t.Errorf("%+v, versions %v: want %d swaps and no fault", v, versions, swaps)
	}
	if after.over(before) {
		t.Errorf("grown from %+v to %+v", before, after)
	}
	if after.heap > before.heap+before.heap/5+(2<<20) {
		t.Errorf("the heap grew from %d to %d bytes", before.heap, after.heap)
	}
}

// usage is what this process holds.
type usage struct {
	heap                        uint64 // bytes that live
	files, children, goroutines int
}

// over reports whether something grew, but for the heap.
func (u usage) over(before usage) bool {
	return u.files > before.files+4 || u.children > before.children || u.goroutines > before.goroutines+4
}

func used(t *testing.T, h *plugins.Host) usage {
	t.Helper()
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what finalizers let go of
	runtime.ReadMemStats(&m)
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return usage{m.HeapAlloc, len(fds), children(t), runtime.NumGoroutine()}
}

// children counts the processes whose parent this one is.
func children(t *testing.T) int {
	t.Helper()
	tasks, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil || len(tasks) == 0 {
		t.Skip("this kernel does not list children")
	}
	n := 0
	for _, f := range tasks {
		text, err := os.ReadFile(f)
		if err == nil { // a thread may end meanwhile
			n += len(strings.Fields(string(text)))
		}
	}
	return n
}
