// SPDX-License-Identifier: Apache-2.0

// Package conntrack counts the connections of each backend by following the
// kernel's connection tracking table.
//
// A Reader listens to the kernel's events and keeps one small record per open
// connection. From that it answers, per backend: how many are open now, how
// many were opened, how many closed.
//
// # What counts
//
//   - A connection belongs to a backend if its original destination is the VIP
//     and its answers come from the backend: a Flow.
//   - A TCP connection is open until its state is TIME_WAIT or CLOSE for the
//     first time, whichever way it got there; a UDP flow until the kernel drops
//     its entry, 30 or 120 s after its last packet.
//   - Opened and Closed only grow while a backend is watched.
//
// # What it promises
//
//   - Without a lost event the counts are exact.
//   - Events are lost when they come faster than they are read and the socket's
//     buffer is full; the kernel says so. The Reader then reads the whole table
//     once, and Open is right again. A connection that was opened and closed
//     inside the gap is missing from Opened and Closed.
//   - The table is also read at the start, when the watched flows change, and
//     every Config.Resync: entries that the kernel made while nobody listened
//     end without an event.
//   - Memory is about 40 bytes per open watched connection.
//
// # What it does not do
//
// It changes nothing in the kernel but for what SetIdle says. It looks into the network namespace of the
// thread that called New, and no other.
package conntrack
