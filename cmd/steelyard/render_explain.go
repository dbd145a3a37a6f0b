// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/steelyard-lb/steelyard/core"
)

// renderExplain prints how one backend of a decision came to its share, from
// the readings to the kernel, and how its probes ended last.
func renderExplain(w io.Writer, d core.Decision, b core.BackendDecision, probes []probeRow, color bool) {
	p := painter(color)
	id := core.BackendID{Service: d.Service, Backend: b.Backend}
	fmt.Fprintf(w, "%s  %s  share %s  %d of %d slots\n", p.paint(bold, clean(id.String())),
		p.paint(decidedState(b).color, decidedState(b).text), p.paint(bold, ratio(b.Share)), b.Slots, core.Slots)
	field(w, p, "why", b.Why, "")
	if b.Override != nil {
		field(w, p, "command", commandText(*b.Override), yellow)
	}
	decisionFields(w, p, d)
	shadowOne(w, p, d, b)
	fmt.Fprintf(w, "\n%s\n", p.paint(bold, "inputs"))
	if d.Leader != nil && len(b.Inputs) == 0 { // who follows asks no policy
		fmt.Fprintf(w, "  %s\n", p.paint(dim, fmt.Sprintf("%s asked the policy: `steelyard explain %s` there has them", clean(d.Leader.Node), clean(id.String()))))
	} else {
		inputTable(b).writeAlone(w, p)
	}
	if len(probes) > 0 {
		fmt.Fprintf(w, "\n%s\n", p.paint(bold, "probes"))
		probeTable(probes).writeAlone(w, p)
	}
	fmt.Fprintf(w, "\n%s  configured weight %d\n", p.paint(bold, "steps"), b.Configured)
	if o := b.Override; o != nil && o.Kind == core.OverrideWeight {
		fmt.Fprintf(w, "  %s\n", p.paint(yellow, fmt.Sprintf("weight %d is in force, by command", o.Weight)))
	}
	stepTable(b).writeAlone(w, p)
	fmt.Fprintf(w, "\n%s\n", p.paint(bold, "kernel"))
	kernelFields(w, p, d)
}

// shadowColumn is where SHADOW stands; services without a shadow go without it.
const shadowColumn = 5

// renderExplainService prints every backend of a decision, one a line.
func renderExplainService(w io.Writer, d core.Decision, color bool) {
	p := painter(color)
	fmt.Fprintf(w, "%s\n", p.paint(bold, clean(d.Service)))
	decisionFields(w, p, d)
	shadowFields(w, p, d.Shadow)
	kernelFields(w, p, d)
	fmt.Fprintln(w)
	t := table{columns: []column{{title: "BACKEND"}, {title: "STATE"}, {"WEIGHT", true}, {"POLICY", true},
		{"SHARE", true}, {"SHADOW", true}, {"SLOTS", true}, {title: "SHAPED BY"}, {title: "WHY"}}}
	for _, b := range d.Backends {
		weight := cell{text: fmt.Sprint(b.Configured)}
		if o := b.Override; o != nil && o.Kind == core.OverrideWeight {
			weight = cell{fmt.Sprintf("%d*", o.Weight), yellow}
		}
		t.add(cell{b.Backend, bold}, decidedState(b), weight,
			policyShare(b), ratio(b.Share), shadowShare(b), b.Slots, shapedBy(b), b.Why)
	}
	if d.Shadow == nil {
		t.drop(shadowColumn)
	}
	t.writeAlone(w, p)
}

// decidedState is the state of a backend at a decision.
func decidedState(b core.BackendDecision) cell {
	return stateCell(cmp.Or(b.State, core.BackendState(b.Health.String())), b.Health)
}

// commandText is an override with its times.
func commandText(o core.Override) string {
	text := fmt.Sprintf("%s, since %s", o, stamp(o.Since))
	if o.Until.IsZero() {
		return text + ", until \"backend ready\""
	}
	return text + ", until " + stamp(o.Until)
}

// writeAlone prints a table that need not line up with another.
func (t table) writeAlone(w io.Writer, p painter) { t.write(w, "  ", t.widths(nil), p) }

// field prints one line of the head; nothing if there is nothing to say.
func field(w io.Writer, p painter, name, text string, c color) {
	if text != "" {
		fmt.Fprintf(w, "  %s  %s\n", p.paint(dim, fmt.Sprintf("%-8s", name)), p.paint(c, clean(text)))
	}
}

func decisionFields(w io.Writer, p painter, d core.Decision) {
	field(w, p, "decision", fmt.Sprintf("#%d at %s on %s, because of: %s", d.Seq, stamp(d.At), d.Node, d.Trigger), "")
	leaderFields(w, p, d.Leader)
	for i, c := range d.Causes {
		name := ""
		if i == 0 {
			name = "causes"
		}
		field(w, p, name, causeText(d.Service, c), "")
	}
	policy := d.Policy
	if d.PolicyVersion != "" {
		policy += " (" + d.PolicyVersion + ")"
	}
	if d.Leader == nil { // who follows asks no policy
		policy += ", took " + seconds(d.PolicySeconds)
	}
	field(w, p, "policy", policy, "")
	if d.PolicyError != "" {
		field(w, p, "", "! "+d.PolicyError+"; the last good weights hold", red)
	}
}

