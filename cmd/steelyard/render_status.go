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
	if v.RevisionError != "" {
		field(w, p, "", "! "+v.RevisionError, red)
	}
	clusterStatus(w, p, v)
	nodeNotes(w, p, v)
	field(w, p, "services", serviceCounts(v), "")
	for _, s := range v.Services {
		for _, note := range serviceNotes(s) {
			field(w, p, "", "! "+s.Name+": "+note, red)
		}
	}
	for _, pv := range v.Policies {
		for _, n := range policyNotes(pv, v.At) {
			if n.color == red {
				field(w, p, "", "! policy "+pv.Name+": "+n.text, red)
			}
		}
	}
	if v.Carries() {
		kernelStatus(w, p, v.Kernel)
	} else {
		field(w, p, "table", "none: this node carries no traffic", "")
	}
	webhookStatus(w, p, v.Webhooks)
	if len(v.Policies) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s\n", p.paint(bold, "policies"))
	policyTable(v.Policies, v.At).writeAlone(w, p)
}

// clusterStatus is how the node stands to others; nothing of one that is alone.
func clusterStatus(w io.Writer, p painter, v core.NodeView) {
	if v.Cluster == nil {
		return
	}
	if all := core.AllRoles.Names(); len(v.Roles) > 0 && len(v.Roles) < len(all) {
		field(w, p, "roles", strings.Join(v.Roles, ", "), "")
	}
	field(w, p, "cluster", clusterText(v), "")
	for _, n := range clusterNotes(v) {
		field(w, p, "", "! "+n, yellow)
	}
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
