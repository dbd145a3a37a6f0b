// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTable(t *testing.T) {
	tb := table{columns: []column{{title: "NAME"}, {"N", true}, {title: "MIDDLE"}, {"RIGHT", true}}}
	tb.add("a", 1, "", 5)
	tb.add("longer", 1000, cell{"ünï", red}, "")
	tb.add("x\x1b[2J\ny", "", "m", 7)
	want := `>NAME        N  MIDDLE  RIGHT
>a           1              5
>longer   1000  ünï
>x [2J y        m           7
`
	var b bytes.Buffer
	tb.write(&b, ">", tb.widths(nil), false)
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestSeconds(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0 s", 0.0000182: "18 µs", 0.00999: "9.99 ms", 0.0123: "12.3 ms", 0.0999: "99.9 ms", 0.09996: "100 ms", 0.9: "900 ms",
		1: "1.0 s", 9.96: "10 s", 119: "119 s", 120: "2 min", 7199: "2 h", 7200: "2 h", 172799: "2 d", -0.5: "-500 ms",
	} {
		if got := seconds(v); got != want {
			t.Errorf("seconds(%v) = %s, want %s", v, got, want)
		}
	}
}

func TestRatio(t *testing.T) {
	for v, want := range map[float64]string{0: "0%", 1: "100.0%", 0.0001: "<0.1%", 0.001: "0.1%", 1.0 / 65536: "<0.1%", 0.18: "18.0%"} {
		if got := ratio(v); got != want {
			t.Errorf("ratio(%v) = %s, want %s", v, got, want)
		}
	}
}
