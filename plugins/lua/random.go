// SPDX-License-Identifier: Apache-2.0

package lua

import (
	"math"

	lua "github.com/yuin/gopher-lua"
)

// rand is splitmix64, as for a WASM module.
func (m *machine) rand() uint64 {
	m.random += 0x9E3779B97F4A7C15
	z := m.random
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	return z ^ z>>31
}

// next is math.random: from 0 to below 1, or a whole number from 1, or from the
// first argument, to the last.
func (m *machine) next(l *lua.LState) int {
	x := float64(m.rand()>>11) / (1 << 53)
	low, high := 1.0, 0.0
	switch l.GetTop() {
	case 0:
		l.Push(lua.LNumber(x))
		return 1
	case 1:
		high = float64(l.CheckNumber(1))
	default:
		low, high = float64(l.CheckNumber(1)), float64(l.CheckNumber(2))
	}
	if low, high = math.Floor(low), math.Floor(high); !(low <= high) {
		l.ArgError(l.GetTop(), "interval is empty")
	}
	l.Push(lua.LNumber(math.Floor(x*(high-low+1)) + low))
	return 1
}

// seed is math.randomseed. It holds until the end of the call: the next begins
// with its snapshot's seed.
func (m *machine) seed(l *lua.LState) int {
	m.random = math.Float64bits(float64(l.CheckNumber(1)))
	return 0
}
