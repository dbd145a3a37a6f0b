// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"strings"
	"testing"
)

// manyServices is a file of n services with 16 backends each, as a generator
// would write it.
func manyServices(n int) string {
	var b strings.Builder
	b.WriteString("probes:\n  alive: {type: tcp}\nservices:\n")
	for i := range n {
		fmt.Fprintf(&b, "  svc-%05d:\n    vip: 10.%d.%d.%d\n    port: 80\n    probes: [alive]\n    backends:\n", i, 64+i>>16, i>>8&255, i&255)
		for j := range 16 {
			fmt.Fprintf(&b, "      be-%02d: {address: 10.%d.%d.%d, port: 8080, weight: %d}\n", j, 128+i>>12, i>>4&255, i&15<<4|j, 50+j)
		}
	}
	return b.String()
}

// BenchmarkList is a deny_file of 100,000 lines.
func BenchmarkList(b *testing.B) {
	var list strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&list, "10.%d.%d.%d/31\n", i>>15&255, i>>7&255, i<<1&255)
	}
	o := files{"/etc/s.yaml": web + "    deny_file: deny\n", "/etc/deny": list.String()}.options()
	for b.Loop() {
		if _, err := Load(o); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkLoad is the start and each reload of a node of the size that
// docs/benchmarks.md speaks of.
func BenchmarkLoad(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			text := manyServices(n)
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			o := files{"/etc/s.yaml": text}.with(func(o *Options) { o.KeepView = false })
			for b.Loop() {
				if _, err := Load(o); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
