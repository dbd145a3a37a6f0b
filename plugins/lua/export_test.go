// SPDX-License-Identifier: Apache-2.0

package lua

import (
	"maps"
	"slices"

	lua "github.com/yuin/gopher-lua"
)

// Compile is Load without the run, which may take for ever.
func Compile(code []byte) error {
	chunk, err := (&Module{}).parse(code)
	if err != nil {
		return err
	}
	_, err = compile(chunk)
	return err
}

// BreakLog makes log a function with a mistake of Go in it, until the machine is
// made anew.
func (m *Module) BreakLog() {
	m.machine.l.G.Global.RawSetString("log", m.machine.l.NewFunction(func(*lua.LState) int {
		var nothing []int
		return nothing[len(m.lines)]
	}))
}

// Columns are the names of the columns of s.
func Columns() []string { return slices.Sorted(maps.Keys(sources)) }
