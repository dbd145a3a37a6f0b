// SPDX-License-Identifier: Apache-2.0

package lua

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	lua "github.com/yuin/gopher-lua"

	"github.com/steelyard-lb/steelyard/plugins/abi"
)

// Limits of the interpreter. A number in the registry takes 16 bytes.
const (
	callDepth   = 512
	registry    = 4 << 10
	registryMax = 128 << 10
	// arrayMax is the first index that does not make gopher-lua lay out an array
	// up to it: t[60000000] = 1 would take 1 GB in one instruction.
	arrayMax = 128 << 10
)

// bound sets the one limit that gopher-lua has for the whole process.
var bound = sync.OnceFunc(func() { lua.MaxArrayIndex = arrayMax })

// A machine is a Lua state with the script in it.
type machine struct {
	l        *lua.LState
	hold     *lua.LUserData
	policy   *policy
	schedule *lua.LFunction

	// view is the snapshot of the call that is going on.
	view    view
	s       *shelf
	shelves []*shelf // s.metric, s.metric_age, s.state
	params  *lua.LTable
	service *lua.LTable
	state   *shelf
	// fixtures are the tables in s. They are put back if the script took one away.
	fixtures []fixture

	lines  []abi.Line
	raised lua.LValue // by error(), in this call
	random uint64
}

type fixture struct {
	name  string
	table lua.LValue
}

func newMachine() *machine {
	bound()
	m := &machine{l: lua.NewState(lua.Options{
		SkipOpenLibs: true, CallStackSize: callDepth,
		RegistrySize: registry, RegistryMaxSize: registryMax, RegistryGrowStep: registry,
	})}
	m.hold = m.l.NewUserData()
	mt := m.l.NewTable()
	mt.RawSetString("__tostring", m.l.NewFunction(func(l *lua.LState) int {
		l.Push(lua.LString("hold"))
		return 1
	}))
	mt.RawSetString("__metatable", lua.LString("locked"))
	m.hold.Metatable = mt
	m.open()
	return m
}

// define runs the script, and takes the policy and schedule from it.
func (m *machine) define(proto *lua.FunctionProto, at places) (err error) {
	defer recovered(&err)
	if err := m.run(m.l.NewFunctionFromProto(proto), 0); err != nil {
		return err
	}
	if m.policy, err = readPolicy(m.l.G.Global.RawGetString("policy"), at); err != nil {
		return err
	}
	f := m.l.G.Global.RawGetString("schedule")
	fn, ok := f.(*lua.LFunction)
	switch {
	case f == lua.LNil:
		return fmt.Errorf("%s: there is no function schedule(s): it gives each backend its weight, and is not local", File)
	case !ok:
		return fmt.Errorf("%s: schedule is %s: want a function", File, describe(f))
	}
	m.schedule = fn
	m.furnish()
	return nil
}

// furnish makes s and what hangs on it.
func (m *machine) furnish() {
	l, p, v := m.l, m.policy, &m.view
	m.s = newShelf(l, "s", v, m.find)
	list := func(path string, kind kind, block int, names []string, where string) *shelf {
		return newShelf(l, path, v, func(name string) (source, string) {
			k := slices.Index(names, name)
			if k < 0 {
				return source{}, fmt.Sprintf("%s does not name %s: %s", where, quote(name), unknown(name, names))
			}
			return source{kind: kind, block: block, off: k}, ""
		})
	}
	m.state = list("s.state", kindState, inState, p.backendState, "policy.backend_state")
	m.shelves = []*shelf{m.state,
		list("s.metric", kindF64, inMetrics, p.Metrics, "policy.metrics"),
		list("s.metric_age", kindF32, inMetricAges, p.Metrics, "policy.metrics")}
	// State must be written back even if only one column of it was looked at, so
	// all of it is there from the beginning.
	for k, name := range p.backendState {
		c := &column{source: source{kind: kindState, block: inState, off: k}, name: name, table: l.NewTable()}
		m.state.columns = append(m.state.columns, c)
	}
	scalars := func(path, where string, names []string) *lua.LTable {
		t := l.NewTable()
		protect(l, t, path, func(l *lua.LState, name string) lua.LValue {
			if !slices.Contains(names, name) {
				l.RaiseError("%s does not name %s: %s", where, quote(name), unknown(name, names))
			}
			return lua.LNil
		})
		return t
	}
	var names []string
	for _, q := range p.Params {
		names = append(names, q.Name)
	}
	m.params = scalars("s.param", "policy.params", names)
	m.service = scalars("s.service", "policy.service_state", p.serviceState)
	m.fixtures = []fixture{{"state", m.state.table}, {"metric", m.shelves[1].table}, {"metric_age", m.shelves[2].table},
		{"param", m.params}, {"service", m.service}}
}

// find looks up a column of s.
func (m *machine) find(name string) (source, string) {
	src, ok := sources[name]
	if !ok {
		known := []string{"n", "seconds", "now", "utc_offset", "seq", "param", "metric", "metric_age", "state", "service"}
		for k := range sources {
			known = append(known, k)
		}
		slices.Sort(known)
		return src, fmt.Sprintf("there is no s.%s: %s", name, unknown(name, known))
	}
	if src.reading != "" && m.policy.Reads != nil && !slices.Contains(m.policy.Reads, src.reading) {
		return src, fmt.Sprintf("s.%s is not given: add %q to policy.reads", name, src.reading)
	}
	return src, ""
}

// run calls a function with the values on the stack as its arguments; nret
// results are left on the stack.
func (m *machine) run(fn *lua.LFunction, nret int, args ...lua.LValue) error {
	m.raised = nil
	m.l.Push(fn)
	for _, a := range args {
		m.l.Push(a)
	}
	err := m.l.PCall(len(args), nret, nil)
	if err == nil {
		return nil
	}
	var e *lua.ApiError
	if !errors.As(err, &e) {
		return fmt.Errorf("%s: %w", File, err)
	}
	text, ok := e.Object.(lua.LString)
	switch {
	case e.Type == lua.ApiErrorPanic:
		return fmt.Errorf("%s: %w: %s", File, errPanic, firstLine(string(text)))
	case !ok:
		return fmt.Errorf("%s: error() was given %s: want a text", File, describe(e.Object))
	case m.raised != nil && strings.HasSuffix(string(text), m.raised.String()):
		return fmt.Errorf("%w: %s", errRefused, firstLine(string(text)))
	}
	return errors.New(firstLine(string(text)))
}

// errRefused is an orderly refusal, by error().
var errRefused = errors.New("the policy answered with an error")

// firstLine is what of a text goes into an error.
func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return clip(s)
}
