// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// partsFor are what to look for on a page.
func partsFor(t testing.TB, selectors ...string) []pagePart {
	t.Helper()
	parts := make([]pagePart, len(selectors))
	for i, text := range selectors {
		s, err := selectSeries(text)
		if err != nil {
			t.Fatal(err)
		}
		parts[i].selector = s
	}
	return parts
}

func valuesOf(rs []reading) (vs []float64) {
	for _, r := range rs {
		vs = append(vs, r.value)
	}
	return vs
}

func TestReadPage(t *testing.T) {
	const page = "# HELP a Text with \\n and {braces} a{x=\"1\"} 5\n" +
		"# TYPE a gauge\n" +
		"a 1\n" +
		"  a{x=\"1\"}\t2 \r\n" +
		"a{x=\"1\",y=\"} 9\"} 3 1700000000000\n" +
		"\n" +
		"# TYPE b_total counter\n" +
		"b_total{x=\"\\\"\\\\\\n\"} 1e3\n" +
		"ab 7\na:b 8\n" +
		"a {x=\"2\"} NaN\n" +
		"a{x=\"3\",} +Inf\n" +
		"c 1 1700000000.5 # {trace=\"x\"} 5\n" +
		"# EOF"
	parts := partsFor(t, "a", `a{x="1"}`, `a{y!=""}`, `b_total{x="\"\\\n"}`, "ab", "a:b", "c", "d")
	series, err := readPage(strings.NewReader(page), parts)
	if err != nil || series != 9 {
		t.Fatalf("%d series, %v; want 9", series, err)
	}
	want := []string{"[1 2 3 NaN +Inf]", "[2 3]", "[3]", "[1000]", "[7]", "[8]", "[1]", "[]"}
	for i, p := range parts {
		if got := fmt.Sprint(valuesOf(p.readings)); got != want[i] {
			t.Errorf("%s: got %s, want %s", p.selector.name, got, want[i])
		}
	}
	if parts[0].named != 5 || parts[7].named != 0 {
		t.Errorf("%d and %d series of the names, want 5 and 0", parts[0].named, parts[7].named)
	}
	if parts[0].kind != "gauge" || parts[3].kind != "counter" || parts[4].kind != "" {
		t.Errorf("kinds %q, %q and %q", parts[0].kind, parts[3].kind, parts[4].kind)
	}
	if !parts[0].stamp.IsZero() || parts[2].stamp.Unix() != 1700000000 || parts[6].stamp.UnixMilli() != 1700000000500 {
		t.Errorf("times %v, %v and %v", parts[0].stamp, parts[2].stamp, parts[6].stamp)
	}
	keys := map[uint64]bool{}
	for _, r := range parts[0].readings {
		keys[r.key] = true
	}
	if len(keys) != 5 {
		t.Errorf("%d keys of 5 series", len(keys))
	}
}

func TestReadPageMistakes(t *testing.T) {
	long := strings.Repeat("x", maxLine)
	tests := []struct{ name, page, want string }{
		{"HTML", "<!DOCTYPE html>\n<p>Log in", `line 1: want the name of a metric before "<!DOCTYPE html>": is this`},
		{"JSON", "\n\n{\"status\":\"ok\"}", "line 3: want the name"},
		{"no value", "x 1\na\n", "line 2: the value of a is no number"},
		{"no number", "a b\n", "is no number"},
		{"no end of labels", "a{x=\"1\" 5\n", "without an end"},
		{"open quote", "a{x=\"1} 5\n", "without an end"},
		{"broken labels", "a{x=1} 5\n", "labels of a cannot be read"},
		{"a long line", "a{x=\"" + long + "\"} 1\n", "a series of a is longer than 16 KiB"},
		{"many series", strings.Repeat("a 1\n", maxPageSeries+1), "more than 4096 series for a"},
		{"a long page", "b 1\n#" + strings.Repeat(long+"\n#", maxPage/maxLine), "longer than 8 MiB"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := readPage(strings.NewReader(tt.page), partsFor(t, "a"))
			var wrong pageError
			if !errors.As(err, &wrong) || !strings.Contains(string(wrong), tt.want) {
				t.Errorf("got %v, want %q in it", err, tt.want)
			}
		})
	}
	// What nobody asked for may be long, or broken.
	parts := partsFor(t, "a")
	if n, err := readPage(strings.NewReader("b{x=\""+long+long+"\"} 1\nc{\na 5"), parts); err != nil || n != 3 || len(parts[0].readings) != 1 {
		t.Errorf("%d series, %v, %v", n, err, parts[0].readings)
	}
}

