// SPDX-License-Identifier: Apache-2.0

package suite

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

var (
	fileKeys = []string{"allow", "scenarios"}
	stepKeys = []string{"seconds", "repeat", "now", "params", "backends", "expect", "tolerance", "refused"}
	headKeys = append([]string{"name", "then"}, stepKeys...)
)

// ReadScenarios reads a scenario file. An error is *Problems.
func ReadScenarios(path string, data []byte) (*ScenarioFile, error) {
	r := &yamlReader{&Problems{Path: path}}
	f := &ScenarioFile{Path: path, lines: strings.Split(string(data), "\n")}
	if root := r.parse(data); root != nil {
		r.file(root, f)
	}
	if len(r.problems.List) > 0 {
		return nil, r.problems
	}
	for i := range f.Scenarios {
		f.extents(&f.Scenarios[i])
	}
	return f, nil
}

func (r *yamlReader) file(root ast.Node, f *ScenarioFile) {
	names := map[string]bool{}
	for _, e := range r.entries(root, "the file", fileKeys) {
		switch e.key {
		case "allow":
			for _, n := range r.items(e.value, "allow") {
				if v, ok := r.text(n, "allow"); ok && !slices.Contains(Allowed, v) {
					r.problem(n, oneOf(v, Allowed), "allow: no property %q", v)
				} else if ok {
					f.Allow = append(f.Allow, v)
				}
			}
		case "scenarios":
			for _, n := range r.items(e.value, "scenarios") {
				s := r.scenario(n)
				if s.Name != "" && names[s.Name] {
					r.problem(n, "", "scenario %q is there twice", s.Name)
				}
				names[s.Name] = true
				f.Scenarios = append(f.Scenarios, s)
			}
		}
	}
}

func (r *yamlReader) scenario(n ast.Node) Scenario {
	s := Scenario{Line: n.GetToken().Position.Line}
	head := r.entries(n, "a scenario", headKeys)
	var own []entry
	var then ast.Node
	for _, e := range head {
		switch e.key {
		case "name":
			s.Name, _ = r.text(e.value, "name")
		case "then":
			then = e.value
		default:
			own = append(own, e)
		}
	}
	if len(head) > 0 {
		s.Line = head[0].line
	}
	if s.Name == "" {
		r.problem(n, "", "a scenario has no name")
	}
	s.Steps = []Step{r.step(own, s.Line, head)}
	if then == nil {
		return s
	}
	for _, n := range r.items(then, "then") {
		entries := r.entries(n, "a step", stepKeys)
		line := n.GetToken().Position.Line
		if len(entries) > 0 {
			line = entries[0].line
		}
		s.Steps = append(s.Steps, r.step(entries, line, entries))
	}
	return s
}

func (r *yamlReader) step(entries []entry, line int, keys []entry) Step {
	s := Step{Line: line, Seconds: -1, Repeat: 1, Tolerance: scenarioTolerance}
	if len(keys) > 0 {
		s.keyColumn = keys[0].col
	}
	for _, e := range entries {
		switch e.key {
		case "seconds":
			s.Seconds = r.number(e.value, e.key, 0, 1e9)
		case "repeat":
			s.Repeat = int(r.number(e.value, e.key, 1, maxRepeat))
		case "tolerance":
			s.Tolerance = r.number(e.value, e.key, 0, 1)
		case "now":
			s.Now = r.time(e.value)
		case "refused":
			if v, ok := r.text(e.value, e.key); ok {
				s.Refused = &v
			}
		case "params":
			s.Params = map[string]float64{}
			for _, p := range r.entries(e.value, "params", nil) {
				s.Params[p.key] = r.number(p.value, p.key, -1e300, 1e300)
			}
		case "backends":
			for _, b := range r.entries(e.value, "backends", nil) {
				s.Backends = append(s.Backends, r.backend(b))
			}
		case "expect":
			s.Expect = r.expect(e.value)
		}
	}
	return s
}

func (r *yamlReader) time(n ast.Node) time.Time {
	v, ok := r.text(n, "now")
	t, err := time.Parse(time.RFC3339, v)
	if ok && err != nil {
		r.problem(n, "as in 2026-03-04T12:00:00+01:00: the zone is that of the node", "now: %q is no time", v)
	}
	return t
}

// number reads a number, a share in percent or a time with its unit, in seconds.
func (r *yamlReader) number(n ast.Node, what string, least, most float64) float64 {
	text, ok := r.text(n, what)
	if !ok {
		return least
	}
	v, err := parseNumber(text)
	if err != nil {
		r.problem(n, "", "%s: %v", what, err)
		return least
	}
	if !(least <= v && v <= most) {
		r.problem(n, "", "%s is %s: want %g to %g", what, text, least, most)
		return least
	}
	return v
}

func parseNumber(text string) (float64, error) {
	t := strings.TrimSpace(text)
	if p, ok := strings.CutSuffix(t, "%"); ok {
		if v, err := strconv.ParseFloat(strings.TrimSpace(p), 64); err == nil {
			return v / 100, nil
		}
	} else if v, err := strconv.ParseFloat(t, 64); err == nil {
		return v, nil
	} else if d, err := time.ParseDuration(strings.ReplaceAll(t, " ", "")); err == nil {
		return d.Seconds(), nil
	} else if t == "true" || t == "false" {
		if t == "true" {
			return 1, nil
		}
		return 0, nil
	}
	return 0, fmt.Errorf("%q is no number, as in 0.2, 20%% or 20ms", text)
}
