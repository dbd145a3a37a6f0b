// SPDX-License-Identifier: Apache-2.0

package layout

import (
	"fmt"
	"strings"
)

var rustTypes = map[Type]string{U8: "u8", U16: "u16", U32: "u32", U64: "u64", I32: "i32", I64: "i64", F32: "f32", F64: "f64",
	Char4: "[u8; 4]", Bytes4: "[u8; 4]", Bytes8: "[u8; 8]", Bytes16: "[u8; 16]"}

// rust is sdk/rust/src/layout.rs.
func rust() string {
	var b strings.Builder
	fmt.Fprintf(&b, "// SPDX-License-Identifier: Apache-2.0\n\n// %s\n\n", generated)
	b.WriteString("//! The bytes of ABI v1.\n\n")
	fmt.Fprintf(&b, "pub const MAGIC: [u8; 4] = *b%q;\npub const MAJOR: u16 = %d;\npub const MINOR: i32 = %d;\n", Magic, Major, Minor)
	for _, a := range Answers {
		fmt.Fprintf(&b, "/// %s\npub const %s: u32 = %s;\n", sentence(a.About)+".", strings.ToUpper(a.Name), goLiteral(a.Value))
	}
	for _, list := range []struct {
		prefix, typ string
		of          []Number
	}{{"HEALTH", "u8", Healths}, {"VALID", "u16", Readings}, {"LEVEL", "u32", Levels}} {
		b.WriteString("\n")
		for _, n := range list.of {
			fmt.Fprintf(&b, "pub const %s_%s: %s = %d;\n", list.prefix, strings.ToUpper(n.Name), list.typ, n.Value)
		}
	}
	for i, name := range []string{"Header", "Record", "Metric"} {
		s := Structs[i]
		fmt.Fprintf(&b, "\n/// %s.\n#[repr(C)]\npub struct %s {\n", sentence(s.About), name)
		for _, f := range s.Fields {
			fmt.Fprintf(&b, "    /// %s.\n    pub %s: %s,\n", sentence(f.About), f.Name, rustTypes[f.Type])
		}
		fmt.Fprintf(&b, "}\n\nconst _: [(); %d] = [(); core::mem::size_of::<%s>()];\n", s.Size, name)
	}
	return b.String()
}
