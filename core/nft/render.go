// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/steelyard-lb/steelyard/core"
)

// Render is the text of the table that Sync makes of a plan in an empty kernel,
// byte for byte as `nft list table` prints it, and fit for `nft -f`. Services
// that Sync would refuse without asking the kernel are left out, as are the
// table's owner and persist flags, which belong to a process and not to a plan.
func Render(plan core.Plan) string { return render(DefaultTable, plan, ownMaps, false) }

func render(table string, plan core.Plan, own int, spares bool) string {
	services, _ := checkPlan(plan, nil, nil)
	n := newNeeds(plan.LocalClients, plan.OffloadDevices)
	seats := newSeating(own, spares, nil, nil)
	parts := []*fragment{nil}
	for _, s := range services {
		n.add(s)
		at := seats.give(s, false)
		n.sit(s, at)
		parts = append(parts, compileAt(s, at))
	}
	parts[0] = compileShared(n)
	var w strings.Builder
	fmt.Fprintf(&w, "table inet %s {\n\tcomment %q\n", table, layout)
	renderParts(&w, parts)
	w.WriteString("}\n")
	var links []*fragment
	for _, f := range parts {
		if f.link != nil {
			links = append(links, f.link)
		}
	}
	if len(links) > 0 {
		fmt.Fprintf(&w, "table netdev %s {\n\tcomment %q\n", table, layout)
		renderParts(&w, links)
		w.WriteString("}\n")
	}
	return w.String()
}

// renderParts lists fragments in nft's order: objects, sets, chains.
func renderParts(w *strings.Builder, parts []*fragment) {
	elems := map[string][]elem{}
	for _, f := range parts {
		for _, e := range f.elems {
			elems[e.set.name] = append(elems[e.set.name], e.list...)
		}
		for i := range f.objects {
			o := &f.objects[i]
			fmt.Fprintf(w, "\t%s %s {\n%s\t}\n\n", o.word, o.name, o.text)
		}
	}
	for _, f := range parts {
		for _, s := range f.sets {
			if m := f.weights(s.name); m != nil {
				w.WriteString(m.list())
			} else if isGroup(s.name) {
				w.WriteString(whole(s, parts).list())
			} else if m := f.dealMapOf(s); m != nil {
				w.WriteString(m.list(s))
			} else {
				w.WriteString(s.list(elems[s.name]))
			}
		}
	}
	for _, f := range parts {
		if f.flow != nil {
			w.WriteString(f.flow.list())
		}
	}
	if !slices.ContainsFunc(parts, func(f *fragment) bool { return len(f.chains) > 0 }) {
		text := strings.TrimSuffix(w.String(), "\n") // what would part the last set from a chain
		w.Reset()
		w.WriteString(text)
	}
	separator := ""
	for _, f := range parts {
		for i := range f.chains {
			w.WriteString(separator)
			f.chains[i].render(w)
			separator = "\n"
		}
	}
}

// whole is a shared weights map with what all have in it.
func whole(s *set, parts []*fragment) *weightMap {
	out := &weightMap{set: s}
	for _, f := range parts {
		m := f.weights(s.name)
		if m == nil || m.service == "" {
			continue
		}
		for _, iv := range m.intervals {
			out.intervals = append(out.intervals, interval{m.seat.base + iv.start, m.seat.base + iv.end, iv.addr, m.comment(iv)})
		}
	}
	slices.SortFunc(out.intervals, func(a, b interval) int { return cmp.Compare(a.start, b.start) })
	return out
}

func (c *chain) render(w *strings.Builder) {
	fmt.Fprintf(w, "\tchain %s {\n", c.name)
	if c.hook != nil {
		kind, _ := c.hook.split()
		fmt.Fprintf(w, "\t\ttype %s hook %s; policy accept;\n", kind, c.hook.text)
	}
	for _, r := range c.rules {
		fmt.Fprintf(w, "\t\t%s\n", r.text)
	}
	w.WriteString("\t}\n")
}

// list is the map with its elements, as nft lists it.
func (m *weightMap) list() string {
	var w strings.Builder
	w.WriteString(m.set.header())
	var texts []string
	for i := range m.ring {
		to, _ := m.at(i)
		texts = append(texts, fmt.Sprintf("%d : %s", i, m.set.data.text(appendTarget(nil, m.set.data, to), nil)))
	}
	for _, iv := range m.intervals {
		slots := fmt.Sprintf("%d-%d", iv.start, iv.end-1)
		if iv.end-iv.start == 1 {
			slots = fmt.Sprint(iv.start)
		}
		target := m.set.data.text(appendTarget(nil, m.set.data, iv.addr), nil)
		texts = append(texts, fmt.Sprintf("%s comment %q : %s", slots, iv.name, target))
	}
	renderElements(&w, texts, 5)
	return w.String()
}

// renderElements writes the elements, so many to a line, and closes the set.
func renderElements(w *strings.Builder, texts []string, perLine int) {
	for i, text := range texts {
		switch {
		case i == 0:
			w.WriteString("\t\telements = { ")
		case i%perLine == 0:
			w.WriteString(",\n\t\t\t     ")
		default:
			w.WriteString(", ")
		}
		w.WriteString(text)
	}
	if len(texts) > 0 {
		w.WriteString(" }\n")
	}
	w.WriteString("\t}\n\n")
}
