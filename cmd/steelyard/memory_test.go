// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"

	"github.com/steelyard-lb/steelyard/core/config"
)

// TestDaemonKeepsNoTree: of 1,000 services the tree that `config view` prints takes
// 27 MB, and the daemon has no use for it.
func TestDaemonKeepsNoTree(t *testing.T) {
	from := source{path: "../../examples/01-web/steelyard.yaml"}
	cfg, err := from.load()
	if err != nil {
		t.Fatal(err)
	}
	if cfg.View() != nil {
		t.Error("the configuration of the daemon holds what only `config view` needs")
	}
	if cfg, err = from.loadWhole(func(o *config.Options) { o.KeepView = true }); err != nil || cfg.View() == nil {
		t.Errorf("config view has nothing to print: %v", err)
	}
}
