// SPDX-License-Identifier: Apache-2.0

package layout

import (
	"fmt"
	"strings"
)

var cTypes = map[Type]string{U8: "uint8_t", U16: "uint16_t", U32: "uint32_t", U64: "uint64_t", I32: "int32_t", I64: "int64_t",
	F32: "float", F64: "double", Char4: "char", Bytes4: "uint8_t", Bytes8: "uint8_t", Bytes16: "uint8_t"}

var cNames = map[string]string{"header": "sy_snapshot", "backend": "sy_backend", "metric": "sy_metric_entry"}

// cHeader is the part of sdk/c/steelyard.h between the markers.
func cHeader() string {
	var b strings.Builder
	fmt.Fprintf(&b, "#define SY_MINOR %d\n", Minor)
	for _, a := range Answers {
		fmt.Fprintf(&b, "#define SY_%s %sU /* %s */\n", strings.ToUpper(a.Name), goLiteral(a.Value), a.About)
	}
	b.WriteString("\n")
	cEnum(&b, "numbers of sy_backend.health", Healths)
	cEnum(&b, "bits of sy_backend.valid", Readings)
	cEnum(&b, "levels of sy_log", Levels)
	for _, s := range Structs {
		fmt.Fprintf(&b, "\n/* %s */\ntypedef struct {\n", sentence(s.About))
		for _, f := range s.Fields {
			array := ""
			if f.Type == Char4 || f.Type.Reserved() {
				array = fmt.Sprintf("[%d]", f.Type.Size())
			}
			fmt.Fprintf(&b, "    %-8s %-22s /* %s */\n", cTypes[f.Type], f.Name+array+";", f.About)
		}
		fmt.Fprintf(&b, "} %s;\n", cNames[s.Name])
	}
	b.WriteString("\n")
	for _, s := range Structs {
		name := cNames[s.Name]
		fmt.Fprintf(&b, "_Static_assert(sizeof(%s) == %d, \"size of %s\");\n", name, s.Size, name)
	}
	return b.String()
}

func cEnum(b *strings.Builder, about string, list []Number) {
	words := make([]string, len(list))
	for i, n := range list {
		words[i] = fmt.Sprintf("SY_%s = %d", strings.ToUpper(n.Name), n.Value)
	}
	fmt.Fprintf(b, "/* %s */\nenum { %s };\n", sentence(about), strings.Join(words, ", "))
}
