// SPDX-License-Identifier: Apache-2.0

// Package probes asks backends questions and makes a core.Sample of every
// answer, of silence too: step 1 of the life of a sample.
//
// One file holds one probe: tcp, http, ping, snmp_cpu, response_time. The
// Runner runs them, each target on a timer of its own.
//
// # What it promises
//
//   - The samples of one target come one after the other, with rising Seq. The
//     samples of different targets come in any order and from different
//     goroutines.
//   - A run ends within the Timeout of its spec; a slow backend delays nobody
//     but itself, unless Runner.Concurrency probes of its type are all waiting.
//   - A target's first run comes after a random delay, the following ones
//     Interval apart, give or take Jitter. After a pause of the process there is
//     one run per target, never a burst.
//   - A sample that is not OK carries no metrics: a fast error is no fast answer.
//   - Detail is one line of at most 256 bytes and never holds a secret.
//
// # What it does not do
//
// It decides nothing: rise and fall, up and down are core.Health's. It does not
// know the bus. Code INTERNAL means that the probe could not run here; such a
// sample says nothing about the backend.
package probes