// nodePage is a page as large as node_exporter's, with counters of so many cores.
func nodePage(cores int, seconds float64) []byte {
	var b bytes.Buffer
	for i := range 150 {
		fmt.Fprintf(&b, "# HELP node_thing_%d Something that a machine has, in a sentence of the usual length.\n# TYPE node_thing_%d gauge\n", i, i)
		for j := range 6 {
			fmt.Fprintf(&b, "node_thing_%d{device=\"eth%d\",address=\"00:16:3e:00:00:%02x\"} %d\n", i, j, j, i*j)
		}
	}
	b.WriteString("# HELP node_cpu_seconds_total Seconds the CPUs spent in each mode.\n# TYPE node_cpu_seconds_total counter\n")
	for i := range cores {
		for _, mode := range []string{"idle", "iowait", "irq", "nice", "softirq", "steal", "system", "user"} {
			fmt.Fprintf(&b, "node_cpu_seconds_total{cpu=\"%d\",mode=\"%s\"} %g\n", i, mode, seconds)
		}
	}
	return b.Bytes()
}

// FuzzPage: whatever a page holds, it is refused with one line of text or read.
func FuzzPage(f *testing.F) {
	f.Add("# TYPE a gauge\na{x=\"1\"} 1\na{x=\"}\\\"\"} 2 1700000000000\nb 3\n")
	f.Add("a 1\na 0x1p-2\na NaN\na +Inf\n")
	f.Add("# HELP a b\n#\n# TYPE a counter\n a { x = \"1\" , } 1e3\n\n")
	f.Add("<html>\n")
	f.Add("a{x=\"1\"x=\"\"}0")
	f.Add("a{x=\"\\n\\\\\",y=\"#\"}5 1e99\na_sum 4\n")
	f.Fuzz(func(t *testing.T, page string) {
		parts := partsFor(t, "a", `a{x="1"}`, `a{x!="1"}`)
		series, err := readPage(strings.NewReader(page), parts)
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("%q gives %q", page, err)
			}
			return
		}
		all := len(parts[0].readings)
		// Less only where a label is there twice.
		if all < len(parts[1].readings)+len(parts[2].readings) || all > series || all != parts[0].named {
			t.Errorf("%q: %d of %d series, of these %d with the label and %d without", page, all, series, len(parts[1].readings), len(parts[2].readings))
		}
	})
}

// TestPageRoundTrip writes pages of any labels and expects what it wrote.
func TestPageRoundTrip(t *testing.T) {
	escape := strings.NewReplacer("\\", "\\\\", "\"", "\\\"", "\n", "\\n")
	value := rapid.SampledFrom([]string{"", "x", "y", "}", "{", "\"", "\\", "a\nb", ",", "=", "# x", " ", "ä\\\"", "1\\n"})
	rapid.Check(t, func(t *rapid.T) {
		a, b := value.Draw(t, "a is"), value.Draw(t, "b is not")
		text := fmt.Sprintf(`m{a="%s",b!="%s"}`, escape.Replace(a), escape.Replace(b))
		s, err := parseSelector(text)
		if err != nil {
			t.Fatal(err)
		}
		var page strings.Builder
		var want []float64
		for i := range rapid.IntRange(0, 6).Draw(t, "series") {
			hasA, hasB := value.Draw(t, "a"), value.Draw(t, "b")
			name := rapid.SampledFrom([]string{"m", "m_total", "m2", "n"}).Draw(t, "name")
			labels := []string{`a="` + escape.Replace(hasA) + `"`, `c="z"`, `b="` + escape.Replace(hasB) + `"`}
			labels = rapid.Permutation(labels).Draw(t, "order")
			fmt.Fprintf(&page, "# HELP %s m{a=\"x\"} 1\n%s{%s} %d\n", name, name, strings.Join(labels, ","), i)
			if name == "m" && hasA == a && hasB != b {
				want = append(want, float64(i))
			}
		}
		parts := []pagePart{{selector: s}}
		if _, err := readPage(strings.NewReader(page.String()), parts); err != nil {
			t.Fatalf("%s: %v", page.String(), err)
		}
		if got := valuesOf(parts[0].readings); !slices.Equal(got, want) {
			t.Fatalf("%s on\n%sgot %v, want %v", text, page.String(), got, want)
		}
	})
}

// BenchmarkPage reads a page of 964 series for the CPU of 8 cores.
func BenchmarkPage(b *testing.B) {
	page := nodePage(8, 12345.67)
	b.ReportAllocs()
	b.SetBytes(int64(len(page)))
	for b.Loop() {
		if _, err := readPage(bytes.NewReader(page), partsFor(b, `node_cpu_seconds_total{mode="idle"}`)); err != nil {
			b.Fatal(err)
		}
	}
}
