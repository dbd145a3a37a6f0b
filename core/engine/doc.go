// SPDX-License-Identifier: Apache-2.0

// Package engine owns the state of a running steelyard: one goroutine, in Run,
// takes samples, policy results, counts and commits one after another and
// decides. Nothing else writes that state, so there is no lock.
//
// # Promises
//
//   - A health transition is decided and handed to the kernel without waiting
//     for any policy: the last opinions are shaped again without the dead backend.
//   - A policy that hangs or fails keeps no other waiting here: each has a batch
//     of its own in flight. Its services keep their last good shares.
//   - A shadow policy sees the snapshots of its service's policy, in batches of its
//     own that nothing waits for. Of what it answers, or fails to, only the record of
//     a decision speaks.
//   - There is one commit in flight. What changes meanwhile is coalesced, newest
//     wins; services with a health transition go first, and a routine commit
//     is kept small, so that it is never long in the way of an urgent one.
//   - A decision is reported as applied only after its commit was read back.
//   - A command of an operator (drain, weight, ready) is decided like a health
//     transition, and is answered when the kernel has followed and a Keeper has it;
//     one that changes a weight, when the policy has seen that, too. The answer says
//     so if it is not in force.
//   - Health goes by the backend's health probes and the service's rule for them; only
//     samples of this node, and of those that it works with, have a verdict. It is kept down by the rules for flapping and
//     for passive health, which never take the last backend that would serve.
//   - While nearly all probes that were good fail at once, this node is suspected: no
//     health goes down, and what went down of the same cause is taken back.
//   - After a restart, backends that the adopted table sends clients to are up with the
//     shares that they had, and commands of operators are in force; windows of
//     maintenance come from the configuration. What was counted of flapping and of
//     ejections begins anew, and an agent's wishes are those of its next word.
//   - Of services that several nodes serve one node decides the shares, and the others
//     have the very same slots, as long as all who have some are up there. Health is every
//     node's own, so a dead backend leaves each kernel at once. Silence changes nothing.
//   - No older vector takes the place of a newer one, and nobody is turned away whom a
//     backend that is up could serve.
//   - Decisions that wait for a kernel that does not answer are bounded.
//   - When Run returns, every goroutine it started has ended. The kernel keeps
//     what was committed last.
//
// # What it does not do
//
// It knows no socket, no file and no format; it sees the world through the
// small interfaces in this package.
package engine
