// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"slices"
	"strings"

	"github.com/steelyard-lb/steelyard/core"
)

// explain writes down why each backend has what it has: what the leader gives it, what
// keeps it out here, and what it takes over of those.
func (f *following) explain() {
	for i := range f.shaped {
		f.shaped[i].Steps = f.steps(i)
	}
}

func (f *following) steps(i int) []core.Step {
	b, has, gives := f.s.backends[i], f.shaped[i].Share, f.given[i].share()
	out := []core.Step{{Name: "leader", Before: b.share, After: gives, Note: f.givenText(i)}}
	if f.alone {
		if text := f.aloneText(); text != "" && has > 0 {
			out = append(out, core.Step{Name: "gate", Before: gives, After: has, Note: text})
		}
		return append(out, f.shaped[i].Steps...)
	}
	for _, st := range f.shaped[i].Steps {
		if slices.Contains(gates, st.Name) && (has == 0 || st.Name == "panic") {
			st.Before, st.After = gives, has
			out = append(out, st)
		}
	}
	if has > gives {
		out = append(out, core.Step{Name: "gate", Before: gives, After: has, Note: f.moreText()})
	}
	return out
}

// gates are the steps that say who serves at all.
var gates = []string{"drain", "priority", "full", "sorry", "panic"}

// givenText is such as "lb2 gives 23.4 % (decision 4711)", or, if the leader says why,
// "lb2 gives 0.0 %: drained by alice, disk swap (decision 4711)".
func (f *following) givenText(i int) string {
	v, percent := f.lead.vector, 100*f.given[i].share()
	switch {
	case f.lead.heard.IsZero() && f.s.lead == nil:
		return "another node leads and was not heard of yet: configured weight"
	case f.lead.heard.IsZero() && !f.given[i].known:
		return "another node leads and was not heard of yet: new here"
	case f.lead.heard.IsZero():
		return fmt.Sprintf("another node leads and was not heard of yet: %.1f %% held", percent)
	case !f.given[i].known:
		return fmt.Sprintf("%s does not know it (decision %d)", v.Node, v.Decision)
	}
	because := ""
	if note := f.given[i].Note; note != "" {
		because = ": " + note
	}
	return fmt.Sprintf("%s gives %.1f %%%s (decision %d)", v.Node, percent, because, v.Decision)
}

// aloneText says why the leader's slots are not taken; empty where there are none to take.
func (f *following) aloneText() string {
	switch {
	case f.s.lead == nil:
		return ""
	case f.panics():
		return "too few are up here"
	}
	return "none of those that it feeds can serve here"
}

// moreText says whose part the others have here.
func (f *following) moreText() string {
	if gated := f.gated(); len(gated) > 0 {
		return "more here without " + shortList(gated)
	}
	return "more here without those that are not configured here"
}

// shortList names the first few.
func shortList(names []string) string {
	const most = 3
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

func hasStep(steps []core.Step, name string) bool {
	return slices.ContainsFunc(steps, func(st core.Step) bool { return st.Name == name })
}
