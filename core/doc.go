// SPDX-License-Identifier: Apache-2.0

// Package core holds the words and the decisions of steelyard: what a Backend
// is, what a Sample says, when a backend counts as up, what a policy's answer
// is worth after shaping, and which Plan the kernel should carry.
//
// # The life of a sample
//
//  1. probes.Runner.Run        asks a backend and makes a Sample
//  2. bus.Bus.PublishSample    carries it, at most once
//  3. core.Health.Add          decides up or down: a gate, never a weight
//  4. plugins.Host.Schedule    runs the policy on the service's Snapshot
//  5. core.Shape               applies the rules every policy gets for free
//  6. core.Quantize            turns shares into the slots of a ServicePlan
//  7. nft.Applier.Reweight     commits the difference and reads it back
//
// Steps 3 to 7 write one Decision, which show, explain, the bus and the
// dashboard all read.
//
// # What this package does not do
//
// It starts no goroutine, opens no file and reads no clock. Everything here is
// a value or a function of values, so every decision can be replayed from a
// recorded list of samples.
package core
