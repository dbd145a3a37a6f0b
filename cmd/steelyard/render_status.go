// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/steelyard-lb/steelyard/core"
)

// renderStatus prints the state of a node without its backends.
func renderStatus(w io.Writer, v core.NodeView, color bool) {
	p := painter(color)
	fmt.Fprintf(w, "%s  steelyard %s, up %s\n", p.paint(bold, clean(v.Node)), clean(v.Version), seconds(max(v.At.Sub(v.StartedAt).Seconds(), 0)))
	field(w, p, "config", fmt.Sprintf("%s, loaded %s, hash %.12s", v.ConfigPath, ago(v.ConfigAt, v.At), v.ConfigHash), "")
	if v.ReloadError != "" {
		field(w, p, "", "! the last reload was refused, and the configuration before holds: "+v.ReloadError, red)
	}
	nodeNotes(w, p, v)
	field(w, p, "services", serviceCounts(v), "")
	for _, s := range v.Services {
		for _, note := range serviceNotes(s) {
			field(w, p, "", "! "+s.Name+": "+note, red)
		}
	}
	kernelStatus(w, p, v.Kernel)
	if len(v.Policies) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s\n", p.paint(bold, "policies"))
	policyTable(v.Policies).writeAlone(w, p)
}

func kernelStatus(w io.Writer, p painter, k core.KernelView) {
	owned := "not owned: other programs can change it, and changes are repaired"
	if k.Owned {
		owned = "owned: no other program can change it"
	}
	field(w, p, "table", k.Table+", "+owned, "")
	if k.Adopted {
		field(w, p, "", "adopted from the run before", "")
	}
	field(w, p, "commits", fmt.Sprintf("%d, p50 %s, p99 %s; ruleset generation %d", k.Commits, seconds(k.P50Seconds), seconds(k.P99Seconds), k.Generation), "")
	name := "lacks"
	for _, f := range k.Features {
		if !f.Present {
			field(w, p, name, missingText(f), "")
			name = ""
		}
	}
	if k.LastError != "" {
		field(w, p, "", "! "+k.LastError, red)
	}
}

// missingText is a part that the kernel lacks, what is lost with it, and what to
// do.
func missingText(f core.Feature) string {
	text := f.Name + " (" + f.Lost + ")"
	if f.Remedy != "" {
		text += ": " + f.Remedy
	}
	return text
}

func serviceCounts(v core.NodeView) string {
	up, all, empty := 0, 0, 0
	for _, s := range v.Services {
		alive := 0
		for _, b := range s.Backends {
			if b.Sorry {
				continue
			}
			all++
			if b.Health == core.Up {
				alive++
			}
		}
		up += alive
		if alive == 0 {
			empty++
		}
	}
	text := fmt.Sprintf("%d, with %d of %d backends up", len(v.Services), up, all)
	if empty > 0 {
		text += fmt.Sprintf("; %d without any", empty)
	}
	return text
}

func policyTable(policies []core.PolicyView) *table {
	t := &table{columns: []column{{title: "POLICY"}, {title: "VERSION"}, {"CALLS", true}, {"P50", true}, {"FAULTS", true}, {title: "STATE"}}}
	for _, v := range policies {
		p50 := unknown // where it was never called
		if v.Calls > 0 {
			p50 = seconds(v.P50Seconds)
		}
		_, hash, ok := strings.Cut(v.Version, "@")
		if !ok {
			hash = v.Version
		}
		state, faults := cell{text: "well"}, cell{text: fmt.Sprint(v.Faults)}
		if v.Faults > 0 {
			faults.color = yellow
			state.text = "last fault: " + v.LastFault
		}
		if v.QuarantineSecond > 0 {
			state = cell{"quarantined for " + seconds(v.QuarantineSecond) + ": " + v.LastFault, red}
		}
		t.add(cell{v.Name, bold}, hash, v.Calls, p50, faults, state)
	}
	return t
}
