// SPDX-License-Identifier: Apache-2.0

// Package ha shows what becomes of traffic when one of two balancers goes: real
// daemons of steelyard, keepalived, conntrackd and BIRD, with the files in
// packaging/, in namespaces.
//
//	client ── router ──┬── server 1, server 2
//	                   ├── lb1 ═ sync ═ lb2
//	                   └── (one network, 198.51.100.0/24)
//
// A client opens a connection every ten milliseconds, and a hundred others are open
// and talk all the time. The tests print how long new connections found nobody, and
// how many of the open ones lived; docs/ha.md has these figures.
//
// # What it promises
//
// A test fails if the service does not come back, if connections that are said to
// survive do not, or if one is refused. It does not fail because something took long.
package ha
