// SPDX-License-Identifier: Apache-2.0

package plugins_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/plugins"
)

// shared is the host of all tests. Compiling the shipped policies takes half a
// second, and ten times that under the race detector: once is enough.
var shared *plugins.Host

// TestMain is the worker when the host under test starts this binary again.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "worker" {
		os.Exit(plugins.WorkerMain())
	}
	shared = plugins.NewHost(plugins.Config{Event: events.add})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = shared.Run(ctx) }) // it has no error to tell
	code := m.Run()
	cancel()
	wg.Wait()
	os.Exit(code)
}

// ownHost runs a host that is not shared.
func ownHost(t testing.TB, c plugins.Config) *plugins.Host {
	t.Helper()
	h := plugins.NewHost(c)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = h.Run(ctx) }) // it has no error to tell
	t.Cleanup(func() { cancel(); wg.Wait() })
	return h
}

// events are what the shared host told.
var events told

type told struct {
	mu   sync.Mutex
	list []core.Event // guarded by mu
}

func (e *told) add(ev core.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, ev)
}

// eventTold reports whether an event says this.
func eventTold(text string) bool {
	events.mu.Lock()
	defer events.mu.Unlock()
	return slices.ContainsFunc(events.list, func(e core.Event) bool {
		return e.Topic == "policy" && strings.Contains(e.Message, text)
	})
}

// newHost gives the shared host the guests of testdata that are named, new as
// on the first day, and no others.
func newHost(t testing.TB, guests ...string) *plugins.Host {
	t.Helper()
	var specs []core.PolicySpec
	for _, g := range guests {
		specs = append(specs, core.PolicySpec{Name: g, Path: filepath.Join("testdata", g+".wasm")})
	}
	for _, s := range [][]core.PolicySpec{nil, specs} {
		if err := shared.Load(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	return shared
}

// snapshot is a service with n backends that are up, of weight 1 to n.
func snapshot(service string, n int) core.Snapshot {
	s := core.Snapshot{Service: service, ID: core.BackendID{Service: service}.Hash(), Seq: 1,
		Now: time.Unix(1_700_000_000, 0), Since: time.Second}
	for i := range n {
		name := fmt.Sprintf("b%d", i+1)
		s.Backends = append(s.Backends, core.BackendInput{
			ID: core.BackendID{Service: service, Backend: name}.Hash(), Name: name,
			Weight: uint32(i + 1), Health: core.Up, Share: 1 / float64(n),
		})
	}
	return s
}

func call(policy, service string, n int) core.Call {
	return core.Call{Policy: policy, Snapshot: snapshot(service, n)}
}

func view(t *testing.T, h *plugins.Host, name string) core.PolicyView {
	t.Helper()
	for _, v := range h.Views() {
		if v.Name == name {
			return v
		}
	}
	t.Fatalf("no policy %s in %+v", name, h.Views())
	return core.PolicyView{}
}

// buildGo builds a Go policy for WASM.
func buildGo(t testing.TB, dir, out string) {
	t.Helper()
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-ldflags=-s -w", "-o", out, ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", dir, err, b)
	}
}
