// SPDX-License-Identifier: Apache-2.0

// Package plugintest is the conformance suite of policies: what every policy,
// shipped or a user's, must do with whatever snapshot it gets. Use it from a
// test:
//
//	func TestMain(m *testing.M) { plugintest.Main(m) }
//
//	func TestConformance(t *testing.T) {
//		h := plugintest.NewHost(t, core.PolicySpec{Name: "idle", Path: "idle.wasm"})
//		plugintest.Run(t, h, "idle")
//	}
//
// It says nothing about whether a policy balances well.
package plugintest
