// SPDX-License-Identifier: Apache-2.0

package layout

import (
	"fmt"
	"strings"
)

// docTable is a table of docs/abi.md: one row for each field.
func docTable(s Struct) string {
	var b strings.Builder
	b.WriteString("| offset | type | field | what it is | minor |\n|---:|---|---|---|---:|\n")
	for _, f := range s.Fields {
		fmt.Fprintf(&b, "| %d | %s | `%s` | %s | %d |\n", f.Off, f.Type, f.Name, f.About, f.Since)
	}
	fmt.Fprintf(&b, "\n%d bytes.\n", s.Size)
	return b.String()
}

func docNumbers() string {
	var b strings.Builder
	b.WriteString("| bit of `valid` | name in `reads` | the fields that it vouches for |\n|---:|---|---|\n")
	for _, r := range Readings {
		fmt.Fprintf(&b, "| %d | `%s` | `%s` |\n", r.Value, r.Name, strings.ReplaceAll(r.About, ", ", "`, `"))
	}
	return b.String()
}

// docDump takes the golden snapshot apart, one line for each field.
func docDump(snapshot []byte) string {
	v := View{snapshot}
	var b strings.Builder
	b.WriteString("```\n")
	line := func(off, size int, what string) {
		text := fmt.Sprintf("% x", snapshot[off:off+size])
		fmt.Fprintf(&b, "%04x  %-48s %s\n", off, text, what)
	}
	fields := func(s Struct, at int) {
		for _, f := range s.Fields {
			what := f.Name
			if !f.Type.Reserved() {
				what += " = " + v.Text(at+f.Off, f.Type)
			}
			line(at+f.Off, f.Type.Size(), what)
		}
	}
	head := func(format string, args ...any) { fmt.Fprintf(&b, "      -- "+format+"\n", args...) }
	n := v.Header("n")
	head("header")
	fields(Header, 0)
	for i := range n {
		head("record %d, at records_off + %d*stride", i, i)
		fields(Backend, v.Header("records_off")+i*v.Header("stride"))
	}
	head("parameters")
	for i := range v.Header("n_params") {
		at := v.Header("params_off") + i*8
		line(at, 8, fmt.Sprintf("parameter %d = %s", i, v.Text(at, F64)))
	}
	dumpMetrics(v, head, fields, line)
	head("state of the service")
	for i := range v.Header("service_state_len") / 8 {
		line(v.Header("service_state_off")+i*8, 8, fmt.Sprintf("slot %d", i))
	}
	head("state of the backends, at backend_state_off + i*backend_state_stride")
	for i := range n * v.Header("backend_state_stride") / 8 {
		slots := v.Header("backend_state_stride") / 8
		line(v.Header("backend_state_off")+i*8, 8, fmt.Sprintf("backend %d, slot %d", i/slots, i%slots))
	}
	head("the answer")
	for i := range n {
		line(v.Header("out_off")+i*4, 4, fmt.Sprintf("weight of backend %d: not written", i))
	}
	b.WriteString("```\n")
	return b.String()
}

func dumpMetrics(v View, head func(string, ...any), fields func(Struct, int), line func(int, int, string)) {
	n, dir := v.Header("n"), v.Header("custom_dir_off")
	for k := range v.Header("n_custom") {
		head("metric %d, at custom_dir_off + %d*%d", k, k, Metric.Size)
		fields(Metric, dir+k*Metric.Size)
	}
	for k := range v.Header("n_custom") {
		values, ages := v.Metric(k, "values_off"), v.Metric(k, "ages_off")
		head("columns of metric %d", k)
		for i := range n {
			line(values+i*8, 8, fmt.Sprintf("value of backend %d = %s", i, v.Text(values+i*8, F64)))
		}
		for i := range n {
			line(ages+i*4, 4, fmt.Sprintf("age of backend %d = %s", i, v.Text(ages+i*4, F32)))
		}
		if n%2 == 1 {
			line(ages+n*4, 4, "zero")
		}
	}
	if v.Header("n_custom") == 0 {
		return
	}
	head("names")
	first, end := v.Metric(0, "name_off"), v.Header("service_state_off")
	for at := first; at < end; at += 16 {
		size := min(16, end-at)
		line(at, size, fmt.Sprintf("%q", strings.TrimRight(string(v.B[at:at+size]), "\x00")))
	}
}
