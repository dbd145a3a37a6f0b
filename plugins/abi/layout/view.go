// SPDX-License-Identifier: Apache-2.0

package layout

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strconv"
)

// A View reads fields of a snapshot by their names in the table. It is for
// documentation and tests: it is slow, and panics where a name or an offset is
// wrong.
type View struct{ B []byte }

// Header is a field of the header that is an offset or a count.
func (v View) Header(name string) int { return v.number(0, Header, name) }

// Metric is a field of entry k of the directory.
func (v View) Metric(k int, name string) int {
	return v.number(v.Header("custom_dir_off")+k*Metric.Size, Metric, name)
}

func (v View) number(at int, s Struct, name string) int {
	i := slices.IndexFunc(s.Fields, func(f Field) bool { return f.Name == name })
	return int(binary.LittleEndian.Uint32(v.B[at+s.Fields[i].Off:]))
}

// Bits are the bits of a value, in the low end.
func (v View) Bits(at int, t Type) uint64 {
	var word [8]byte
	copy(word[:], v.B[at:at+min(t.Size(), 8)])
	return binary.LittleEndian.Uint64(word[:])
}

// Text is a value for people.
func (v View) Text(at int, t Type) string {
	bits := v.Bits(at, t)
	switch t {
	case F32:
		return strconv.FormatFloat(float64(math.Float32frombits(uint32(bits))), 'g', -1, 32)
	case F64:
		return strconv.FormatFloat(math.Float64frombits(bits), 'g', -1, 64)
	case I32:
		return fmt.Sprint(int32(bits))
	case I64:
		return fmt.Sprint(int64(bits))
	case Char4:
		return strconv.Quote(string(v.B[at : at+4]))
	}
	if t == U64 && bits > 1<<32 {
		return fmt.Sprintf("0x%x", bits)
	}
	return fmt.Sprint(bits)
}
