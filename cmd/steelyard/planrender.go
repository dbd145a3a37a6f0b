// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/nft"
)

// renderPlan prints a plan for people.
func renderPlan(w io.Writer, r planResult, color bool) {
	p := painter(color)
	switch r.Against {
	case againstDaemon:
		fmt.Fprintf(w, "compared with what %s carries\n", clean(r.Node))
	case againstKernel:
		fmt.Fprintln(w, "compared with the table in the kernel")
	default:
		fmt.Fprintln(w, "nothing is in force: everything is new")
	}
	if !r.Changed {
		fmt.Fprintln(w, "nothing would change")
	}
	if len(r.Changes) > 0 {
		fmt.Fprintf(w, "\n%s\n", p.paint(bold, "configuration"))
		renderChanges(w, r.Changes, p)
	}
	if len(r.Kernel) > 0 {
		fmt.Fprintf(w, "\n%s\n", p.paint(bold, "kernel"))
		for _, d := range r.Kernel {
			renderServiceDiff(w, d, p)
		}
	}
	for i, d := range r.Dropped {
		if i == 0 {
			fmt.Fprintf(w, "\n%s\n", p.paint(bold, "commands"))
		}
		fmt.Fprintf(w, "  %s\n", p.paint(red, clean("! "+d.String())))
	}
	for _, name := range slices.Sorted(maps.Keys(r.Refused)) {
		fmt.Fprintf(w, "\n%s\n", p.paint(red, clean("! "+r.Refused[name])))
	}
	if len(r.Refused) > 0 {
		fmt.Fprintln(w, "  a reload would be refused as a whole; a start would serve the others")
	}
	for i, note := range r.Notes {
		if i == 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "note: %s\n", clean(note))
	}
	if r.NFT != "" {
		fmt.Fprintf(w, "\n%s", paintDiff(r.NFT, p))
	}
}

func renderChanges(w io.Writer, list []core.ConfigChange, p painter) {
	for _, c := range list {
		sign, tint := "~", yellow
		switch c.Action {
		case core.ActionAdded:
			sign, tint = "+", green
		case core.ActionRemoved:
			sign, tint = "-", red
		}
		line := fmt.Sprintf("%s %s %s", sign, c.Kind, c.Name)
		if c.Text != "" {
			line += ": " + c.Text
		}
		fmt.Fprintf(w, "  %s\n", p.paint(tint, clean(line)))
		for _, k := range c.Keys {
			fmt.Fprintf(w, "      %s\n", clean(k.String()))
		}
	}
}

func renderServiceDiff(w io.Writer, d nft.ServiceDiff, p painter) {
	name := d.Service
	if name == "" {
		name = "(shared)"
	}
	var parts []string
	add := func(noun, verb string, names []string) {
		switch {
		case len(names) > 3:
			parts = append(parts, fmt.Sprintf("%s %s", plural(len(names), noun), verb))
		case len(names) > 0:
			parts = append(parts, noun+" "+strings.Join(names, ", ")+" "+verb)
		}
	}
	switch {
	case d.Added:
		parts = append(parts, "made")
	case d.Removed:
		parts = append(parts, "removed")
	default:
		add("set", "made", d.SetsAdded)
		add("set", "removed", d.SetsRemoved)
		add("set", "remade", d.SetsRemade)
		add("chain", "made", d.ChainsAdded)
		add("chain", "removed", d.ChainsRemoved)
		add("chain", "rewritten", d.ChainsRewritten)
	}
	if d.ElementsAdded+d.ElementsRemoved > 0 {
		parts = append(parts, fmt.Sprintf("%s added, %d removed", plural(d.ElementsAdded, "element"), d.ElementsRemoved))
	}
	fmt.Fprintf(w, "  %s  %s\n", p.paint(bold, clean(name)), clean(strings.Join(parts, "; ")))
	for _, lost := range d.Lost {
		fmt.Fprintf(w, "    %s\n", p.paint(red, clean("! begins anew: "+lost)))
	}
}

// paintDiff colours a unified diff.
func paintDiff(text string, p painter) string {
	if !p {
		return text
	}
	var b strings.Builder
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(line, "@@"):
			line = p.paint(dim, line)
		case strings.HasPrefix(line, "+"):
			line = p.paint(green, line)
		case strings.HasPrefix(line, "-"):
			line = p.paint(red, line)
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}