// leaderFields say whose shares these are, where another node has decided.
func leaderFields(w io.Writer, p painter, l *core.LeaderView) {
	if l == nil {
		return
	}
	field(w, p, "leader", fmt.Sprintf("%s decided these shares at %s as its #%d; epoch %d, %d, heard at %s", l.Node, stamp(l.At), l.Decision, l.Epoch, l.Seq, stamp(l.HeardAt)), "")
	if len(l.Gated) > 0 {
		field(w, p, "", "! less than it gave, since out of service here: "+fewOf(l.Gated), yellow)
	}
}

// causeText names a sample: by whom, of what and when.
func causeText(service string, c core.SampleRef) string {
	text := fmt.Sprintf("sample of %s of %s/%s", cmp.Or(c.Probe, "a monitor"), service, c.Backend)
	if c.Node != "" {
		text += " by " + c.Node
	}
	if c.Seq > 0 {
		text += fmt.Sprintf(" #%d", c.Seq)
	}
	return text + " at " + stamp(c.At)
}

func kernelFields(w io.Writer, p painter, d core.Decision) {
	c := green
	switch d.Outcome {
	case core.Failed:
		c = red
	case core.Unchanged:
		c = ""
	}
	outcome := string(d.Outcome)
	if d.Outcome == core.Unchanged {
		outcome += ": these slots are in force already"
	}
	field(w, p, "outcome", outcome, c)
	if d.Error != "" {
		field(w, p, "", "! "+d.Error, red)
	}
	if d.Commit == nil {
		return
	}
	field(w, p, "commit", fmt.Sprintf("generation %d at %s, %s changed", d.Commit.Generation, stamp(d.Commit.At), plural(d.Commit.Changed, "set element")), "")
	if d.Outcome == core.Applied {
		field(w, p, "took", fmt.Sprintf("%s for the transaction and its read-back, %s from the trigger on", seconds(d.CommitSeconds), seconds(d.TotalSeconds)), "")
	}
}

func inputTable(b core.BackendDecision) *table {
	t := &table{columns: []column{{title: "METRIC"}, {"VALUE", true}, {"AGE", true}, {"WINDOW", true}, {title: "NOTE"}}}
	for _, in := range b.Inputs {
		val, age, window, note := unknown, unknown, unknown, ""
		if in.Known || in.AgeSeconds > 0 {
			val, age = measured(core.Metric{Value: in.Value, Unit: in.Unit}), seconds(in.AgeSeconds)
		}
		if in.WindowSeconds > 0 {
			window = seconds(in.WindowSeconds)
		}
		if !in.Known {
			note = "never measured"
			if in.AgeSeconds > 0 {
				note = "stale: the policy did not see it"
			}
		}
		t.add(in.Metric, val, age, window, inputNote(in, note))
	}
	if len(b.Inputs) == 0 {
		t.add("none", unknown, unknown, unknown, "")
	}
	return t
}

// inputNote is what is wrong with an input, or which sample it is of.
func inputNote(in core.Input, wrong string) cell {
	if wrong != "" || in.Node == "" {
		return cell{wrong, yellow}
	}
	text := fmt.Sprintf("%s by %s", in.Probe, in.Node)
	if in.Seq > 0 {
		text += fmt.Sprintf(" #%d", in.Seq)
	}
	return cell{text, dim}
}

func probeTable(probes []probeRow) *table {
	t := &table{columns: []column{{title: "PROBE"}, {title: "ROLE"}, {title: "CODE"}, {"AGE", true}, {title: "DETAIL"}}}
	for _, r := range probes {
		code, age, detail := cell{text: string(r.Code)}, seconds(r.Age), r.Detail
		switch {
		case r.Age < 0:
			code.text, age, detail = unknown, unknown, "has not run yet"
		case !r.OK && r.Role == core.MetricRole:
			code.color = yellow
		case !r.OK:
			code.color = red
		}
		t.add(cell{r.Name, bold}, string(r.Role), code, age, detail)
	}
	return t
}

func stepTable(b core.BackendDecision) *table {
	t := &table{columns: []column{{title: "STEP"}, {"BEFORE", true}, {"AFTER", true}, {"FACTOR", true}, {title: "NOTE"}}}
	for _, s := range b.Steps {
		factor := cell{text: "×" + strconv.FormatFloat(s.Factor(), 'f', 3, 64)}
		switch {
		case s.Before == s.After:
			factor.text = "="
		case s.Name == "freshness": // Before is the configured share, which this did not start from
			factor.text = "held"
		case s.Before == 0:
			factor.text = "new"
		case s.After > s.Before:
			factor.color = green
		default:
			factor.color = red
		}
		t.add(s.Name, exactRatio(s.Before), exactRatio(s.After), factor, s.Note)
	}
	t.add("share", "", cell{exactRatio(b.Share), bold}, "", fmt.Sprintf("%d slots", b.Slots))
	return t
}

// exactRatio has the digits of one slot in 65536.
func exactRatio(v float64) string { return strconv.FormatFloat(v*100, 'f', 3, 64) + "%" }

func policyShare(b core.BackendDecision) string {
	if b.Policy == nil {
		return "held"
	}
	return ratio(*b.Policy)
}

// shapedBy names the steps that changed what the policy said.
func shapedBy(b core.BackendDecision) string {
	var names []string
	for _, s := range b.Steps {
		if s.Name != "policy" && s.Name != "slots" && s.Before != s.After && !slices.Contains(names, s.Name) {
			names = append(names, s.Name)
		}
	}
	if len(names) == 0 {
		return unknown
	}
	return strings.Join(names, ", ")
}
