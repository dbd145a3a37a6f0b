// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/steelyard-lb/steelyard/core"
)

// A serviceState is what explain knows of a service besides its decision.
type serviceState struct {
	core.ServiceView
	// Sessions are of a service with persistence or pins, without the list; nil of
	// others.
	Sessions *core.SessionsView
	// LacksOffload is what to do about a kernel without flowtables; empty where it
	// has them.
	LacksOffload string
}

// A settingLine is one line about one key of the configuration.
type settingLine struct {
	key  string // as in the configuration
	text string // with units, in the words of the documentation
}

// settingsOf are the settings of a service, those that are on or matter, in the
// order of the configuration.
func settingsOf(v serviceState) []settingLine {
	s := v.Settings
	if s == nil {
		return nil // of a daemon of another version
	}
	var out []settingLine
	for _, part := range [][]settingLine{
		{{"frontends", listed(s.Frontends, core.Frontend.String)}, {"distribution", distributionText(s)}},
		forwardingSettings(s), healthSettings(v), failureSettings(v), persistenceSettings(v), filterSettings(v), limitSettings(v), packetSettings(v),
	} {
		out = append(out, part...)
	}
	return out
}

// renderSettings prints them, each key once.
func renderSettings(w io.Writer, v serviceState, p painter) {
	list := settingsOf(v)
	if len(list) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s\n", p.paint(bold, "settings"))
	writeSettings(w, list, p)
}

// writeSettings lines the texts up behind their keys.
func writeSettings(w io.Writer, list []settingLine, p painter) {
	width := 0
	for _, s := range list {
		width = max(width, len(s.key))
	}
	last := ""
	for _, s := range list {
		key := s.key
		if key == last {
			key = ""
		}
		fmt.Fprintf(w, "  %s  %s\n", p.paint(dim, fmt.Sprintf("%-*s", width, key)), clean(s.text))
		last = s.key
	}
}

func distributionText(s *core.Settings) string {
	switch s.Distribution {
	case core.Random:
		return "random, each connection by itself"
	case core.RoundRobin:
		return "roundrobin, in turn"
	case core.SymHash:
		return "symhash, by both ends of the flow"
	}
	key := "the client's address"
	if s.HashKey == core.BySourcePort {
		key = "the client's address and port"
	}
	return fmt.Sprintf("%s of %s, seed %d", s.Distribution, key, s.Seed)
}

// forwardings tell what each way means to a backend.
var forwardings = map[core.Forwarding]string{
	core.DNAT:       "the backend sees the client, and answers through this node",
	core.Masquerade: "the backend sees an address of this node",
	core.SNAT:       "the backend sees the source address",
	core.Local:      "to ports of this node",
	core.DSR:        "the packet as it is, to the backend's link address; the backend answers the client itself",
	core.Stateless:  "packet by packet, without connection tracking",
}

func forwardingSettings(s *core.Settings) []settingLine {
	out := []settingLine{{"forwarding", string(s.Forwarding) + ": " + forwardings[s.Forwarding]}}
	add := func(on bool, key, text string) {
		if on {
			out = append(out, settingLine{key, text})
		}
	}
	var sources []string
	for _, a := range []fmt.Stringer{s.Source4, s.Source6} {
		if text := a.String(); text != noAddress {
			sources = append(sources, text)
		}
	}
	add(len(sources) > 0, "source", strings.Join(sources, ", "))
	add(len(s.Interfaces) > 0, "interfaces", "clients' packets arrive on "+listed(s.Interfaces, verbatim))
	add(s.FlowTimeout > 0, "flow_timeout", "a flow keeps its backend until it was silent for "+seconds(s.FlowTimeout.Seconds()))
	add(s.Hairpin, "hairpin", "connections of the service's own backends are masqueraded")
	add(len(s.MasqueradeFor) > 0, "masquerade_for", "clients in "+listed(s.MasqueradeFor, core.ClientText))
	add(s.LocalClients, "local_clients", "connections of this node itself are balanced, too")
	return out
}

// noAddress is how the zero netip.Addr prints.
const noAddress = "invalid IP"

