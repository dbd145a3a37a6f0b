// SPDX-License-Identifier: Apache-2.0

// Package plugins runs scheduling policies for the daemon: it loads modules and
// scripts, hands them snapshots, checks their answers and keeps their state.
//
// # What it promises
//
// Guest code never runs in this process. Each module of a user has a worker
// process of its own (see package worker), and the shipped policies have one for
// all. Whatever a module does, loop, trap, eat memory, answer nonsense, Schedule
// returns one Result per call, in order; the Result of the offender says what was
// wrong, and nobody else waits for it. There are at most 32 modules of users.
//
// A worker may have 96 MiB resident, and a call 50 ms of CPU time (Config). A
// policy that cost a worker its life is quarantined: not called for 1 s, then
// 2 s, and so on up to 5 min, until it behaves again. A trap or a bad answer
// costs only its own call. Every fault is counted (Views).
//
// State is kept here, by policy, service and backend, and changes only when a
// call succeeded and its answer was valid. It is lost neither with a worker nor
// with a version of the policy, unless the next version says that its slots mean
// something else.
//
// # Another version of a policy
//
// Refresh, and Replace where a file changed, start the next version in a worker
// of its own beside the one in force, check it, and run it on the latest real
// snapshots of up to 32 services: a fault, or an answer that leaves every live
// backend empty, refuses it. Then one pointer moves. Calls under way end with the
// version that they began with; no call is lost. The version before stands by for
// 10 minutes and comes back if 3 calls of the new one in a row fail, or if one
// kills the worker.
//
// # What it does not do
//
// It does not choose weights when a policy fails: the caller keeps the last
// good ones. It does not watch the files of modules: call Refresh.
package plugins
