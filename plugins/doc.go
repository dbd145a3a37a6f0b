// SPDX-License-Identifier: Apache-2.0

// Package plugins runs scheduling policies for the daemon: it loads modules,
// hands them snapshots, checks their answers and keeps their state.
//
// # What it promises
//
// Guest code never runs in this process. There are two worker processes (see
// package worker): one for the shipped policies, one for the users' modules,
// which exists only if there are any. Whatever a module does, loop, trap, eat
// memory, answer nonsense, Schedule returns one Result per call, in order; the
// Result of the offender says what was wrong, and the other calls get their
// answers, from a new worker if need be.
//
// A policy that cost a worker its life is quarantined: not called for 1 s, then
// 2 s, and so on up to 5 min, until it behaves again. A trap or a bad answer
// costs only its own call. Every fault is counted (Views).
//
// State is kept here, by policy, service and backend, and changes only when a
// call succeeded and its answer was valid. Nothing is lost with a worker.
//
// # What it does not do
//
// It does not choose weights when a policy fails: the caller keeps the last
// good ones. It does not watch the files of modules: call Load again.
package plugins
