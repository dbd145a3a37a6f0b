// SPDX-License-Identifier: Apache-2.0

package lua

import (
	"math"
	"strconv"

	lua "github.com/yuin/gopher-lua"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/plugins/abi"
)

// A kind is how the values of a column are written in the snapshot.
type kind uint8

const (
	kindF64         kind = iota // NaN is unknown
	kindF32                     // NaN is unknown
	kindU32                     //
	kindShare                   // u32, 1/65536
	kindUp                      // u8, a boolean: is it core.Up?
	kindDown                    // u8, a boolean: is it core.Down?
	kindConnections             // u32, unknown if its bit in valid is clear
	kindID                      // u64, as 16 hex digits: a Lua number has 53 bits
	kindState                   // f64, never unknown
)

// The blocks of a snapshot that have columns.
const (
	inRecords = iota
	inMetrics
	inMetricAges
	inState
)

// A source says where a column's values are. off counts bytes in a record, and
// elsewhere columns.
type source struct {
	reading string // the word in policy.reads that asks for it; "" is always there
	kind    kind
	block   int
	off     int
}

// sources are the columns of s.
var sources = map[string]source{
	"id":              {kind: kindID, off: abi.RecID},
	"weight":          {kind: kindU32, off: abi.RecWeight},
	"share":           {kind: kindShare, off: abi.RecShare},
	"up":              {kind: kindUp, off: abi.RecHealth},
	"down":            {kind: kindDown, off: abi.RecHealth},
	"health_seconds":  {kind: kindF32, off: abi.RecHealthSeconds},
	"cpu":             {reading: abi.ReadsCPU, kind: kindF64, off: abi.RecCPU},
	"cpu_age":         {reading: abi.ReadsCPU, kind: kindF32, off: abi.RecCPUAge},
	"cpu_window":      {reading: abi.ReadsCPU, kind: kindF32, off: abi.RecCPUWindow},
	"cpu_seq":         {reading: abi.ReadsCPU, kind: kindU32, off: abi.RecCPUSeq},
	"cores":           {reading: abi.ReadsCores, kind: kindF64, off: abi.RecCores},
	"response":        {reading: abi.ReadsResponse, kind: kindF64, off: abi.RecResponse},
	"response_age":    {reading: abi.ReadsResponse, kind: kindF32, off: abi.RecResponseAge},
	"connections":     {reading: abi.ReadsConnections, kind: kindConnections, off: abi.RecConnections},
	"connections_age": {reading: abi.ReadsConnections, kind: kindF32, off: abi.RecConnectionsAge},
	"opened":          {reading: abi.ReadsOpened, kind: kindF64, off: abi.RecOpened},
	"closed":          {reading: abi.ReadsClosed, kind: kindF64, off: abi.RecClosed},
}

// A column is a list of a value for each backend, kept from call to call. What
// the script did to it is undone by the next fill.
type column struct {
	source
	name  string
	table *lua.LTable
	size  int // as filled last
}

// fill writes the snapshot's values where they differ from what is there: a
// number that a table takes costs an allocation, and most do not change.
func (c *column) fill(v *view) {
	for ; c.size > v.n; c.size-- {
		c.table.Remove(-1)
	}
	c.size = v.n
	for i := c.table.Len(); i > v.n; i-- { // what the script appended
		c.table.RawSetInt(i, lua.LNil)
	}
	base, stride, ok := v.locate(c.source)
	if !ok {
		for i := range v.n {
			c.table.RawSetInt(i+1, lua.LNil)
		}
		return
	}
	switch c.kind {
	case kindF64, kindState:
		for i := range v.n {
			x := v.f64(base + i*stride)
			if c.kind == kindState && x != x {
				x = 0
			}
			c.number(i, x)
		}
	case kindF32:
		for i := range v.n {
			c.number(i, float64(math.Float32frombits(le.Uint32(v.b[base+i*stride:]))))
		}
	default:
		for i := range v.n {
			c.other(i, v.b[base+i*stride:], v.b[v.records+i*v.stride:])
		}
	}
}

// other sets a value that is not a plain float; b begins at it and record is
// the backend's.
func (c *column) other(i int, b, record []byte) {
	switch c.kind {
	case kindU32:
		c.number(i, float64(le.Uint32(b)))
	case kindShare:
		c.number(i, float64(le.Uint32(b))/core.Slots)
	case kindConnections:
		x := math.NaN()
		if le.Uint16(record[abi.RecValid:])&abi.ValidConnections != 0 {
			x = float64(le.Uint32(b))
		}
		c.number(i, x)
	case kindUp:
		c.table.RawSetInt(i+1, lua.LBool(b[0] == byte(core.Up)))
	case kindDown:
		c.table.RawSetInt(i+1, lua.LBool(b[0] == byte(core.Down)))
	case kindID:
		c.id(i, le.Uint64(b))
	}
}

// number sets a number, or nil for NaN.
func (c *column) number(i int, x float64) {
	if x != x {
		c.table.RawSetInt(i+1, lua.LNil)
		return
	}
	if old, ok := c.table.RawGetInt(i + 1).(lua.LNumber); !ok || float64(old) != x {
		c.table.RawSetInt(i+1, lua.LNumber(x))
	}
}

func (c *column) id(i int, id uint64) {
	var text [16]byte
	b := strconv.AppendUint(text[:0], id, 16)
	for len(b) < len(text) {
		b = append(b, 0)
		copy(b[1:], b)
		b[0] = '0'
	}
	if old, ok := c.table.RawGetInt(i + 1).(lua.LString); !ok || string(old) != string(b) {
		c.table.RawSetInt(i+1, lua.LString(b))
	}
}
