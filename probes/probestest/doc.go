// SPDX-License-Identifier: Apache-2.0

// Package probestest holds real things to probe: HTTP and TCP servers that
// misbehave on demand, an SNMP agent in this process, a fleet of them behind one
// socket, and Debian's snmpd with counters that a test moves.
//
// It does not import testing, because `steelyard demo` runs Agent as each
// backend's own agent. Everything here listens where it is told to and nowhere
// else; what is started is stopped by its owner.
package probestest
