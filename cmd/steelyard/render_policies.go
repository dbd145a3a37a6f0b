// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// A pluginsAnswer is what `show plugins -o json` prints.
type pluginsAnswer struct {
	At       time.Time         `json:"at"`
	Policies []core.PolicyView `json:"policies"`
}

// policyNotes are what an operator has to see to about a policy.
func policyNotes(v core.PolicyView, at time.Time) []cell {
	var notes []cell
	if v.QuarantineSecond > 0 {
		notes = append(notes, cell{fmt.Sprintf("quarantined for another %s: it cost its worker its life, and is not called meanwhile", seconds(v.QuarantineSecond)), red})
	}
	if v.RolledBack != "" {
		notes = append(notes, cell{v.RolledBack, red})
	}
	if v.FileRefused != "" {
		notes = append(notes, cell{"its file has changed and was refused, this version goes on: " + v.FileRefused, red})
	}
	if v.LastFault != "" {
		when := ""
		if !v.LastFaultAt.IsZero() {
			when = " " + ago(v.LastFaultAt, at)
		}
		notes = append(notes, cell{fmt.Sprintf("last fault%s: %s", when, v.LastFault), yellow})
	}
	return notes
}

// policyState is how a policy is in two words.
func policyState(v core.PolicyView) cell {
	switch {
	case v.QuarantineSecond > 0:
		return cell{"quarantined", red}
	case v.RolledBack != "":
		return cell{"rolled back", red}
	case v.FileRefused != "":
		return cell{"file refused", red}
	}
	return cell{text: "well"}
}

func faultCell(v core.PolicyView) cell {
	c := cell{text: fmt.Sprint(v.Faults)}
	if v.Faults > 0 {
		c.color = yellow
	}
	return c
}

// versionHash is the part of a version that tells contents apart.
func versionHash(version string) string {
	if _, hash, ok := strings.Cut(version, "@"); ok {
		return hash
	}
	return version
}

// policyFileText is where a policy comes from.
func policyFileText(v core.PolicyView) string {
	switch {
	case v.Path != "":
		return v.Path
	case v.Language == "lua":
		return "in the configuration"
	}
	return unknown
}

func policyTable(policies []core.PolicyView, at time.Time) *table {
	t := &table{columns: []column{{title: "POLICY"}, {title: "VERSION"}, {"CALLS", true}, {"P50", true}, {"FAULTS", true}, {title: "STATE"}}}
	for _, v := range policies {
		p50 := unknown // where it was never called
		if v.Calls > 0 {
			p50 = seconds(v.P50Seconds)
		}
		state := policyState(v) // what else there is to say of it stands above the table
		switch {
		case v.QuarantineSecond > 0:
			state.text = "quarantined for " + seconds(v.QuarantineSecond) + ": " + v.LastFault
		case state.color == "" && v.LastFault != "":
			state.text = policyNotes(v, at)[0].text
		}
		t.add(cell{v.Name, bold}, versionHash(v.Version), v.Calls, p50, faultCell(v), state)
	}
	return t
}
