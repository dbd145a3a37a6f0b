// SPDX-License-Identifier: Apache-2.0

// Package soak holds the data plane's long traffic tests and nothing else: no
// connection may be missed while the weights change, nor while services do. `make
// soak` runs them long, `go test` short.
//
//	client ── frames, each a connection of its own ──▶ balancer ──▶ b1 … b4
//	          AF_PACKET, sendmmsg                      the applier's   counted and
//	                                                   table           dropped
//
// # What it promises
//
// Every frame is accounted for. What the client sent, what reached the ruleset,
// what the ruleset refused, what it gave to which backend and what came there are
// counted in different places, and each difference must have a reason that the
// kernel counted, too: a full queue of a link, or an entry that conntrack would
// not take. A frame that found no backend is a failure, however many there were;
// the one exception is told at TestSoakReloads.
//
// # What it does not do
//
// They measure no speed, but print the rate that they had. The daemon's long tests,
// with kills and foreign flushes, are in cmd/steelyard.
package soak
