// SPDX-License-Identifier: Apache-2.0

// Package bus carries what steelyard learns and decides over NATS: samples,
// health changes, decisions, commits and events, what monitors add, and that by
// which the nodes of a group meet. Start runs a NATS server inside the process, or
// joins a NATS that is there already.
//
// # What it promises
//
// Order: messages of one publisher on one subject arrive in the order in which
// they were sent. There is no order between subjects.
//
// Loss: at most once. A message that cannot be sent now is dropped and counted,
// never kept for later: an old sample is worse than none. SubscribeSamples
// drops repeated, reordered and late samples and counts each, and what a monitor
// sends beyond its rate.
//
// Blocking: publishing never waits for a subscriber. A subscriber that is slow
// loses messages, and Stats says how many.
//
// Independence: a node's own samples reach its own subscribers without passing
// through NATS, and before those of others. NATS being away does not blind a
// balancer, and a monitor that floods it does not delay one. A sample in this
// node's name that does come through NATS is dropped as forged.
//
// Clocks: those of nodes need not agree. The samples of another node get the times at
// which they were taken by our clock; presences are told by clocks that nobody sets.
//
// Size: the body of a sample, or of a list of them, is at most MaxSampleBytes, any
// body at most MaxBodyBytes.
//
// Subjects and bodies: docs/asyncapi.yaml, which tests hold against this package.
//
// # Who may do what
//
// The embedded server has no TCP listener unless Options.Listen is set. The
// process itself connects as a user with a random password that is made at each
// start and is bound to in-process connections. A configured user may publish
// below metric.<its name> and read what steelyard publishes, unless its lists
// say otherwise.
//
// # What it does not do
//
// No message is stored. Nothing is elected: which vector of which leader counts is for
// core/cluster to say. A message decides nothing by itself; health and policies do.
package bus
