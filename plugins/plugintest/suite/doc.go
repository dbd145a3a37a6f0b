// SPDX-License-Identifier: Apache-2.0

// Package suite tries a policy out, in a worker as the daemon's: does it keep
// the contract (Conform), does it answer what its author expects (Scenarios),
// what does it cost (Measure), and what would it have done with decisions that
// a running steelyard recorded (Replay). It needs no test framework: `steelyard
// plugin` runs it; package plugintest puts it into a Go test.
//
// # What it promises
//
// A Session never ends for what a policy does: a worker that dies is replaced at
// the next call. Everything is deterministic but the times, which are measured:
// the same module gives the same results, in the same order.
//
// # What it does not do
//
// It says nothing about whether a policy balances well: that is for simulate,
// where backends answer to the weights.
package suite
