// SPDX-License-Identifier: Apache-2.0

package lua

import (
	"fmt"
	"math"
	"slices"
	"strings"

	lua "github.com/yuin/gopher-lua"

	"github.com/steelyard-lb/steelyard/plugins/abi"
)

// What a script may say in one call, as for a WASM module.
const (
	maxLines = 16
	maxLine  = 512 // bytes
)

// maxString is the longest string that string.rep and table.concat make.
const maxString = 1 << 20

// maxMatch is the longest text and pattern together that are matched: matching
// takes a level of the stack for each byte.
const maxMatch = 32 << 10

// globals are what a script finds. It is a list of what is let in, so that a
// later gopher-lua cannot add to it.
var globals = []string{
	"assert", "getmetatable", "ipairs", "next", "pairs", "pcall", "rawequal", "rawget", "rawset", "select",
	"setmetatable", "tonumber", "tostring", "type", "unpack", "xpcall", "_VERSION", "string", "table", "math",
}

// own are the globals that are not Lua's, or not as Lua has them.
var own = []string{"error", "print", "log", "hold"}

// absent tells why a well-known name is not there.
var absent = map[string]string{
	"os":             "a policy has no clock and no processes; the time is s.now",
	"io":             "a policy has no files; print and log write to the log",
	"require":        "a policy is one file",
	"module":         "a policy is one file",
	"package":        "a policy is one file",
	"load":           "a policy makes no code while it runs",
	"loadstring":     "a policy makes no code while it runs",
	"dofile":         "a policy is one file",
	"loadfile":       "a policy is one file",
	"debug":          "a policy sees nothing but its snapshot",
	"coroutine":      "schedule runs from its call to its return",
	"collectgarbage": "memory is the host's business",
	"_G":             "globals are set once, at the top of the file",
	"getfenv":        "globals are set once, at the top of the file",
	"setfenv":        "globals are set once, at the top of the file",
	"bit32":          "Lua 5.1 has no bit operations",
	"utf8":           "it came with Lua 5.3; this is 5.1",
}

// open gives l its libraries and nothing else.
func (m *machine) open() {
	l := m.l
	for name, f := range map[string]lua.LGFunction{
		lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable, lua.StringLibName: lua.OpenString, lua.MathLibName: lua.OpenMath,
	} {
		l.Push(l.NewFunction(f))
		l.Push(lua.LString(name))
		l.Call(1, 0)
	}
	g := l.G.Global
	var gone []string
	g.ForEach(func(k, _ lua.LValue) {
		if !slices.Contains(globals, k.String()) {
			gone = append(gone, k.String())
		}
	})
	for _, name := range gone {
		g.RawSetString(name, lua.LNil)
	}
	set := func(t *lua.LTable, name string, f lua.LGFunction) { t.RawSetString(name, l.NewFunction(f)) }
	set(g, "error", m.raise)
	set(g, "print", m.print)
	set(g, "log", m.log)
	g.RawSetString("hold", m.hold)
	math, str := g.RawGetString("math").(*lua.LTable), g.RawGetString("string").(*lua.LTable)
	math.RawSetString("huge", lua.LNumber(inf)) // gopher-lua has the largest finite number
	set(math, "random", m.next)
	set(math, "randomseed", m.seed)
	str.RawSetString("dump", lua.LNil)
	set(str, "rep", repeat)
	for _, name := range []string{"find", "match", "gmatch", "gfind", "gsub"} {
		if f, ok := str.RawGetString(name).(*lua.LFunction); ok {
			str.RawSetString(name, short(name, f))
		}
	}
	set(g.RawGetString("table").(*lua.LTable), "concat", concat)
}

var inf = math.Inf(1)

// raise is error(); it remembers the text, to tell an orderly refusal from a
// mistake.
func (m *machine) raise(l *lua.LState) int {
	v := l.Get(1)
	m.raised = v
	l.Error(v, l.OptInt(2, 1))
	return 0
}

func (m *machine) print(l *lua.LState) int {
	var b strings.Builder
	for i := 1; i <= l.GetTop() && b.Len() <= maxLine; i++ {
		if i > 1 {
			b.WriteByte('\t')
		}
		b.WriteString(l.ToStringMeta(l.Get(i)).String())
	}
	m.line(abi.LevelInfo, b.String())
	return 0
}

var levels = []string{"debug", "info", "warning", "error"}

// log takes a level, as a word or a number, and a text.
func (m *machine) log(l *lua.LState) int {
	level := 0
	switch v := l.Get(1).(type) {
	case lua.LNumber:
		level = int(min(max(v, 0), abi.LevelError))
	case lua.LString:
		if level = slices.Index(levels, string(v)); level < 0 {
			l.ArgError(1, fmt.Sprintf("the level is %s: want one of %s", quote(string(v)), strings.Join(levels, ", ")))
		}
	default:
		l.ArgError(1, "want a level, such as "+`log("info", text)`)
	}
	m.line(uint32(level), l.ToStringMeta(l.Get(2)).String())
	return 0
}

func (m *machine) line(level uint32, text string) {
	if len(m.lines) < maxLines {
		m.lines = append(m.lines, abi.Line{Level: level, Text: clip(text)})
	}
}

// clip makes a text fit for a line of the log.
func clip(s string) string {
	return strings.ToValidUTF8(s[:min(len(s), maxLine)], "?")
}

func repeat(l *lua.LState) int {
	s, n := l.CheckString(1), l.CheckInt(2)
	if n > 0 && len(s) > maxString/n {
		l.RaiseError("string.rep: %d times %d bytes is more than %d bytes", n, len(s), maxString)
	}
	l.Push(lua.LString(strings.Repeat(s, max(n, 0))))
	return 1
}

// short is a function of a text and a pattern that refuses long ones.
func short(name string, f *lua.LFunction) *lua.LFunction {
	bounded, match := *f, f.GFunction // with the upvalues of f
	bounded.GFunction = func(l *lua.LState) int {
		if n := len(lua.LVAsString(l.Get(1))) + len(lua.LVAsString(l.Get(2))); n > maxMatch {
			l.RaiseError("string.%s: text and pattern have %d bytes, at most %d are matched", name, n, maxMatch)
		}
		return match(l)
	}
	return &bounded
}

func concat(l *lua.LState) int {
	t, sep := l.CheckTable(1), l.OptString(2, "")
	i, j := l.OptInt(3, 1), l.OptInt(4, t.Len())
	var b strings.Builder
	for k := i; k <= j; k++ {
		v := t.RawGet(lua.LNumber(k))
		if !lua.LVCanConvToString(v) {
			l.RaiseError("invalid value (%s) at index %d in table for 'concat'", v.Type().String(), k)
		}
		b.WriteString(v.String())
		if k < j {
			b.WriteString(sep)
		}
		if b.Len() > maxString {
			l.RaiseError("table.concat: the result has more than %d bytes", maxString)
		}
	}
	l.Push(lua.LString(b.String()))
	return 1
}
