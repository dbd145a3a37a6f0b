// SPDX-License-Identifier: Apache-2.0

package lua

import (
	"fmt"
	"math"

	lua "github.com/yuin/gopher-lua"

	"github.com/steelyard-lb/steelyard/plugins/abi"
)

// call runs schedule on a snapshot and appends the answer to dst.
func (m *machine) call(dst []byte, v *view) (out []byte, err error) {
	defer recovered(&err)
	m.lines, m.view, m.random = m.lines[:0], *v, abi.Seed(v.b)
	m.fill()
	err = m.run(m.schedule, 1, m.s.table)
	if err != nil {
		return dst, err
	}
	answer := m.l.Get(-1)
	m.l.Pop(1)
	from := abi.AnswerOffset(v.b)
	dst = append(dst, v.b[from:]...)
	part := dst[len(dst)-(len(v.b)-int(from)):]
	if err := m.putState(part, int(from)); err != nil {
		return dst, err
	}
	return dst, m.putWeights(part[v.out-int(from):], answer)
}

// fill puts the snapshot into the tables that the script sees.
func (m *machine) fill() {
	v, t := &m.view, m.s.table
	m.s.fill(v)
	for _, s := range m.shelves {
		s.fill(v)
	}
	scalar(t, "n", float64(v.n))
	scalar(t, "seconds", v.f64(abi.OffSeconds))
	scalar(t, "now", float64(int64(le.Uint64(v.b[abi.OffUnixNano:])))/1e9)
	scalar(t, "utc_offset", float64(int32(le.Uint32(v.b[abi.OffUTCOffset:]))))
	scalar(t, "seq", float64(le.Uint64(v.b[abi.OffSeq:])))
	for i, q := range m.policy.Params {
		x := math.NaN()
		if i < v.nParams {
			x = v.f64(v.params + i*8)
		}
		if math.IsNaN(x) {
			x = q.Default
		}
		if q.Type == "boolean" {
			t := lua.LBool(x != 0)
			m.params.RawSetString(q.Name, t)
			continue
		}
		scalar(m.params, q.Name, x)
	}
	for i, name := range m.policy.serviceState {
		x := v.f64(v.service + i*8)
		if math.IsNaN(x) {
			x = 0
		}
		scalar(m.service, name, x)
	}
	for _, f := range m.fixtures {
		if t.RawGetString(f.name) != f.table {
			t.RawSetString(f.name, f.table)
		}
	}
}

// scalar sets a number if it is another one: that saves an allocation.
func scalar(t *lua.LTable, name string, x float64) {
	if old, ok := t.RawGetString(name).(lua.LNumber); !ok || float64(old) != x {
		t.RawSetString(name, lua.LNumber(x))
	}
}

// putState writes the state into the answer, which begins at from in the
// snapshot.
func (m *machine) putState(part []byte, from int) error {
	v := &m.view
	if m.s.table.RawGetString("state") != m.state.table || m.s.table.RawGetString("service") != m.service {
		return fmt.Errorf("%s: s.state or s.service was replaced: set its fields instead", File)
	}
	for i, name := range m.policy.serviceState {
		x, ok := stateNumber(m.service.RawGetString(name))
		if !ok {
			return fmt.Errorf("%s: s.service.%s is %s: want a number", File, name, describe(m.service.RawGetString(name)))
		}
		le.PutUint64(part[v.service-from+i*8:], math.Float64bits(x))
	}
	for k, name := range m.policy.backendState {
		t, ok := m.state.table.RawGetString(name).(*lua.LTable)
		if !ok {
			return fmt.Errorf("%s: s.state.%s is %s: want a list of %d numbers", File, name, describe(m.state.table.RawGetString(name)), v.n)
		}
		at := v.state - from + k*8
		for i := range v.n {
			x, ok := stateNumber(t.RawGetInt(i + 1))
			if !ok {
				return fmt.Errorf("%s: s.state.%s[%d] is %s: want a number", File, name, i+1, describe(t.RawGetInt(i+1)))
			}
			le.PutUint64(part[at+i*v.stateStride:], math.Float64bits(x))
		}
	}
	return nil
}

// stateNumber is a value of the state. NaN would come back in every call after.
func stateNumber(v lua.LValue) (float64, bool) {
	x, ok := v.(lua.LNumber)
	return float64(x), ok && x == x
}

// putWeights writes the list that schedule returned, scaled so that the largest
// weight is abi.MaxWeight. A weight above zero stays above zero.
func (m *machine) putWeights(out []byte, answer lua.LValue) error {
	n := m.view.n
	t, ok := answer.(*lua.LTable)
	if !ok {
		return fmt.Errorf("%s: schedule returned %s: want a list of %d weights", File, describe(answer), n)
	}
	top := 0.0
	for i := range n {
		w := t.RawGetInt(i + 1)
		x, ok := w.(lua.LNumber)
		if !ok && w == m.hold {
			continue
		}
		if !ok || !(x >= 0) || math.IsInf(float64(x), 1) {
			return m.badWeight(i+1, w, t.Len())
		}
		top = max(top, float64(x))
	}
	if more := t.RawGetInt(n + 1); more != lua.LNil {
		return fmt.Errorf("%s: schedule returned %d weights for %d backends", File, t.Len(), n)
	}
	for i := range n {
		word := uint32(abi.HoldWeight)
		if x, ok := t.RawGetInt(i + 1).(lua.LNumber); ok {
			word = uint32(float64(x) / top * abi.MaxWeight)
			switch {
			case x == 0:
				word = 0
			case word == 0:
				word = 1
			}
		}
		le.PutUint32(out[i*4:], word)
	}
	return nil
}

func (m *machine) badWeight(i int, w lua.LValue, have int) error {
	if w == lua.LNil && have < i {
		return fmt.Errorf("%s: schedule returned %d weights for %d backends: backend %d has none", File, have, m.view.n, i)
	}
	what := describe(w)
	if x, ok := w.(lua.LNumber); ok {
		switch {
		case x != x:
			what = "not a number (nan; such as 0/0)"
		case math.IsInf(float64(x), 0):
			what = "infinite (such as a division by 0)"
		}
	}
	return fmt.Errorf("%s: the weight of backend %d is %s: want a number from 0 upward, or hold", File, i, what)
}
