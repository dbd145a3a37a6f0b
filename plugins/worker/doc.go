// SPDX-License-Identifier: Apache-2.0

// Package worker is the process that runs policies' code, and the parent's hold
// on it. The same binary runs again as "steelyard worker", joined to the daemon
// by a socketpair, and gives up what it could do harm with before it sees any
// module: root, every capability, the network, files, other processes; of the
// kernel's system calls it keeps some forty. It runs one module.
//
// # What it promises
//
// A call that uses more CPU time than its limit, more memory than the cap, or
// that crashes the runtime, ends the process and nothing else: the parent
// learns which call it was (a Death) and starts another. CPU time is the
// measure, so that a busy machine does not look like a busy policy; a generous
// wall time stands behind it. A worker at work is looked at every 5 ms; behind the
// cap for memory stands RLIMIT_DATA, for what outruns that.
//
// # What it does not do
//
// It keeps no state between calls, restarts nothing by itself and blames
// nobody twice: that is package plugins. One exchange at a time; a Process is
// not safe for concurrent use.
package worker
