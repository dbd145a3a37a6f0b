// SPDX-License-Identifier: Apache-2.0

package suite

import (
	"fmt"
	"math"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// operators of a statement, longer ones first.
var operators = []string{">=", "<=", ">", "<", "="}

const expectHelp = `as in {a: 80%, b: hold, c: 5%..10%} or ["a > b", "a >= 50%"]`

// expect reads a map from backends to shares, or a list of statements.
func (r *yamlReader) expect(n ast.Node) []Expect {
	var out []Expect
	if list, ok := n.(*ast.SequenceNode); ok {
		for _, n := range list.Values {
			if text, ok := r.text(n, "expect"); ok {
				out = append(out, r.statement(n, text))
			}
		}
		return out
	}
	for _, e := range r.entries(n, "expect", nil) {
		text, ok := r.text(e.value, e.key)
		if !ok {
			continue
		}
		x, err := parseExpect(text)
		if err != nil {
			r.problem(e.value, expectHelp, "expect %s: %v", e.key, err)
			continue
		}
		at := e.value.GetToken().Position
		x.Backend, x.Line, x.Text, x.column = e.key, at.Line, text, at.Column
		out = append(out, x)
	}
	return out
}

// statement reads "a > b".
func (r *yamlReader) statement(n ast.Node, text string) Expect {
	for _, op := range operators {
		left, right, ok := strings.Cut(text, op)
		if !ok {
			continue
		}
		x, err := parseExpect(op + right)
		if err != nil {
			r.problem(n, expectHelp, "expect %q: %v", text, err)
		}
		x.Backend, x.Line, x.Text = strings.TrimSpace(left), n.GetToken().Position.Line, text
		return x
	}
	r.problem(n, expectHelp, "expect %q: no comparison", text)
	return Expect{}
}

// parseExpect reads what is said about one backend.
func parseExpect(text string) (Expect, error) {
	t := strings.TrimSpace(text)
	op := "="
	for _, o := range operators {
		if rest, ok := strings.CutPrefix(t, o); ok {
			op, t = o, strings.TrimSpace(rest)
			break
		}
	}
	if t == "hold" && op == "=" {
		return Expect{Op: "hold"}, nil
	}
	if low, high, ok := strings.Cut(t, ".."); ok {
		x := Expect{Op: ".."}
		var err error
		if x.Value, err = parseShare(low); err != nil {
			return x, err
		}
		x.High, err = parseShare(high)
		if err == nil && x.High < x.Value {
			err = fmt.Errorf("%s is below %s", high, low)
		}
		return x, err
	}
	v, err := parseShare(t)
	if err == nil {
		return Expect{Op: op, Value: v}, nil
	}
	if strings.HasSuffix(t, "%") || t == "" || strings.ContainsAny(t[:1], "0123456789.-+") {
		return Expect{}, err
	}
	return Expect{Op: op, Other: t}, nil
}

func parseShare(text string) (float64, error) {
	v, err := parseNumber(text)
	if err == nil && !(0 <= v && v <= 1) {
		err = fmt.Errorf("%q is no share: want 0 to 1, or 0%% to 100%%", text)
	}
	return v, err
}

// broken tells how an answer is not what x wants; empty if it is.
func (x Expect) broken(shares map[string]float64, tolerance float64) string {
	got, ok := shares[x.Backend]
	if !ok {
		return fmt.Sprintf("there is no backend %s", x.Backend)
	}
	is := fmt.Sprintf("share of %s is %s", x.Backend, shareText(got))
	want := x.Value
	if x.Other != "" {
		if want, ok = shares[x.Other]; !ok {
			return fmt.Sprintf("there is no backend %s", x.Other)
		}
	}
	if x.holds(got, want, tolerance) {
		return ""
	}
	text := shareText(want)
	if x.Other != "" {
		text = fmt.Sprintf("that of %s, %s", x.Other, shareText(want))
	}
	switch x.Op {
	case "hold":
		return is + ", want hold"
	case "..":
		return fmt.Sprintf("%s, want %s to %s", is, shareText(x.Value), shareText(x.High))
	case "=":
		return fmt.Sprintf("%s, want %s ± %s", is, text, shareText(tolerance))
	}
	return fmt.Sprintf("%s, want it %s %s", is, x.Op, text)
}

func (x Expect) holds(got, want, tolerance float64) bool {
	switch x.Op {
	case "hold":
		return math.IsNaN(got)
	case "..":
		return x.Value-tolerance <= got && got <= x.High+tolerance
	case "<":
		return got < want
	case "<=":
		return got <= want+tolerance
	case ">":
		return got > want
	case ">=":
		return got >= want-tolerance
	}
	return math.Abs(got-want) <= tolerance
}
