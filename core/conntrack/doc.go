// SPDX-License-Identifier: Apache-2.0

// Package conntrack counts the connections of each backend by the kernel's
// connection tracking table, and deletes those of backends that are down.
//
// A Reader answers, per backend: how many connections are open, how many were
// opened, how many closed, and of those that ask for it how many were left
// unanswered or refused.
//
// # Live or not
//
// While a watched backend is Live or Passive, or one that is idle or down has connections,
// the Reader follows the kernel's events. Else nobody listens, which spares the
// kernel writing them, and the whole table is read every 10 s, or a hundred times
// as long as that takes: see AsOf. Following begins within a second, with a
// reading of the table, unless that takes longer.
//
// New sets net.netfilter.nf_conntrack_events to 1 where it is 2: connections that
// begin while nobody listens could not tell of their end later. If it may not,
// the Reader follows all the time. With an operator's 0 it reads the table every
// second, or in a tenth of the time, where counts should be live.
//
// # What counts
//
//   - A connection belongs to a backend if its original destination is one of the
//     backend's frontends and its answers come from one of its addresses, or, if
//     the service is local, from its port on this node.
//   - A TCP connection is open until its state is TIME_WAIT or CLOSE for the
//     first time, whichever way it got there, an SCTP one until SHUTDOWN_ACK_SENT
//     or CLOSED; a UDP flow until the kernel drops its entry, 30 or 120 s after its
//     last packet.
//   - Opened and Closed only grow while a backend is watched.
//   - A TCP connection of a Passive backend is refused if the answer to its SYN was
//     a reset, and unanswered if there was none for 3.5 to 4 s. A row of either ends
//     with any answer, with lost events, and with a pause of the Reader itself.
//
// # What it promises
//
//   - Live, without a lost event, and below 50,000 events a second (three per TCP
//     connection), the counts are exact, 20 ms late. Above that one connection in two, four
//     or more is followed and counts for as many: of n that are followed, the
//     error is about √n. Stats.OneIn says so.
//   - Events are lost when they come faster than they are read and the socket's
//     buffer is full; the kernel says so. The Reader then reads the whole table
//     once, and Open is right again. A connection that was opened and closed
//     inside the gap is missing from Opened and Closed.
//   - The table is also read at the start, when there is something new to watch,
//     and every Config.Resync: entries that the kernel made before New end without
//     an event. All readings together take a tenth of a core at most.
//   - Memory is about 40 bytes per open connection that is followed.
//   - Only what List does waits for the kernel.
//
// # Deleting
//
// SetIdle, SetDown and Cut change the kernel's table, in the background. Every
// connection is compared here and then deleted by its own name, so that those of
// other services on the same backend, and the node's own, such as its probes,
// are safe. Before Linux 6.4 the kernel refuses while a flowtable has the
// connection.
//
// # What it does not do
//
// It looks into the network namespace of the thread that called New, and no
// other. It sees nothing of dsr and stateless services, which are not tracked.
package conntrack
