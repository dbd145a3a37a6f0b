// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"bytes"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/core/nlmsg"
)

// A service that was only read, because its plan is refused since before the first
// Sync, is known by what the kernel has of it and not by what it asks for. So what
// it needs of the shared part is looked up there: the functions below find it.

// used is what of the shared part these services need: the sets that they have
// elements in or name, the chains that they lead to, and those that look up or lead
// to one of all these.
func (f *fragment) used(by []*fragment) *fragment {
	out := &fragment{netdev: f.netdev}
	for _, s := range f.sets {
		if slices.ContainsFunc(by, func(b *fragment) bool { return b.elemsOf(s.name) != nil || b.names(s.name) }) {
			out.sets = append(out.sets, s)
		}
	}
	for grown := true; grown; {
		grown = false
		for _, c := range f.chains {
			if out.chain(c.name) == nil && (slices.ContainsFunc(c.rules, out.wants) ||
				slices.ContainsFunc(by, func(b *fragment) bool { return b.names(c.name) })) {
				out.chains, grown = append(out.chains, c), true
			}
		}
	}
	for _, c := range out.chains {
		if slices.ContainsFunc(c.rules, func(r rule) bool { return r.names(nameFlows) }) {
			out.flow = f.flow
		}
	}
	if f.link != nil {
		var links []*fragment
		for _, b := range by {
			if b.link != nil {
				links = append(links, b.link)
			}
		}
		if len(links) > 0 {
			out.link = f.link.used(links)
		}
	}
	return out
}

// names reports whether a rule or an element of f names a set or a chain.
func (f *fragment) names(name string) bool {
	for i := range f.chains {
		if slices.ContainsFunc(f.chains[i].rules, func(r rule) bool { return r.names(name) }) {
			return true
		}
	}
	for _, e := range f.elems {
		if slices.ContainsFunc(e.list, func(e elem) bool { return strings.HasSuffix(e.verdict, " "+name) }) {
			return true
		}
	}
	return false
}

// wants reports whether a rule names one of the sets or chains of f.
func (f *fragment) wants(r rule) bool {
	return slices.ContainsFunc(f.sets, func(s *set) bool { return r.names(s.name) }) ||
		slices.ContainsFunc(f.chains, func(c chain) bool { return r.names(c.name) })
}

// names reports whether a rule names a set or a chain.
func (r *rule) names(name string) bool { return bytes.Contains(r.raw, append([]byte(name), 0)) }

// join is f with all of o, which is what used returned: also in chains that both have
// the rules that name what is of o.
func (f *fragment) join(o *fragment) *fragment {
	both := f.and(o)
	for i := range both.chains {
		c := &both.chains[i]
		if was := o.chain(c.name); was != nil {
			c.rules = slices.Clone(c.rules)
			for _, r := range was.rules {
				if o.wants(r) && !slices.ContainsFunc(c.rules, func(x rule) bool { return sameExprs(x.raw, r.raw) }) {
					c.rules = append(c.rules, r)
				}
			}
		}
	}
	if both.link != nil && o.link != nil {
		both.link = both.link.join(o.link)
	}
	return both
}

// told is a rule as the kernel tells it, in a form that it takes again: a dynset
// without a timeout must not say that it is zero.
func told(raw []byte) []byte {
	if !bytes.Contains(raw, []byte("dynset\x00")) {
		return slices.Clone(raw)
	}
	var b batch
	for list := (nlmsg.Attrs{Rest: raw}); list.Next(); {
		data := nlmsg.Find(list.Value, unix.NFTA_EXPR_DATA)
		if nlmsg.Text(nlmsg.Find(list.Value, unix.NFTA_EXPR_NAME)) != "dynset" || nlmsg.Uint64(nlmsg.Find(data, unix.NFTA_DYNSET_TIMEOUT)) != 0 {
			b.bytes(list.Type|unix.NLA_F_NESTED, list.Value)
			continue
		}
		at := b.nest(list.Type)
		b.str(unix.NFTA_EXPR_NAME, "dynset")
		in := b.nest(unix.NFTA_EXPR_DATA)
		for a := (nlmsg.Attrs{Rest: data}); a.Next(); {
			if a.Type != unix.NFTA_DYNSET_TIMEOUT {
				b.bytes(a.Type, a.Value) // the kernel does not ask for the flag of nesting here
			}
		}
		b.unnest(in)
		b.unnest(at)
	}
	return b.buf
}
