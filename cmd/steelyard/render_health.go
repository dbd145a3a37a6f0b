// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"

	"github.com/steelyard-lb/steelyard/core"
)

// healthSettings are how the health of a service's backends comes about, where that
// is not the plain way: all health probes must be up.
func healthSettings(v serviceState) (out []settingLine) {
	add := func(on bool, key, format string, args ...any) {
		if on {
			out = append(out, settingLine{key, fmt.Sprintf(format, args...)})
		}
	}
	h, p := v.Settings.Health, v.Settings.Passive
	add(h.Need > 0, "health.need", "a backend is up with %d of its health probes", h.Need)
	add(len(h.Critical) > 0, "health.critical", "%s must be up whatever the others are", strings.Join(h.Critical, ", "))
	switch h.Start {
	case core.Up:
		add(true, "health.start", "up: a backend serves before its first sample, until bad ones take it out")
	case core.Down:
		add(true, "health.start", "down: a backend serves once as many samples were good as a rise takes")
	}
	add(h.FlapLimit > 0, "health.flap_limit", "a backend that goes down %d times in %s is held down until it was well for %s, twice as long each further time, at most %s",
		h.FlapLimit, seconds(h.FlapWindow.Seconds()), seconds(h.FlapHold.Seconds()), seconds(h.FlapMax.Seconds()))
	add(p.Active(), "passive", "%s; for %s, each further time as much longer, at most %s; at most %s of the backends at one time",
		passiveText(p), seconds(p.Eject.Seconds()), seconds(p.Max.Seconds()), ratio(p.MaxRatio))
	return out
}

func passiveText(p core.PassiveRule) string {
	var causes []string
	if p.Unanswered > 0 {
		causes = append(causes, plural(p.Unanswered, "connection")+" in a row that it did not answer")
	}
	if p.Resets > 0 {
		causes = append(causes, plural(p.Resets, "connection")+" in a row that it refused")
	}
	return "a backend is ejected by " + strings.Join(causes, ", or ")
}
