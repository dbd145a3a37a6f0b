// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// The sets of who may connect.
const (
	kindAllow = "allow"
	kindDeny  = "deny"
)

// filter adds who may connect: `ip saddr @deny-web goto denied-web`. The sets
// are there for each family of the frontends, with elements or without, so that
// a change of the lists is one of elements.
func (c *compiler) filter() {
	if len(c.s.Deny) > 0 {
		for _, v6 := range c.clientFamilies() {
			c.rule(ipSaddr(v6).in(c.prefixes(kindDeny, v6, c.s.Deny)), c.turn(turnDenied))
		}
	}
	if len(c.s.Allow) > 0 {
		// A list of one family lets nobody of the other in.
		for _, v6 := range c.clientFamilies() {
			c.rule(ipSaddr(v6).notIn(c.prefixes(kindAllow, v6, c.s.Allow)), c.turn(turnDenied))
		}
	}
}

// prefixes adds a set with those of a family.
func (c *compiler) prefixes(kind string, v6 bool, list []netip.Prefix) *set {
	s := define(set{name: nameOf(kind+six(v6), c.s.Name), key: tuple{tAddr(v6)}, setDef: setDef{flags: unix.NFT_SET_INTERVAL}})
	c.f.sets = append(c.f.sets, s)
	c.f.add(s, ranges(list, v6)...)
	return s
}

// ranges are sorted prefixes of a family as elements. Neighbours are one: the
// kernel works the less, and nft would leave out the end between them.
func ranges(list []netip.Prefix, v6 bool) []elem {
	n := 0
	for _, p := range list {
		if p.Addr().Is6() == v6 {
			n++
		}
	}
	// A list may have a hundred thousand: one piece of memory for all keys.
	size := tAddr(v6).size
	elems, keys := make([]elem, 0, n), make([]byte, 0, 2*n*size)
	for _, p := range list {
		if p.Addr().Is6() != v6 {
			continue
		}
		keys = appendAddr(appendAddr(keys, p.Addr()), lastAddr(p))
		first, last := keys[len(keys)-2*size:len(keys)-size:len(keys)-size], keys[len(keys)-size:len(keys):len(keys)]
		if n := len(elems); n > 0 {
			if next, ok := after(elems[n-1].last); ok && string(next) == string(first) {
				elems[n-1].last = last
				continue
			}
		}
		elems = append(elems, elem{key: first, last: last})
	}
	return elems
}
