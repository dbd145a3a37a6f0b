// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/steelyard-lb/steelyard/core"
)

// nodeNotes prints what an operator should mend, and which samples went nowhere,
// where there is any of that.
func nodeNotes(w io.Writer, p painter, v core.NodeView) {
	for _, text := range v.Warnings {
		field(w, p, "", "! "+text, yellow)
	}
	if text := deniedText(v); text != "" {
		field(w, p, "", "! "+text, red)
	}
	if v.Probing.Suspect != "" {
		field(w, p, "", suspectText(v.Probing, v.At), red)
	}
	if text := dropped(v); text != "" {
		field(w, p, "dropped", text, "")
	}
}

// dropped lists the samples that were dropped, by the reason; empty if none were.
func dropped(v core.NodeView) string {
	var parts []string
	for _, c := range []struct {
		n    uint64
		what string
	}{
		{v.Bus.Invalid, "invalid"}, {v.Bus.Mismatched, "mismatched"}, {v.Bus.Repeated, "repeated"}, {v.Bus.Late, "late"}, {v.Bus.Crowded, "crowded"},
		{v.Bus.Flooded, "flooding"}, {v.Bus.Overflowed + v.SamplesDropped, "too fast"}, {v.SamplesUnknown, "of unknown backends"}, {v.MetricsRefused, "with refused metrics"},
	} {
		if c.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", c.n, c.what))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return "samples: " + strings.Join(parts, ", ")
}
