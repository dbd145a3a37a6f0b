// SPDX-License-Identifier: Apache-2.0

// Package definitions keeps what the nodes of a group have in common, in the
// JetStream of an external NATS: a document and the files that it names, as numbered
// revisions with who pushed them, when, from where and why.
//
// # What it promises
//
//   - A revision is all there before it is the newest, or it never is.
//   - Of several who push on top of the same revision one comes through; the others
//     are told whose is the newest.
//   - What is handed out is what was pushed, by its SHA-256, whoever else may write
//     to the store.
//   - A call ends: an answer is waited for 5 s, and the whole of a file 30 s. Only
//     Watch goes on until it is told to end.
//
// # What it does not do
//
// It knows nothing of what stands in a document. Nothing of it is needed to start a
// node or to serve: who follows a Store keeps what it got.
package definitions
