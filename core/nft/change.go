// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"bytes"
	"slices"

	"github.com/steelyard-lb/steelyard/core"
)

// A change is what is to become of one fragment: from nil, it is made; to nil,
// it is removed.
type change struct {
	name     string // of the service; empty for the shared part
	from, to *fragment
	unknown  bool              // the weights in the kernel may differ from from's
	plan     *core.ServicePlan // that to was made of
	kept     *held             // what to was, of a service that goes into a new table unchanged
}

// takes reports whether c claims a frontend that o gives up.
func (c *change) takes(o *change) bool {
	if c.name == o.name {
		return false
	}
	given := o.from.fronts()
	return slices.ContainsFunc(c.to.fronts(), func(key string) bool { return slices.Contains(given, key) })
}

// nothing reports whether the fragments are the same.
func (c *change) nothing() bool {
	if c.from == nil || c.to == nil {
		return c.from == c.to
	}
	if c.unknown || len(c.from.sets) != len(c.to.sets) || len(c.from.objects) != len(c.to.objects) ||
		len(c.from.chains) != len(c.to.chains) || len(c.from.elems) != len(c.to.elems) {
		return false
	}
	d := diff{c: c}
	return !d.anything() && c.link().nothing()
}

// A diff looks at one change.
type diff struct {
	c *change
	// remake are the sets and objects that have to be made anew, and so every
	// chain that may refer to one. The others keep what their rules have counted.
	remake []string
}

func newDiff(c *change) diff {
	d := diff{c: c}
	if c.from == nil || c.to == nil {
		return d
	}
	for _, s := range c.from.sets {
		if d.setGoes(s) && c.to.set(s.name) != nil {
			d.remake = append(d.remake, s.name)
		}
	}
	for i := range c.from.objects {
		if o := &c.from.objects[i]; d.objectGoes(o) && c.to.object(o.name, o.kind) != nil {
			d.remake = append(d.remake, o.name)
		}
	}
	return d
}

// remade reports whether a rule of ch may refer to what is made anew.
func (d *diff) remade(ch *chain) bool {
	for _, name := range d.remake {
		if slices.ContainsFunc(ch.rules, func(r rule) bool { return bytes.Contains(r.raw, []byte(name)) }) {
			return true
		}
	}
	return false
}

// flow is the flowtable that is to be; nil for none.
func (d *diff) flow() *flowtable {
	if d.c.to == nil {
		return nil
	}
	return d.c.to.flow
}

func (d *diff) setGoes(s *set) bool {
	if d.c.to == nil {
		return true
	}
	o := d.c.to.set(s.name)
	return o == nil || !o.setDef.made(s.setDef)
}

func (d *diff) objectGoes(o *object) bool {
	if d.c.to == nil {
		return true
	}
	p := d.c.to.object(o.name, o.kind)
	return p == nil || !o.same(p)
}

func (d *diff) chainGoes(ch *chain) bool {
	if d.c.to == nil {
		return true
	}
	o := d.c.to.chain(ch.name)
	return o == nil || !o.hook.same(ch.hook)
}

// rulesGo reports whether the rules of a chain are taken out, to be written anew
// or for good.
func (d *diff) rulesGo(ch *chain) bool {
	return d.remade(ch) || d.chainGoes(ch) || !ch.sameRules(d.c.to.chain(ch.name))
}

func (d *diff) elemsOf(f *fragment, s *set) []elem {
	if f == nil {
		return nil
	}
	return f.elemsOf(s.name)
}

// setComes reports whether a set of to is made; its elements are all new then.
func (d *diff) setComes(s *set) bool {
	if d.c.from == nil {
		return true
	}
	o := d.c.from.set(s.name)
	return o == nil || d.setGoes(o)
}

// seatGoes reports whether a service leaves its seat in a shared map.
func (d *diff) seatGoes(m *weightMap) bool {
	if d.c.to == nil {
		return true
	}
	o := d.c.to.weights(m.set.name)
	return o == nil || o.seat != m.seat
}

func (d *diff) anything() bool {
	c := d.c
	if !c.from.flow.same(c.to.flow) {
		return true
	}
	for _, s := range c.from.sets {
		if d.setGoes(s) {
			return true
		}
	}
	for i := range c.from.objects {
		if d.objectGoes(&c.from.objects[i]) {
			return true
		}
	}
	for i := range c.from.chains {
		if d.rulesGo(&c.from.chains[i]) {
			return true
		}
	}
	for i := range c.from.elems {
		gone, come := diffElems(c.from.elems[i].list, c.to.elemsOf(c.from.elems[i].set.name))
		if len(gone)+len(come) > 0 {
			return true
		}
	}
	for i := range c.to.deals {
		if !c.from.deals[i].alike(c.to.deals[i]) {
			return true
		}
	}
	for i := range c.to.maps {
		if m := c.from.weights(c.to.maps[i].set.name); m == nil || !m.same(&c.to.maps[i]) {
			return true
		}
	}
	return false
}
