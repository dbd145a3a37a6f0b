// SPDX-License-Identifier: Apache-2.0

package suite

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// Update is the file with what the policy answers in place of the shares that are
// expected and are not right, and for steps that expect nothing. Ranges and
// comparisons stay, since they say what is meant. The rest of the file is not
// touched. changed counts the places.
func (f *ScenarioFile) Update(ctx context.Context, t *Session) (text string, changed int, err error) {
	var edits []edit
	for i := range f.Scenarios {
		sc := &f.Scenarios[i]
		_, said, err := f.play(ctx, t, sc)
		if err != nil {
			return "", 0, err
		}
		for k, shares := range said {
			if shares != nil {
				edits = append(edits, f.edits(&sc.Steps[k], shares)...)
			}
		}
	}
	// From the end, so that no edit moves another.
	slices.SortFunc(edits, func(a, b edit) int {
		if a.line != b.line {
			return b.line - a.line
		}
		return b.column - a.column
	})
	lines := slices.Clone(f.lines)
	for _, e := range edits {
		lines = e.apply(lines)
	}
	return strings.Join(lines, "\n"), len(edits), nil
}

// An edit replaces old at a place, or with no old puts a line behind another.
type edit struct {
	line, column int // from 1; column in characters
	old, new     string
}

func (e edit) apply(lines []string) []string {
	i := e.line - 1
	if e.old == "" {
		return slices.Insert(lines, i+1, e.new)
	}
	at := 0 // the byte of the column
	for range e.column - 1 {
		_, size := utf8.DecodeRuneInString(lines[i][at:])
		at += size
	}
	lines[i] = lines[i][:at] + strings.Replace(lines[i][at:], e.old, e.new, 1)
	return lines
}

func (f *ScenarioFile) edits(st *Step, shares map[string]float64) []edit {
	if st.Refused != nil {
		return nil
	}
	if flow := strings.Contains(f.lines[st.Line-1][:min(st.keyColumn-1, len(f.lines[st.Line-1]))], "{"); st.Expect == nil && flow {
		return nil // all on one line: there is none to put it on
	}
	if st.Expect == nil {
		return []edit{{line: st.lastLine, new: strings.Repeat(" ", st.keyColumn-1) + "expect: " + expectText(st, shares)}}
	}
	var out []edit
	for _, x := range st.Expect {
		plain := x.Op == "hold" || x.Op == "=" && x.Other == ""
		got, ok := shares[x.Backend]
		if plain && ok && x.column > 0 && x.broken(shares, st.Tolerance) != "" {
			out = append(out, edit{x.Line, x.column, x.Text, updateText(got)})
		}
	}
	return out
}

func expectText(st *Step, shares map[string]float64) string {
	var parts []string
	for _, c := range slices.Sorted(maps.Keys(shares)) {
		parts = append(parts, c+": "+updateText(shares[c]))
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// updateText is a share with as many digits as the tolerance can tell apart.
func updateText(v float64) string {
	if math.IsNaN(v) {
		return "hold"
	}
	t := fmt.Sprintf("%.2f", v*100)
	return strings.TrimSuffix(strings.TrimRight(t, "0"), ".") + "%"
}

// extents finds where each step's own lines end: a line that is missing goes
// there. A step ends where the next line is not deeper than its keys.
func (f *ScenarioFile) extents(sc *Scenario) {
	for i := range sc.Steps {
		st := &sc.Steps[i]
		last := st.Line
		for l := st.Line; l < len(f.lines); l++ { // f.lines[l] is line l+1
			text := strings.TrimRight(f.lines[l], " \t\r")
			indent := len(text) - len(strings.TrimLeft(text, " "))
			trimmed := strings.TrimLeft(text, " ")
			if trimmed == "" || strings.HasPrefix(trimmed, "#") {
				continue
			}
			if indent < st.keyColumn-1 || indent == st.keyColumn-1 && strings.HasPrefix(trimmed, "then:") {
				break
			}
			last = l + 1
		}
		st.lastLine = last
	}
}
