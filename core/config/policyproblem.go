// SPDX-License-Identifier: Apache-2.0

package config

import "strings"

// A PolicyProblem is one mistake in a policy, or in what a service asks of it.
type PolicyProblem struct {
	Policy  string // that does not load
	Service string // whose parameter does not fit, if Policy is empty; with both empty all is wrong
	Param   string
	Line    int // of the policy's script, from 1; 0 if it is not known

	Message, Hint string
}

// checkPolicies notes the problems at the places of their keys.
func (l *loader) checkPolicies(list []PolicyProblem) {
	for _, p := range list {
		if p.Policy == "" && p.Service == "" {
			l.ps.add(nowhere(0, l.opts.Path), "", p.Hint, "%s", p.Message)
			continue
		}
		key := join("services", join(p.Service, join("params", p.Param)))
		if p.Policy != "" {
			key = join("policies", join(p.Policy, "path"))
			if _, inline := l.places[join("policies", join(p.Policy, "lua"))]; inline {
				key = join("policies", join(p.Policy, "lua"))
			}
		}
		at := l.at(key)
		if where := l.places[key].key; p.Policy == "" && where.line > 0 {
			at = where
		}
		l.ps.add(l.scriptLine(at, p.Line), key, p.Hint, "%s", p.Message)
	}
}

// scriptLine is line n of the block of text that begins at at, or at itself if
// no such block does.
func (l *loader) scriptLine(at pos, n int) pos {
	lines := l.ps.lines[at.file()]
	if n <= 0 || at.line <= 0 || int(at.line)+n > len(lines) {
		return at
	}
	begin := []rune(lines[at.line-1])
	if int(at.col) > len(begin) || begin[at.col-1] != '|' {
		return at
	}
	line := lines[int(at.line)+n-1]
	text := strings.TrimSpace(line)
	return at.src.at(int(at.line)+n, 1+indent(line), max(1, len([]rune(text))))
}
