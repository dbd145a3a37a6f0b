// SPDX-License-Identifier: Apache-2.0

// Package lab builds a small network out of namespaces on this machine: one
// client, one balancer, and backends behind it. Tests and `steelyard demo` run
// real programs and real traffic in it.
//
//	client ── 192.0.2.0/24 ── balancer ── 198.51.100.0/24 ── b1, b2, …
//	          2001:db8:1::/64      │       2001:db8:2::/64
//	                      VIPs 203.0.113.10, 2001:db8:3::10
//
// The client reaches everything through the balancer, and the backends answer
// through it, so plain destination NAT works. The balancer forwards, holds the
// VIPs on its loopback and carries no rule: that is the user's part.
//
// # What it promises
//
//   - The namespaces are named (sy-NAME-client, sy-NAME-lb, sy-NAME-b1, …), so
//     `ip netns exec` reaches them.
//   - Nothing of it touches the network of the host.
//   - After Close no namespace, process or file of the lab is left. Close may
//     be called twice.
//   - A process started in a node dies with the lab, and with its owner even if
//     the owner is killed. The next New, of any name, removes what is left.
//   - A socket opened in a node stays in that node, whoever uses it later.
//
// # What it does not do
//
// It resolves no names, shapes no links, and loads no rules. It needs root, or
// a user namespace in which it is root; Available says which is missing.
package lab
