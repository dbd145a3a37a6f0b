// SPDX-License-Identifier: Apache-2.0

// Package webhook tells others over HTTP of what is on the bus: a pager, a chat, a
// ticket system. Each message of the subjects that a hook is for is one POST with a
// CloudEvent in JSON, or whatever the hook's template makes of it.
//
// # Promises
//
// Messages of a hook go out in their order, one at a time; hooks know nothing of each
// other, so that one that hangs delays no other. A message is tried until it is taken,
// is refused for good, or is older than RetryFor; between attempts the waits grow, and
// a receiver that says Retry-After is heeded. The id of a message is the same in every
// attempt, so that a receiver can drop what it has seen: at least once, in the end,
// while this process lives. The queue is bounded by messages and by bytes; of a full
// one the oldest goes, and is counted. Nothing in the balancer waits for a hook.
//
// # What it does not do
//
// It follows no redirect, keeps no queue on disk, and shows the URL nowhere but its
// host: the rest often is a password.
package webhook
