// SPDX-License-Identifier: Apache-2.0

package lua

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/yuin/gopher-lua/ast"

	"github.com/steelyard-lb/steelyard/core"
)

// maxNesting bounds how deep a script nests, so that neither this check nor the
// compiler behind it runs out of stack.
const maxNesting = 1000

// maxProblems is how many mistakes are told at once.
const maxProblems = 5

// A checker looks for what Lua would only tell in the middle of a call, or
// never: a name that nothing sets, and a function that keeps something in a
// variable of the file, where a worker that restarts forgets it.
type checker struct {
	scopes   []scope
	function int // how many functions deep; 0 is the file
	depth    int
	line     int // of the statement at hand

	set      map[string]bool // globals that the file sets
	read     []use           // globals that it reads
	problems []string
	warnings []string
}

// A scope is a block: its local variables, and the function that it is in.
type scope struct {
	names    map[string]bool
	function int
}

// A use is a name in a line.
type use struct {
	name string
	line int
}

const (
	global = -1 // no scope has the name
	file   = 0  // a local variable of the file
)

// check looks at a whole script.
func check(chunk []ast.Stmt) *checker {
	c := &checker{set: map[string]bool{}}
	c.block(chunk)
	known := append(append([]string{}, globals...), own...)
	for name := range c.set {
		known = append(known, name)
	}
	slices.Sort(known)
	var told []string
	for _, u := range c.read {
		if slices.Contains(known, u.name) || slices.Contains(told, u.name) {
			continue
		}
		told = append(told, u.name)
		c.problem(u.line, "%s", unset(u.name, known))
	}
	return c
}

func unset(name string, known []string) string {
	if why := absent[name]; why != "" {
		return fmt.Sprintf("there is no %s here: %s", name, why)
	}
	if near := core.Nearest(name, known); near != "" {
		return fmt.Sprintf("nothing sets %s: did you mean %s?", name, near)
	}
	return fmt.Sprintf("nothing sets %s: it would be nil", name)
}

func (c *checker) err() error {
	if len(c.problems) == 0 {
		return nil
	}
	return errors.New(strings.Join(c.problems[:min(len(c.problems), maxProblems)], "; "))
}

func (c *checker) problem(line int, format string, args ...any) {
	c.problems = append(c.problems, fmt.Sprintf("%s:%d: ", File, line)+fmt.Sprintf(format, args...))
}

// enter counts how deep it is; false is too deep.
func (c *checker) enter() bool {
	c.depth++
	if c.depth == maxNesting {
		c.problem(c.line, "more than %d things within one another", maxNesting)
	}
	return c.depth < maxNesting
}

func (c *checker) leave() { c.depth-- }

// where is the function whose variable a name is: file, more than that, or
// global.
func (c *checker) where(name string) int {
	for _, s := range slices.Backward(c.scopes) {
		if s.names[name] {
			return s.function
		}
	}
	return global
}

func (c *checker) declare(names ...string) {
	s := &c.scopes[len(c.scopes)-1]
	for _, name := range names {
		if s.names == nil {
			s.names = map[string]bool{}
		}
		s.names[name] = true
	}
}

// block looks at statements in a scope of their own; names are declared in it.
func (c *checker) block(stmts []ast.Stmt, names ...string) {
	c.scopes = append(c.scopes, scope{function: c.function})
	c.declare(names...)
	c.stmts(stmts)
	c.scopes = c.scopes[:len(c.scopes)-1]
}

func (c *checker) body(f *ast.FunctionExpr, names ...string) {
	c.function++
	c.block(f.Stmts, append(names, f.ParList.Names...)...)
	c.function--
}

// assign is an assignment to a name, or to a field of what it holds.
func (c *checker) assign(target ast.Expr) {
	switch e := target.(type) {
	case *ast.IdentExpr:
		at := c.where(e.Value)
		if at == global {
			c.set[e.Value] = true
		}
		if c.function > 0 && at <= file {
			c.problem(c.lineOf(e), "a function assigns to %s, which belongs to the file: "+
				"keep what the next call needs in s.state or s.service, or say local %s", e.Value, e.Value)
		}
	case *ast.AttrGetExpr:
		if root, ok := root(e); ok && c.function > 0 && c.where(root.Value) <= file {
			c.warnings = append(c.warnings, fmt.Sprintf("%s:%d: a function writes into %s, which belongs to the file: "+
				"what is there is lost whenever the worker restarts; what the next call needs belongs in s.state or s.service",
				File, c.lineOf(e), root.Value))
		}
		c.expr(e)
	default:
		c.expr(e)
	}
}

// root is the name that a.b[c] begins with.
func root(e ast.Expr) (*ast.IdentExpr, bool) {
	for {
		switch x := e.(type) {
		case *ast.IdentExpr:
			return x, true
		case *ast.AttrGetExpr:
			e = x.Object
		default:
			return nil, false
		}
	}
}

func (c *checker) lineOf(p ast.PositionHolder) int {
	if p.Line() > 0 {
		return p.Line()
	}
	return c.line
}