// failureSettings tell what happens when backends are gone.
func failureSettings(v serviceState) []settingLine {
	s := v.Settings
	empty := "reject: a client that finds no backend is told at once"
	if s.OnEmpty == core.Drop {
		empty = "drop: a client that finds no backend hears nothing"
	}
	if v.RefusedTotal > 0 {
		empty += fmt.Sprintf("; %d so far", v.RefusedTotal)
	}
	down := "keep: open connections of a dead backend stay, those of UDP go"
	if s.OnDown == core.Reset {
		down = "reset: open connections of a dead backend are forgotten, and its clients told by a reset"
	}
	out := []settingLine{{"on_empty", empty}, {"on_down", down}}
	for _, b := range v.Backends {
		if b.Sorry {
			out = append(out, settingLine{"sorry", b.Address + " serves when no backend is left"})
		}
	}
	if s.MinUp > 1 || hasGroups([]core.ServiceView{v.ServiceView}) {
		out = append(out, settingLine{"min_up", fmt.Sprintf("%s of a priority must be up for the next to stay in reserve", plural(s.MinUp, "backend"))})
	}
	if s.Panic > 0 {
		out = append(out, settingLine{"shaping.panic", fmt.Sprintf("with fewer than %s of the backends up, all of them serve", ratio(s.Panic))})
	}
	return out
}

func persistenceSettings(v serviceState) (out []settingLine) {
	s := v.Settings
	if p := s.Persistence; p.Timeout > 0 {
		text := "until a client made no new connection for " + seconds(p.Timeout.Seconds())
		if p.Prefix4 < 32 || p.Prefix6 < 128 {
			text += fmt.Sprintf("; a client is a /%d of IPv4, a /%d of IPv6", p.Prefix4, p.Prefix6)
		}
		out = append(out, settingLine{"persistence", text}, settingLine{"persistence", rememberedText(v)})
	}
	var pins []string
	if s.ConfigPins > 0 {
		pins = append(pins, fmt.Sprintf("%d by the configuration", s.ConfigPins))
	}
	if n := len(v.Pins); n > 0 {
		pins = append(pins, fmt.Sprintf("%d by command", n))
	}
	if len(pins) > 0 {
		out = append(out, settingLine{"pins", strings.Join(pins, ", ") + "; `steelyard show sessions " + v.Name + "` lists them"})
	}
	return out
}

// rememberedText is how many clients persistence remembers, of how many.
func rememberedText(v serviceState) string {
	size := v.Settings.Persistence.Size
	if v.Sessions == nil || v.Sessions.Error != "" || len(v.Sessions.Counts) == 0 {
		return fmt.Sprintf("remembers at most %d clients of each family", size)
	}
	var parts []string
	for _, c := range v.Sessions.Counts {
		text := fmt.Sprintf("%d of %d %s", c.Entries, c.Size, c.Family)
		if c.Full() {
			text += " (full: new ones are balanced at each connection)"
		}
		parts = append(parts, text)
	}
	return "clients remembered now: " + strings.Join(parts, ", ")
}

// fewListed is how many items of a list a line has room for.
const fewListed = 8

// listed joins the first items of a list.
func listed[T any](list []T, text func(T) string) string {
	var parts []string
	for i, item := range list {
		if i == fewListed {
			return strings.Join(parts, ", ") + fmt.Sprintf(" and %d more", len(list)-i)
		}
		parts = append(parts, text(item))
	}
	return strings.Join(parts, ", ")
}

func verbatim(s string) string { return s }

// briefSettings are the features of a service in a few words, below its line in
// show: "persistence 5 min, limits, offload". lacks says that this kernel cannot
// offload; empty if it can.
func briefSettings(v core.ServiceView, lacks string) string {
	var words []string
	add := func(on bool, word string) {
		if on {
			words = append(words, word)
		}
	}
	if s := v.Settings; s != nil {
		add(s.Persistence.Timeout > 0, "persistence "+seconds(s.Persistence.Timeout.Seconds()))
		add(s.ConfigPins+len(v.Pins) > 0, plural(s.ConfigPins+len(v.Pins), "pin"))
		add(s.AllowPrefixes > 0, "allow")
		add(s.DenyPrefixes > 0, "deny")
		add(len(limitSettings(serviceState{ServiceView: v})) > 0, "limits")
		add(s.Helper != "", "helper "+s.Helper)
		add(s.Hairpin || len(s.MasqueradeFor) > 0, "hairpin")
	}
	add(v.QoS != "", v.QoS)
	add(v.Offload && lacks == "", "offload")
	add(v.Offload && lacks != "", "no offload on this kernel")
	return strings.Join(words, ", ")
}
