// SPDX-License-Identifier: Apache-2.0

package lua

import "github.com/yuin/gopher-lua/ast"

func (c *checker) stmts(stmts []ast.Stmt) {
	if !c.enter() {
		return
	}
	defer c.leave()
	for _, s := range stmts {
		c.line = c.lineOf(s)
		c.stmt(s)
	}
}

func (c *checker) stmt(s ast.Stmt) {
	switch s := s.(type) {
	case *ast.AssignStmt:
		c.exprs(s.Rhs)
		for _, e := range s.Lhs {
			c.assign(e)
		}
	case *ast.LocalAssignStmt:
		c.local(s)
	case *ast.FuncCallStmt:
		c.expr(s.Expr)
	case *ast.FuncDefStmt:
		c.define(s)
	case *ast.ReturnStmt:
		c.exprs(s.Exprs)
	case *ast.DoBlockStmt:
		c.block(s.Stmts)
	case *ast.WhileStmt:
		c.expr(s.Condition)
		c.block(s.Stmts)
	case *ast.RepeatStmt:
		c.repeat(s)
	case *ast.IfStmt:
		c.expr(s.Condition)
		c.block(s.Then)
		c.block(s.Else)
	case *ast.NumberForStmt:
		c.exprs([]ast.Expr{s.Init, s.Limit, s.Step})
		c.block(s.Stmts, s.Name)
	case *ast.GenericForStmt:
		c.exprs(s.Exprs)
		c.block(s.Stmts, s.Names...)
	}
}

func (c *checker) local(s *ast.LocalAssignStmt) {
	if len(s.Names) == 1 && len(s.Exprs) == 1 {
		if f, ok := s.Exprs[0].(*ast.FunctionExpr); ok {
			c.declare(s.Names[0]) // local function: it may call itself
			c.body(f)
			return
		}
	}
	c.exprs(s.Exprs)
	c.declare(s.Names...)
}

func (c *checker) define(s *ast.FuncDefStmt) {
	if s.Name.Func != nil {
		c.assign(s.Name.Func)
		c.body(s.Func)
		return
	}
	c.expr(s.Name.Receiver)
	c.body(s.Func, "self")
}

// repeat is a block whose condition sees its variables.
func (c *checker) repeat(s *ast.RepeatStmt) {
	c.scopes = append(c.scopes, scope{function: c.function})
	c.stmts(s.Stmts)
	c.expr(s.Condition)
	c.scopes = c.scopes[:len(c.scopes)-1]
}

func (c *checker) exprs(es []ast.Expr) {
	for _, e := range es {
		c.expr(e)
	}
}

func (c *checker) expr(e ast.Expr) {
	if e == nil || !c.enter() {
		return
	}
	defer c.leave()
	switch e := e.(type) {
	case *ast.IdentExpr:
		if c.where(e.Value) == global {
			c.read = append(c.read, use{e.Value, c.lineOf(e)})
		}
	case *ast.AttrGetExpr:
		c.expr(e.Object)
		c.expr(e.Key)
	case *ast.TableExpr:
		for _, f := range e.Fields {
			c.expr(f.Key)
			c.expr(f.Value)
		}
	case *ast.FuncCallExpr:
		c.expr(e.Func)
		c.expr(e.Receiver)
		c.exprs(e.Args)
	case *ast.FunctionExpr:
		c.body(e)
	case *ast.LogicalOpExpr:
		c.exprs([]ast.Expr{e.Lhs, e.Rhs})
	case *ast.RelationalOpExpr:
		c.exprs([]ast.Expr{e.Lhs, e.Rhs})
	case *ast.StringConcatOpExpr:
		c.exprs([]ast.Expr{e.Lhs, e.Rhs})
	case *ast.ArithmeticOpExpr:
		c.exprs([]ast.Expr{e.Lhs, e.Rhs})
	case *ast.UnaryMinusOpExpr:
		c.expr(e.Expr)
	case *ast.UnaryNotOpExpr:
		c.expr(e.Expr)
	case *ast.UnaryLenOpExpr:
		c.expr(e.Expr)
	}
}
