// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"fmt"
	"strings"

	"github.com/google/nftables/expr"
	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/nlmsg"
	"golang.org/x/sys/unix"
)

// The kernel finds a set by walking all sets of the table, name by name, for each
// message that is about one. With 10,000 maps that is most of the time that a
// start takes. So services past the first ownMaps share maps: six of them sit
// in one, each with 65536 numbers of its own.
// See RATIONALE.md, "Why do some services share a weights map?".

const (
	ownMaps      = 1000
	groupSeats   = 6
	groupKind    = "weights" // and a number
	seatBackends = 32        // of a service that may sit in a group: a map is slow beyond some 500 intervals
)

// A seat is where the weights of a service stand: in a map of its own, or in a
// place of a map that others share.
type seat struct {
	group string // empty: its own
	base  uint32 // the first of its numbers
	spare bool   // there is a second copy; see spare.go
}

func (at seat) shared() bool { return at.group != "" }

// place is the seat without what is in it.
func (at seat) place() seat { return seat{group: at.group, base: at.base} }

func isGroup(set string) bool {
	return !strings.Contains(set, "-") && (strings.HasPrefix(set, groupKind) || strings.HasPrefix(set, spareGroupKind))
}

// seatable reports whether a service may sit in a group: one whose numbers are
// random, of one family, with a port for each backend.
func seatable(s *core.ServicePlan) bool {
	if s.Distribution != core.Random || s.Forwarding == core.Local || linked(s) || len(s.Backends) > seatBackends || len(s.Backends) == 0 {
		return false
	}
	c := compiler{s: s}
	families := c.families()
	return len(families) == 1 && len(c.target(families[0])) == 2
}

// groupSet is a map that services like s share.
func groupSet(name string, s *core.ServicePlan) *set {
	c := compiler{s: s}
	v6 := c.families()[0]
	data := c.target(v6)
	return define(set{
		name: name, key: tuple{tInteger}, data: data, setDef: setDef{flags: unix.NFT_SET_INTERVAL},
		keyOf: numgenSource(unix.NFT_NG_RANDOM, core.Slots), dataOf: targetSource(v6, data, c.protocols()),
	})
}

// seating gives services their seats. Who has one keeps it.
type seating struct {
	limit  int  // of maps of one's own
	spares bool // whether this kernel needs them
	of     map[string]seat
	taken  map[seat]bool
	defs   map[string]setDef // of the groups
	own    int               // services with a map of their own
	next   int               // number of the next group
	open   map[setDef]string // the group of a kind that new services go to
}

// newSeating begins with what is in force.
func newSeating(limit int, spares bool, known map[string]*held, shared *fragment) *seating {
	t := &seating{limit: limit, spares: spares, of: map[string]seat{}, taken: map[seat]bool{}, defs: map[string]setDef{}, open: map[setDef]string{}}
	if shared != nil {
		for _, s := range shared.sets {
			if n, ok := groupNumber(s.name); ok {
				t.defs[s.name] = s.setDef
				t.next = max(t.next, n+1)
			}
		}
	}
	for name, h := range known {
		if !h.seat.shared() {
			t.own++
			continue
		}
		t.of[name], t.taken[h.seat.place()] = h.seat.place(), true
	}
	return t
}

func groupNumber(name string) (n int, ok bool) {
	_, err := fmt.Sscanf(name, groupKind+"%d", &n)
	return n, err == nil
}

// give returns the seat of a service, which is known if it was in force.
func (t *seating) give(s *core.ServicePlan, known bool) seat {
	at := t.place(s, known)
	at.spare = t.spares && s.Distribution == core.Random
	return at
}

func (t *seating) place(s *core.ServicePlan, known bool) seat {
	was, seated := t.of[s.Name]
	if !seatable(s) {
		return t.leave(s.Name, known)
	}
	def := groupSet("", s).setDef
	switch {
	case seated && t.defs[was.group] == def:
		return was
	case known && !seated:
		return seat{}
	case t.own < t.limit:
		t.own++
		return t.leave(s.Name, true)
	}
	return t.sit(s.Name, def)
}

// leave gives a service a map of its own. Its seat stays taken until the next Sync.
func (t *seating) leave(name string, counted bool) seat {
	if !counted {
		t.own++
	}
	delete(t.of, name)
	return seat{}
}

func (t *seating) sit(name string, def setDef) seat {
	for {
		group := t.open[def]
		if group == "" {
			group = t.group(def)
		}
		for i := range uint32(groupSeats) {
			at := seat{group: group, base: i * core.Slots}
			if !t.taken[at] {
				t.taken[at], t.of[name] = true, at
				return at
			}
		}
		t.open[def] = t.fresh(def)
	}
}

// group is one of that kind with a seat left, or a new one.
func (t *seating) group(def setDef) string {
	for name, d := range t.defs {
		for i := range uint32(groupSeats) {
			if d == def && !t.taken[seat{group: name, base: i * core.Slots}] {
				t.open[def] = name
				return name
			}
		}
	}
	t.open[def] = t.fresh(def)
	return t.open[def]
}

func (t *seating) fresh(def setDef) string {
	name := fmt.Sprintf("%s%d", groupKind, t.next)
	t.next++
	t.defs[name] = def
	return name
}

// seatFor is the seat in force, as far as the service can keep it.
func (h *held) seatFor(s *core.ServicePlan) seat {
	if h == nil {
		return seat{}
	}
	if !seatable(s) {
		return seat{spare: h.seat.spare && s.Distribution == core.Random}
	}
	return h.seat
}

// seatRead finds the seat of a service in its rules: the map that its numbers are
// looked up in, and where they begin.
func seatRead(f *fragment) seat {
	ch := f.chain(chainName(f.name))
	if ch == nil {
		return seat{}
	}
	own := seat{spare: f.hasSpare()}
	for _, r := range ch.rules {
		var base uint32
		list := nlmsg.Attrs{Rest: r.raw}
		for list.Next() {
			data := nlmsg.Find(list.Value, unix.NFTA_EXPR_DATA)
			switch nlmsg.Text(nlmsg.Find(list.Value, unix.NFTA_EXPR_NAME)) {
			case "numgen":
				base = nlmsg.Uint32(nlmsg.Find(data, unix.NFTA_NG_OFFSET))
			case "lookup":
				if name := nlmsg.Text(nlmsg.Find(data, unix.NFTA_LOOKUP_SET)); isGroup(name) {
					return seat{group: name, base: base, spare: f.hasSpare()}
				}
			}
		}
	}
	return own
}

// numgenAt is `numgen random mod 65536 offset 131072`, to be looked up among
// intervals.
func numgenAt(base uint32) operand {
	text := fmt.Sprintf("numgen random mod %d", core.Slots)
	if base > 0 {
		text += fmt.Sprintf(" offset %d", base)
	}
	return operand{text: text, words: 1, load: func(word int) []expr.Any {
		r := register(word)
		return []expr.Any{&expr.Numgen{Register: r, Modulus: core.Slots, Type: unix.NFT_NG_RANDOM, Offset: base}, hton(r)}
	}}
}
