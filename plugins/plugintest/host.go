// SPDX-License-Identifier: Apache-2.0

package plugintest

import (
	"context"
	"log/slog"
	"os"
	"sync"
	"testing"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/plugins"
)

// Main is the TestMain of a package that uses NewHost: the host starts the test
// binary again as its worker.
func Main(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "worker" {
		os.Exit(plugins.WorkerMain())
	}
	os.Exit(m.Run())
}

// NewHost runs a host with the shipped policies and those of specs, and ends it
// with the test.
func NewHost(t testing.TB, specs ...core.PolicySpec) *plugins.Host {
	t.Helper()
	h := plugins.NewHost(plugins.Config{Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = h.Run(ctx) }) // it has no error to tell
	t.Cleanup(func() { cancel(); wg.Wait() })
	if err := h.Load(t.Context(), specs); err != nil {
		t.Fatal(err)
	}
	return h
}
