// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// A fragment is one service's part of the table, or the part that all services
// share: plain data, made of a plan by compile or read from the kernel by load.
// The order of its lists is the order in which things are made; they are removed
// the other way round.
type fragment struct {
	name    string // of the service; empty for the shared part
	objects []object
	sets    []*set // its own
	chains  []chain
	// elems are of its own sets and of those that all share. Sets that packets
	// write into are not among them.
	elems []setElems
	maps  []weightMap // of the weights
	flow  *flowtable  // of the shared part; nil for none
	// link is its part in the second table, of the family netdev; nil if it has
	// none. The fields below are of such a part only.
	link   *fragment
	netdev bool
	deals  [2]*deal // by family: who gets whose flows; nil for none
}

// setElems are the elements that a fragment has in one set.
type setElems struct {
	set  *set
	list []elem
}

// A chain is a chain and its rules.
type chain struct {
	name  string
	hook  *hook // of a base chain
	rules []rule
}

// A hook is where a base chain stands.
type hook struct {
	kind     string // nat or filter; of an interface, filter@eth0
	num      uint32
	priority int32
	text     string // "prerouting priority dstnat"
}

// split is the kind proper, and the interface if it has one.
func (h *hook) split() (kind, device string) {
	kind, device, _ = strings.Cut(h.kind, "@")
	return kind, device
}

// same compares what the kernel knows of it.
func (h *hook) same(o *hook) bool {
	if h == nil || o == nil {
		return h == o
	}
	return h.kind == o.kind && h.num == o.num && h.priority == o.priority
}

func (c *chain) sameRules(o *chain) bool {
	return slices.EqualFunc(c.rules, o.rules, func(a, b rule) bool { return sameExprs(a.raw, b.raw) })
}

// An object is a named stateful object, such as a counter.
type object struct {
	name string
	kind uint32 // NFT_OBJECT_*
	raw  []byte // its attributes, but for those of a counter
	text string // its body as nft lists it, with the line ends
	word string // what nft calls it: counter, ct helper, …
	from counter
}

// same compares the definitions and leaves counts aside.
func (o *object) same(p *object) bool {
	return o.name == p.name && o.kind == p.kind && (o.kind == unix.NFT_OBJECT_COUNTER || sameAttrs(o.raw, p.raw))
}

func newCounter(name string) object {
	return object{name: name, kind: unix.NFT_OBJECT_COUNTER, word: "counter", text: "\t\tpackets 0 bytes 0\n"}
}

// add puts elements into a set; those of one set stay together.
func (f *fragment) add(s *set, list ...elem) {
	if len(list) == 0 {
		return
	}
	for i := range f.elems {
		if f.elems[i].set.name == s.name {
			f.elems[i].list = append(f.elems[i].list, list...)
			return
		}
	}
	f.elems = append(f.elems, setElems{s, list})
}

// fronts are the keys by which packets find the service.
func (f *fragment) fronts() (keys []string) {
	if f == nil {
		return nil
	}
	for _, s := range []*set{services4, services6, ranges4, ranges6} {
		for _, e := range f.elemsOf(s.name) {
			keys = append(keys, s.name+e.id())
		}
	}
	return append(keys, f.link.fronts()...)
}

// and is f with the sets and chains of o that it does not have: elements of
// services may still lead there.
func (f *fragment) and(o *fragment) *fragment {
	both := *f
	both.sets = slices.Clone(f.sets)
	if o != nil && o.link != nil {
		both.link = (&fragment{netdev: true}).orLink(f).and(o.link)
	}
	for _, s := range o.sets {
		if f.set(s.name) == nil {
			both.sets = append(both.sets, s)
		}
	}
	both.chains = slices.Clone(f.chains)
	for i := range o.chains {
		if f.chain(o.chains[i].name) == nil {
			both.chains = append(both.chains, o.chains[i])
		}
	}
	if both.flow == nil {
		both.flow = o.flow
	}
	return &both
}

// orLink is o's part in the second table, or f if it has none.
func (f *fragment) orLink(o *fragment) *fragment {
	if o.link != nil {
		return o.link
	}
	return f
}

func (f *fragment) set(name string) *set {
	i := slices.IndexFunc(f.sets, func(s *set) bool { return s.name == name })
	if i < 0 {
		return nil
	}
	return f.sets[i]
}

func (f *fragment) chain(name string) *chain {
	i := slices.IndexFunc(f.chains, func(c chain) bool { return c.name == name })
	if i < 0 {
		return nil
	}
	return &f.chains[i]
}

func (f *fragment) object(name string, kind uint32) *object {
	i := slices.IndexFunc(f.objects, func(o object) bool { return o.name == name && o.kind == kind })
	if i < 0 {
		return nil
	}
	return &f.objects[i]
}

func (f *fragment) elemsOf(set string) []elem {
	i := slices.IndexFunc(f.elems, func(e setElems) bool { return e.set.name == set })
	if i < 0 {
		return nil
	}
	return f.elems[i].list
}

func (f *fragment) weights(set string) *weightMap {
	i := slices.IndexFunc(f.maps, func(m weightMap) bool { return m.set.name == set })
	if i < 0 {
		return nil
	}
	return &f.maps[i]
}

func (b *batch) newChain(c *chain) {
	b.nft(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	b.str(unix.NFTA_CHAIN_TABLE, b.table)
	b.str(unix.NFTA_CHAIN_NAME, c.name)
	if c.hook != nil {
		at := b.nest(unix.NFTA_CHAIN_HOOK)
		b.u32(unix.NFTA_HOOK_HOOKNUM, c.hook.num)
		b.u32(unix.NFTA_HOOK_PRIORITY, uint32(c.hook.priority))
		kind, device := c.hook.split()
		if device != "" {
			b.str(unix.NFTA_HOOK_DEV, device)
		}
		b.unnest(at)
		b.u32(unix.NFTA_CHAIN_POLICY, nfAccept)
		b.str(unix.NFTA_CHAIN_TYPE, kind)
	}
	b.end()
}

const nfAccept = 1 // NF_ACCEPT

func (b *batch) delChain(name string) {
	b.nft(unix.NFT_MSG_DELCHAIN, 0)
	b.str(unix.NFTA_CHAIN_TABLE, b.table)
	b.str(unix.NFTA_CHAIN_NAME, name)
	b.end()
}

// delRules removes all rules of a chain.
func (b *batch) delRules(chain string) {
	b.nft(unix.NFT_MSG_DELRULE, 0)
	b.str(unix.NFTA_RULE_TABLE, b.table)
	b.str(unix.NFTA_RULE_CHAIN, chain)
	b.end()
}

func (b *batch) newObject(o *object) {
	b.nft(unix.NFT_MSG_NEWOBJ, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	b.str(unix.NFTA_OBJ_TABLE, b.table)
	b.str(unix.NFTA_OBJ_NAME, o.name)
	b.u32(unix.NFTA_OBJ_TYPE, o.kind)
	if o.kind == unix.NFT_OBJECT_COUNTER {
		b.counterData(unix.NFTA_OBJ_DATA, o.from)
	} else {
		b.bytes(unix.NFTA_OBJ_DATA|unix.NLA_F_NESTED, o.raw)
	}
	b.end()
}

func (b *batch) delObject(o *object) {
	b.nft(unix.NFT_MSG_DELOBJ, 0)
	b.str(unix.NFTA_OBJ_TABLE, b.table)
	b.str(unix.NFTA_OBJ_NAME, o.name)
	b.u32(unix.NFTA_OBJ_TYPE, o.kind)
	b.end()
}
