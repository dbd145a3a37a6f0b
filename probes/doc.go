// SPDX-License-Identifier: Apache-2.0

// Package probes asks backends questions and makes a core.Sample of every
// answer, of silence too: step 1 of the life of a sample.
//
// Each kind of probe has a file named after it. The Runner runs them, each question on
// a timer of its own; Try runs one now.
//
// # What it promises
//
//   - The samples of one target come one after the other, with rising Seq. The
//     samples of different targets come in any order and from different
//     goroutines.
//   - A run ends within the Timeout of its spec. A slow backend delays nobody but
//     itself: as many runs go on at one time as files allow, and where that is not
//     enough, a quarter of the places is not for those that were slow before.
//   - Targets that ask the same address the same question are asked once, and each
//     gets a sample of its own.
//   - A target's first run comes after a random delay, the second at a random time
//     of the interval after it, the following ones Interval apart, give or take
//     Jitter; FastInterval while the samples speak against the state, DownInterval
//     while that is down. After a pause of the process there is one run per target,
//     and not all at once. Runs that are left out are counted.
//   - A sample that is not OK carries no metrics: a fast error is no fast answer.
//   - Detail is one line of at most 256 bytes and never holds a secret.
//   - A panic in a probe is a sample with code INTERNAL.
//
// # What it does not do
//
// It decides nothing: rise and fall, up and down are core.Health's; it only follows
// them to know how soon to ask again. It does not know the bus. Code INTERNAL means
// that the probe could not run here; such a sample says nothing about the backend.
package probes
