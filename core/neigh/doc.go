// SPDX-License-Identifier: Apache-2.0

// Package neigh knows the next hop of every backend that frames are rewritten
// for (dsr): the MAC address behind its IP address, and the interface that the
// frame leaves by.
//
// A Table asks the kernel's routing for the interface of each watched address
// and follows the kernel's neighbour table. It resolves nothing itself: it has
// the kernel resolve, and re-verify, what nobody else may be talking to.
//
// # What it promises
//
//   - A Hop is what the kernel itself would write into a frame to that address.
//     It is there only while the route is on the link, the interface is up and
//     Ethernet, and the neighbour did not fail to answer.
//   - What the kernel learns (an answer, a gratuitous ARP, a link or a route that
//     changed) is followed as its event arrives, within milliseconds.
//   - What nobody announces is found by asking: each neighbour is probed every
//     Config.Verify by unicast. One that is silent is lost after that time and
//     the kernel's three tries of a second each; one that moved to another MAC
//     without a word is found right after.
//   - An entry that is removed (`ip neigh flush`) says nothing about its backend:
//     the Hop stays for up to three seconds while the kernel resolves it again.
//   - Entries that somebody else keeps (permanent, managed, learned by a routing
//     daemon) are used and never touched.
//   - At most 1,000 neighbours are asked per second, and routes are asked for at
//     most a tenth of the time, whatever happens on the machine.
//   - Lost events end in a new reading of everything; so does every minute.
//
// # What it does not do
//
// It sees the routes of packets without a mark, in the network namespace of the
// thread that called Open. It changes no sysctl: more than about a thousand
// neighbours need a larger net.ipv4.neigh.default.gc_thresh3, and Views says so.
package neigh
