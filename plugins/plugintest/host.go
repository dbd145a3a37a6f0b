// SPDX-License-Identifier: Apache-2.0

package plugintest

import (
	"context"
	"log/slog"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/plugins"
	"github.com/steelyard-lb/steelyard/plugins/builtin"
	"github.com/steelyard-lb/steelyard/plugins/plugintest/suite"
)

// Main is the TestMain of a package that uses NewHost: the host starts the test
// binary again as its worker.
func Main(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "worker" {
		os.Exit(plugins.WorkerMain())
	}
	code := m.Run()
	if plainDir != "" {
		_ = os.RemoveAll(plainDir) // ours alone
	}
	os.Exit(code)
}

// A Host is a running host that knows what it was given.
type Host struct {
	*plugins.Host
	specs []core.PolicySpec
}

// NewHost runs a host with the shipped policies and those of specs, and ends it
// with the test.
func NewHost(t testing.TB, specs ...core.PolicySpec) *Host {
	t.Helper()
	h := plugins.NewHost(plugins.Config{Command: Worker(t), Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = h.Run(ctx) }) // it has no error to tell
	t.Cleanup(func() { cancel(); wg.Wait() })
	if err := h.Load(t.Context(), specs); err != nil {
		t.Fatal(err)
	}
	return &Host{h, specs}
}

// subject is the module of a policy that h has loaded.
func (h *Host) subject(t testing.TB, policy string) suite.Subject {
	t.Helper()
	s := suite.Subject{Name: policy, Code: builtin.Wasm, Command: Worker(t)}
	i := slices.IndexFunc(h.specs, func(p core.PolicySpec) bool { return p.Name == policy })
	if i < 0 {
		return s
	}
	if s.Code = []byte(h.specs[i].Lua); len(s.Code) > 0 {
		return s
	}
	code, err := os.ReadFile(h.specs[i].Path)
	if err != nil {
		t.Fatal(err)
	}
	s.Code = code
	return s
}
