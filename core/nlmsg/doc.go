// SPDX-License-Identifier: Apache-2.0

// Package nlmsg takes netlink messages and attributes apart, and puts simple ones
// together: the format of RFC 3549, section 2, that nf_tables, conntrack and
// routing share. It copies nothing: what it returns points into the bytes it was
// given. It opens no socket; who talks to the kernel has one that fits his needs.
//
// Whatever the bytes are, nothing here reads past their end or goes on forever.
package nlmsg
