// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/steelyard-lb/steelyard/core"
)

// The columns of show --stats and --rate, in the order of ipvsadm's.
var (
	statsColumns = []column{{"CONNS", true}, {"INPKTS", true}, {"OUTPKTS", true}, {"INBYTES", true}, {"OUTBYTES", true}}
	rateColumns  = []column{{"CPS", true}, {"INPPS", true}, {"OUTPPS", true}, {"INBPS", true}, {"OUTBPS", true}}
)

// counted says whether show prints counts instead of weights and reasons.
func (o showOptions) counted() bool { return o.Stats || o.Rate }

// statsTable is a service's backends and their sum, as ipvsadm --stats and --rate
// print them.
func statsTable(s core.ServiceView, o showOptions) table {
	t := table{columns: []column{{title: "BACKEND"}, {title: "ADDRESS"}}}
	if o.Stats {
		t.columns = append(t.columns, statsColumns...)
	}
	if o.Rate {
		t.columns = append(t.columns, rateColumns...)
	}
	row := func(name cell, address string, conns uint64, cps *float64, traffic *core.TrafficView) {
		cells := []any{name, address}
		if o.Stats {
			if s.Forwarding.Tracked() {
				cells = append(cells, conns)
			} else {
				cells = append(cells, unknown) // nobody counts them
			}
			cells = append(cells, totals(traffic)...)
		}
		if o.Rate {
			cells = append(cells, rate(cps))
			cells = append(cells, rates(traffic)...)
		}
		t.add(cells...)
	}
	for _, b := range s.Backends {
		row(cell{b.Name, bold}, b.Address, b.ConnectionsTotal, b.NewPerSecond, b.Traffic)
	}
	row(cell{"total", dim}, "", s.ConnectionsTotal, s.NewPerSecond, s.Traffic)
	return t
}

func totals(v *core.TrafficView) []any {
	if v == nil {
		return []any{unknown, unknown, unknown, unknown}
	}
	return []any{v.PacketsIn, v.PacketsOut, byteCount(float64(v.BytesIn)), byteCount(float64(v.BytesOut))}
}

func rates(v *core.TrafficView) []any {
	if v == nil || v.Rates == nil {
		return []any{unknown, unknown, unknown, unknown}
	}
	r := v.Rates
	return []any{rate(&r.PacketsIn), rate(&r.PacketsOut), byteCount(r.BytesIn) + "/s", byteCount(r.BytesOut) + "/s"}
}

// byteCount is a number of bytes with a unit that keeps about three digits. The
// units are powers of 1000.
func byteCount(n float64) string {
	units := []string{"B", "kB", "MB", "GB", "TB", "PB"}
	i := 0
	for ; n >= 999.5 && i < len(units)-1; i++ {
		n /= 1000
	}
	digits := 0
	switch {
	case i == 0:
	case n < 9.995:
		digits = 2
	case n < 99.95:
		digits = 1
	}
	return strconv.FormatFloat(n, 'f', digits, 64) + " " + units[i]
}

// statsNotes says why there are no numbers, and what is not in them.
func statsNotes(w io.Writer, shown []core.ServiceView, p painter) {
	note := func(format string, args ...any) { fmt.Fprintln(w, p.paint(dim, fmt.Sprintf(format, args...))) }
	off := slices.ContainsFunc(shown, func(s core.ServiceView) bool { return !s.CountBytes && s.Forwarding.Tracked() })
	both := slices.ContainsFunc(shown, func(s core.ServiceView) bool { return s.CountBytes && s.Offload })
	if off || both {
		fmt.Fprintln(w)
	}
	if off {
		note("packets and bytes are counted for services with `count_bytes: true`")
	}
	if both {
		note("of services with `offload: true`, what the flowtable forwards is not counted")
	}
}
