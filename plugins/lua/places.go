// SPDX-License-Identifier: Apache-2.0

package lua

import (
	"fmt"

	"github.com/yuin/gopher-lua/ast"
)

// places are the lines of the table policy, by path: policy, policy.reads[2],
// policy.params[1].max. What the script does not write down as one table has
// none.
type places map[string]int

func policyPlaces(chunk []ast.Stmt) places {
	p := places{}
	for _, s := range chunk {
		a, ok := s.(*ast.AssignStmt)
		if !ok {
			continue
		}
		for i, left := range a.Lhs {
			if id, ok := left.(*ast.IdentExpr); ok && id.Value == "policy" && i < len(a.Rhs) {
				p.add("policy", a.Rhs[i], 3)
			}
		}
	}
	return p
}

// add notes where a value stands, and where the entries of a table do, so many
// levels deep.
func (p places) add(path string, e ast.Expr, levels int) {
	p[path] = e.Line()
	t, ok := e.(*ast.TableExpr)
	if !ok || levels == 0 {
		return
	}
	index := 0
	for _, f := range t.Fields {
		key, named := f.Key.(*ast.StringExpr)
		switch {
		case named:
			p.add(path+"."+key.Value, f.Value, levels-1)
			if line := key.Line(); line > 0 {
				p[path+"."+key.Value] = line
			}
		case f.Key == nil:
			index++
			p.add(fmt.Sprintf("%s[%d]", path, index), f.Value, levels-1)
		}
	}
}

// prefix is the name of the file with the line of a path, or of what it is in.
func (p places) prefix(paths ...string) string {
	for _, path := range paths {
		if line := p[path]; line > 0 {
			return fmt.Sprintf("%s:%d", File, line)
		}
	}
	return File
}
