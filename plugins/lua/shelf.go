// SPDX-License-Identifier: Apache-2.0

package lua

import (
	lua "github.com/yuin/gopher-lua"
)

// A shelf is a table of columns, such as s or s.metric. A column comes to be
// when the script asks for it the first time, and is filled at each call from
// then on: what a script does not look at costs nothing.
type shelf struct {
	path    string // how the script calls it
	table   *lua.LTable
	columns []*column
	// find says where a column comes from, or what is wrong with its name.
	find func(name string) (source, string)
}

// newShelf makes the table. view is the snapshot of the call that is going on.
func newShelf(l *lua.LState, path string, v *view, find func(string) (source, string)) *shelf {
	s := &shelf{path: path, table: l.NewTable(), find: find}
	protect(l, s.table, path, func(l *lua.LState, name string) lua.LValue {
		src, wrong := s.find(name)
		if wrong != "" {
			l.RaiseError("%s", wrong)
		}
		c := &column{source: src, name: name, table: l.CreateTable(v.n, 0)}
		c.fill(v)
		s.columns = append(s.columns, c)
		s.table.RawSetString(name, c.table)
		return c.table
	})
	return s
}

// fill fills the columns that the script uses, and puts back one that it
// replaced.
func (s *shelf) fill(v *view) {
	for _, c := range s.columns {
		c.fill(v)
		if s.table.RawGetString(c.name) != c.table {
			s.table.RawSetString(c.name, c.table)
		}
	}
}

// protect makes reading a key that a table does not have a call of missing, and
// writing one an error.
func protect(l *lua.LState, t *lua.LTable, path string, missing func(l *lua.LState, name string) lua.LValue) {
	mt := l.NewTable()
	mt.RawSetString("__index", l.NewFunction(func(l *lua.LState) int {
		name, ok := l.Get(2).(lua.LString)
		if !ok {
			l.RaiseError("%s has no [%s]: it has names, such as %s.%s", path, l.Get(2).String(), path, "name")
		}
		l.Push(missing(l, string(name)))
		return 1
	}))
	mt.RawSetString("__newindex", l.NewFunction(func(l *lua.LState) int {
		l.RaiseError("%s.%s cannot be set: keep what the next call needs in s.state or s.service, and the rest in local variables",
			path, l.Get(2).String())
		return 0
	}))
	mt.RawSetString("__metatable", lua.LString("locked"))
	t.Metatable = mt
}
