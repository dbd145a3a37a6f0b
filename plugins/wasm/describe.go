// SPDX-License-Identifier: Apache-2.0

package wasm

import (
	"errors"
	"fmt"
	"strings"
)

// A Description is what a module's sections say, without compiling any of it: so
// a module that is refused, or that would hurt the compiler, can be described.
type Description struct {
	Functions int       `json:"functions"`  // its own, without those it imports
	CodeBytes int       `json:"code_bytes"` // of their bodies
	Imports   []Symbol  `json:"imports"`
	Exports   []Symbol  `json:"exports"`
	Memory    *Memory   `json:"memory"`   // nil if it has none
	Sections  []Section `json:"sections"` // custom ones
	// Damage says where the description ends before the module does; empty if it
	// does not.
	Damage string `json:"damage,omitempty"`
}

// A Symbol is one import or export.
type Symbol struct {
	Module string `json:"module,omitempty"` // of an import
	Name   string `json:"name"`
	Kind   string `json:"kind"`           // function, table, memory, global or tag
	Type   string `json:"type,omitempty"` // of a function: "(i32, i32) -> (i32)"
}

// A Memory is what a module asks for.
type Memory struct {
	MinBytes int64 `json:"min_bytes"`
	MaxBytes int64 `json:"max_bytes"` // -1 if it names none
}

// A Section is a custom section of a module.
type Section struct {
	Name  string `json:"name"`
	Bytes int    `json:"size_bytes"`
}

// The sections that are read, by their ids in the format.
const (
	sectionCustom   = 0
	sectionType     = 1
	sectionImport   = 2
	sectionFunction = 3
	sectionMemory   = 5
	sectionExport   = 7
	sectionCode     = 10
)

// most bounds each list of a description; a module made to be large would
// otherwise make one that is.
const most = 2000

var kinds = [...]string{"function", "table", "memory", "global", "tag"}

// Describe reads the sections of a module.
func Describe(code []byte) Description {
	d := describer{}
	d.Imports, d.Exports, d.Sections = []Symbol{}, []Symbol{}, []Section{}
	if !IsModule(code) || len(code) < 8 {
		d.Damage = "not a WASM module"
		return d.Description
	}
	s := scan{b: code[8:]}
	for len(s.b) > 0 && s.err == nil {
		id := s.byte()
		d.section(id, &scan{b: s.take(s.u32())})
	}
	if s.err != nil && d.Damage == "" {
		d.Damage = s.err.Error()
	}
	return d.Description
}

// A describer also knows what the sections before said.
type describer struct {
	Description
	types []string // of functions
	funcs []uint32 // the type of each function, imported ones first
}

func (d *describer) section(id byte, s *scan) {
	switch id {
	case sectionCustom:
		size := len(s.b)
		name := s.name()
		if len(d.Sections) < most {
			d.Sections = append(d.Sections, Section{name, size})
		}
	case sectionType:
		s.each(func() { d.types = append(d.types, s.funcType()) })
	case sectionImport:
		s.each(func() { d.imported(s) })
	case sectionFunction:
		s.each(func() { d.funcs = append(d.funcs, s.u32()); d.Functions++ })
	case sectionMemory:
		s.each(func() { d.Memory = s.memory() })
	case sectionExport:
		s.each(func() { d.exported(s) })
	case sectionCode:
		d.CodeBytes = len(s.b)
	}
	if s.err != nil && d.Damage == "" {
		d.Damage = fmt.Sprintf("section %d: %v", id, s.err)
	}
}

func (d *describer) imported(s *scan) {
	y := Symbol{Module: s.name(), Name: s.name()}
	kind := s.byte()
	y.Kind = kindName(kind)
	switch kind {
	case 0:
		t := s.u32()
		d.funcs = append(d.funcs, t)
		y.Type = d.typeName(t)
	case 1:
		s.byte()
		s.memory() // the limits of a table are written alike
	case 2:
		s.memory()
	case 3:
		s.take(2)
	default:
		s.err = fmt.Errorf("import of kind %d", kind)
	}
	if len(d.Imports) < most {
		d.Imports = append(d.Imports, y)
	}
}

func (d *describer) exported(s *scan) {
	y := Symbol{Name: s.name()}
	kind, index := s.byte(), s.u32()
	if y.Kind = kindName(kind); kind == 0 && index < uint32(len(d.funcs)) {
		y.Type = d.typeName(d.funcs[index])
	}
	if len(d.Exports) < most {
		d.Exports = append(d.Exports, y)
	}
}

func (d *describer) typeName(i uint32) string {
	if i < uint32(len(d.types)) {
		return d.types[i]
	}
	return ""
}

func kindName(k byte) string {
	if int(k) < len(kinds) {
		return kinds[k]
	}
	return fmt.Sprintf("kind %d", k)
}

// A scan reads the binary format. After the first error all is zero.
type scan struct {
	b   []byte
	err error
}

var errShort = errors.New("it ends too early")

func (s *scan) take(n uint32) []byte {
	if uint64(n) > uint64(len(s.b)) {
		s.b, s.err = nil, errShort
		return nil
	}
	p := s.b[:n]
	s.b = s.b[n:]
	return p
}

func (s *scan) byte() byte {
	if p := s.take(1); p != nil {
		return p[0]
	}
	return 0
}

// u32 reads an unsigned LEB128 number.
func (s *scan) u32() uint32 {
	var v uint64
	for shift := 0; shift < 35; shift += 7 {
		c := s.byte()
		v |= uint64(c&0x7F) << shift
		if c < 0x80 {
			return uint32(v)
		}
	}
	s.b, s.err = nil, errors.New("a number that does not end")
	return 0
}

// name reads a text, and keeps no more of it than somebody would read.
func (s *scan) name() string {
	text := s.take(s.u32())
	return strings.ToValidUTF8(string(text[:min(len(text), 200)]), "?")
}

// each calls read as often as a count says, but not beyond the end.
func (s *scan) each(read func()) {
	for n := s.u32(); n > 0 && s.err == nil; n-- {
		read()
	}
}

func (s *scan) memory() *Memory {
	const page = 64 << 10
	flags := s.byte()
	m := &Memory{MinBytes: int64(s.u32()) * page, MaxBytes: -1}
	if flags&1 != 0 {
		m.MaxBytes = int64(s.u32()) * page
	}
	return m
}

var valueNames = map[byte]string{
	0x7F: "i32", 0x7E: "i64", 0x7D: "f32", 0x7C: "f64", 0x7B: "v128", 0x70: "funcref", 0x6F: "externref",
}

func (s *scan) funcType() string {
	if form := s.byte(); form != 0x60 && s.err == nil {
		s.err = fmt.Errorf("a type of form %#x", form)
	}
	params := s.values()
	return params + " -> " + s.values()
}

func (s *scan) values() string {
	var names []string
	s.each(func() {
		v := s.byte()
		name, ok := valueNames[v]
		if !ok {
			name = fmt.Sprintf("%#x", v)
		}
		if len(names) < 64 {
			names = append(names, name)
		}
	})
	return "(" + strings.Join(names, ", ") + ")"
}
