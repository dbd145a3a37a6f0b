// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/core/nlmsg"
)

// Kernels before 6.18 do not look an interval up atomically while a transaction
// changes the map: a boundary that is written but not committed hides the one in
// force, and the packet finds nothing. There each weights map of intervals has a
// spare, a second copy that is looked up when the first has no answer, and is
// changed in a transaction of its own after the first. See RATIONALE.md, "Why is
// there a spare weights map on older kernels?".

const (
	kindSpare      = "spare"
	kindSpare6     = "spare6"
	spareGroupKind = "spares"
)

// needsSpares reports whether the kernel is one of those.
func needsSpares() bool {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return true
	}
	return !atLeast(unix.ByteSliceToString(u.Release[:]), 6, 18)
}

// atLeast compares the release of a kernel, such as "6.1.0-56-amd64".
func atLeast(release string, major, minor int) bool {
	var a, b int
	if _, err := fmt.Sscanf(release, "%d.%d", &a, &b); err != nil {
		return false
	}
	return a > major || a == major && b >= minor
}

// spareOf is the spare of a shared map.
func spareOf(group string) string { return spareGroupKind + strings.TrimPrefix(group, groupKind) }

func spareName(service string, v6 bool) string {
	return nameOf(byFamily(v6, kindSpare, kindSpare6), service)
}

// isSpare reports whether a set of that name is a spare.
func isSpare(name string) bool {
	kind, _, own := strings.Cut(name, "-")
	return own && (kind == kindSpare || kind == kindSpare6) || !own && strings.HasPrefix(name, spareGroupKind)
}

// hasSpare reports whether the rules of a service that was read look one up.
func (f *fragment) hasSpare() bool {
	ch := f.chain(chainName(f.name))
	if ch == nil {
		return false
	}
	return slices.ContainsFunc(ch.rules, func(r rule) bool {
		list := nlmsg.Attrs{Rest: r.raw}
		for list.Next() {
			if nlmsg.Text(nlmsg.Find(list.Value, unix.NFTA_EXPR_NAME)) != "lookup" {
				continue
			}
			if isSpare(nlmsg.Text(nlmsg.Find(nlmsg.Find(list.Value, unix.NFTA_EXPR_DATA), unix.NFTA_LOOKUP_SET))) {
				return true
			}
		}
		return false
	})
}

// addSpare adds the second copy of a weights map.
func (c *compiler) addSpare(m weightMap, v6 bool) *set {
	def := *m.set
	def.name = spareName(c.s.Name, v6)
	if m.seat.shared() {
		def.name = spareOf(m.seat.group)
	}
	m.set = &def
	if !m.seat.shared() {
		c.f.sets = append(c.f.sets, m.set)
	}
	c.f.maps = append(c.f.maps, m)
	return m.set
}

// later reports whether a map is changed after the others, in a transaction of its
// own: a spare that is looked up already.
func (d *diff) later(from *fragment, m *weightMap) bool {
	if !isSpare(m.set.name) {
		return false
	}
	was := from.weights(m.set.name)
	return was != nil && was.seat == m.seat && (m.seat.shared() || !d.setComes(m.set))
}

// writeSpares writes what writeChanges has left for later.
func (b *batch) writeSpares(list []*change) {
	for _, c := range list {
		if c.from == nil || c.to == nil {
			continue
		}
		b.owner = c.name
		d := newDiff(c)
		for i := range c.to.maps {
			if m := &c.to.maps[i]; d.later(c.from, m) {
				b.weights(c.from.weights(m.set.name), m, c.unknown)
			}
		}
	}
}

// commitSpares follows a commit with that of the spares. If it fails, what the
// spares hold is not known, and the next change writes them whole.
func (a *Applier) commitSpares(ctx context.Context, j job, r *result) error {
	if !a.spares {
		return nil
	}
	before, err := a.w.generation()
	if err != nil {
		return err
	}
	a.b.reset(a.table, a.w.seq)
	a.b.writeSpares(j.list)
	if a.b.changed == 0 {
		return nil
	}
	a.b.finish()
	list, err := a.w.transact(&a.b)
	if err == nil && len(list) > 0 {
		err = explain(list[0].errno, list[0].text)
	}
	if err == nil {
		a.ours(before)
		r.changed += a.b.changed
		return nil
	}
	for _, c := range j.list {
		if h := a.known[c.name]; h != nil {
			h.unknown = true
			r.refuse(c.name, fmt.Errorf("commit the spare weights of service %s: %w", c.name, err))
		}
	}
	return ctx.Err()
}
