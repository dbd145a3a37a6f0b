// SPDX-License-Identifier: Apache-2.0

package layout

import (
	"fmt"
	"strings"
)

// assemblyScript is sdk/assemblyscript/assembly/layout.ts. Its classes have no
// arrays inside, so those are numbers of the same size.
func assemblyScript() string {
	var b strings.Builder
	fmt.Fprintf(&b, "// SPDX-License-Identifier: Apache-2.0\n\n// %s\n\n", generated)
	magic := uint32(0)
	for i := range len(Magic) {
		magic |= uint32(Magic[i]) << (8 * i)
	}
	fmt.Fprintf(&b, "export const MAGIC: u32 = 0x%X; // %s\nexport const MAJOR: u16 = %d;\nexport const MINOR: i32 = %d;\n", magic, Magic, Major, Minor)
	for _, a := range Answers {
		fmt.Fprintf(&b, "export const %s: u32 = %s; // %s\n", strings.ToUpper(a.Name), goLiteral(a.Value), a.About)
	}
	asEnum(&b, "Health", Healths)
	asEnum(&b, "Reading", Readings)
	asEnum(&b, "Level", Levels)
	for i, name := range []string{"RawSnapshot", "RawBackend", "RawMetric"} {
		s := Structs[i]
		fmt.Fprintf(&b, "\n// %s.\n@unmanaged\nexport class %s {\n", sentence(s.About), name)
		for _, f := range s.Fields {
			asField(&b, f)
		}
		b.WriteString("}\n")
	}
	return b.String()
}

func asField(b *strings.Builder, f Field) {
	name, typ := camel(f.Name), string(f.Type)
	if f.Raw {
		name = "_" + name
	}
	switch f.Type {
	case Char4, Bytes4:
		typ = "u32"
	case Bytes8:
		typ = "u64"
	case Bytes16:
		fmt.Fprintf(b, "  _reserved0: u64; // zero\n  _reserved1: u64; // zero\n")
		return
	}
	if f.Type.Reserved() {
		name = "_reserved"
	}
	fmt.Fprintf(b, "  %s: %s; // %s\n", name, typ, f.About)
}

func asEnum(b *strings.Builder, name string, list []Number) {
	fmt.Fprintf(b, "\nexport namespace %s {\n", name)
	for _, n := range list {
		fmt.Fprintf(b, "  export const %s: u32 = %d;\n", strings.ToUpper(n.Name), n.Value)
	}
	b.WriteString("}\n")
}
