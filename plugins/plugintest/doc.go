// SPDX-License-Identifier: Apache-2.0

// Package plugintest puts policies through the conformance suite (package suite)
// from a Go test: what every policy, shipped or a user's, must do with whatever
// snapshot it gets.
//
//	func TestMain(m *testing.M) { plugintest.Main(m) }
//
//	func TestConformance(t *testing.T) {
//		h := plugintest.NewHost(t, core.PolicySpec{Name: "idle", Path: "idle.wasm"})
//		plugintest.Run(t, h, "idle")
//	}
//
// `steelyard plugin test` does the same without Go. It says nothing about
// whether a policy balances well.
package plugintest
