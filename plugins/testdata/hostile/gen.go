// SPDX-License-Identifier: Apache-2.0

// Command gen writes the modules that no compiler makes: byte by byte.
package main

import (
	"bytes"
	"fmt"
	"os"
	"slices"
)

func main() {
	for name, code := range map[string][]byte{
		"startloop.wasm":   module([]byte{8, 1, 3}, nil, entry(nil, 0), loop),
		"tablegrowth.wasm": module(nil, []byte{4, 4, 1, 0x70, 0, 1}, tableGrowth(), nothing),
		"compilebomb.wasm": module(nil, nil, compileBomb(1000, 1000), nothing),
		"hoard.wasm":       module(nil, nil, entry(nil, 0), slices.Repeat([][]byte{lastLocal(50_000)}, 400)...),
	} {
		if err := os.WriteFile(name, code, 0o644); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

// Bodies of functions without locals.
var (
	loop    = []byte{0, 0x03, 0x40, 0x0C, 0, 0x0B, 0x0B} // loop br 0 end end
	nothing = []byte{0, 0x0B}
)

// module is one of ABI v1 whose sy_schedule has the given body. It has further
// functions, extra, of which the first is 3. table is a whole section, or nil.
func module(start, table, schedule []byte, extra ...[]byte) []byte {
	b := []byte("\x00asm\x01\x00\x00\x00")
	// Types: () -> i32, (i32) -> i32, (i32, i32) -> i32, () -> ().
	b = append(b, section(1, []byte{4, 0x60, 0, 1, 0x7F, 0x60, 1, 0x7F, 1, 0x7F, 0x60, 2, 0x7F, 0x7F, 1, 0x7F, 0x60, 0, 0})...)
	functions := slices.Concat(number(3+len(extra)), []byte{0, 1, 2}, bytes.Repeat([]byte{3}, len(extra)))
	b = append(b, section(3, functions)...)
	b = append(b, table...)
	b = append(b, section(5, []byte{1, 0, 16})...)
	exports := []byte{4}
	for _, e := range []struct {
		name  string
		where []byte
	}{{"memory", []byte{2, 0}}, {"sy_abi_v1", []byte{0, 0}}, {"sy_alloc", []byte{0, 1}}, {"sy_schedule", []byte{0, 2}}} {
		exports = append(append(append(exports, byte(len(e.name))), e.name...), e.where...)
	}
	b = append(b, section(7, exports)...)
	b = append(b, start...)
	bodies := number(3 + len(extra))
	// sy_abi_v1 is 0, sy_alloc always 64.
	for _, body := range append([][]byte{{0, 0x41, 0, 0x0B}, {0, 0x41, 0xC0, 0, 0x0B}, schedule}, extra...) {
		bodies = append(append(bodies, number(len(body))...), body...)
	}
	return append(b, section(10, bodies)...)
}

// entry is a body with locals that ends with a constant status.
func entry(code []byte, locals int) []byte {
	b := []byte{0}
	if locals > 0 {
		b = append(append([]byte{1}, number(locals)...), 0x7F)
	}
	return slices.Concat(b, code, []byte{0x41, 0, 0x0B})
}

// tableGrowth grows a table by 4,096 for ever.
func tableGrowth() []byte {
	return entry([]byte{0x03, 0x40, 0xD0, 0x70, 0x41, 0x80, 0x20, 0xFC, 0x0F, 0, 0x1A, 0x0C, 0, 0x0B}, 0)
}

// compileBomb nests loops among which every local changes: the compiler's work
// grows with the product.
func compileBomb(loops, locals int) []byte {
	var b bytes.Buffer
	for i := range loops {
		at := number(i % locals)
		b.Write([]byte{0x03, 0x40, 0x20})
		b.Write(at)
		b.Write([]byte{0x41, 1, 0x6A, 0x21})
		b.Write(at)
	}
	for i := range loops {
		b.Write([]byte{0x20})
		b.Write(number(i % locals))
		b.Write([]byte{0x0D, 0, 0x0B}) // br_if 0 end
	}
	return entry(b.Bytes(), locals)
}

// lastLocal is a body that uses the last of so many locals, all of which the
// compiler sets to 0: 5 kB of such functions are more code than a worker may have.
func lastLocal(locals int) []byte {
	last := append([]byte{0x20}, number(locals-1)...)                                       // local.get
	return slices.Concat([]byte{1}, number(locals), []byte{0x7E}, last, []byte{0x1A, 0x0B}) // drop end
}

func section(id byte, body []byte) []byte {
	return append(append([]byte{id}, number(len(body))...), body...)
}

// number is unsigned LEB128.
func number(n int) []byte {
	var b []byte
	for ; n > 0x7F; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}
