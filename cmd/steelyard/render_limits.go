// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"io"

	"github.com/steelyard-lb/steelyard/core"
)

// filterSettings are who may connect. Both lists have one counter, which stands
// behind the last of them.
func filterSettings(v serviceState) (out []settingLine) {
	s := v.Settings
	add := func(key string, n int, file, what string) {
		if n == 0 {
			return
		}
		text := what + " " + plural(n, "network")
		if file != "" {
			text += ", with those of " + file
		}
		out = append(out, settingLine{key, text})
	}
	add("allow", s.AllowPrefixes, s.AllowFile, "only clients of")
	add("deny", s.DenyPrefixes, s.DenyFile, "no clients of")
	if len(out) > 0 {
		out[len(out)-1].text += turnedText(v, v.TurnedAwayTotal.Denied, "connection")
	}
	return out
}

// limitSettings are one line for each limit, with what it has turned away.
func limitSettings(v serviceState) (out []settingLine) {
	l := v.Settings.Limits
	add := func(on bool, format string, args ...any) {
		if on {
			out = append(out, settingLine{"limits", fmt.Sprintf(format, args...)})
		}
	}
	rate := func(r core.Rate, what string, turned uint64, unit string) {
		add(r.PerSecond > 0, "%d %s, %d at once%s", r.PerSecond, what, r.Burst, turnedText(v, turned, unit))
	}
	t := v.TurnedAwayTotal
	rate(l.New, "new connections/s", t.Rate, "connection")
	rate(l.NewPerClient, "new connections/s per client", t.ClientRate, "connection")
	add(l.Open > 0, "%d open connections%s", l.Open, turnedText(v, t.Open, "connection"))
	add(l.OpenPerClient > 0, "%d open connections per client%s", l.OpenPerClient, turnedText(v, t.ClientOpen, "connection"))
	rate(l.ResetsPerClient, "resets/s per client", t.Resets, "packet")
	add(l.Strict, "no packets that connection tracking finds invalid%s", turnedText(v, t.Invalid, "packet"))
	if len(out) == 0 {
		return nil
	}
	add(l.NewPerClient.PerSecond+l.OpenPerClient+l.ResetsPerClient.PerSecond > 0, "at most %d clients of each family are counted", l.Clients)
	answer := "nothing (drop)"
	if l.Answer == core.Reject {
		answer = "a reset or an ICMP error (reject)"
	}
	add(l.New.PerSecond+l.NewPerClient.PerSecond+l.Open+l.OpenPerClient > 0, "a connection above a limit is answered with %s", answer)
	return out
}

// turnedText is what was turned away so far; the data plane of a service that is
// not in force counts nothing.
func turnedText(v serviceState, n uint64, unit string) string {
	if n == 0 {
		return ""
	}
	return "; turned away: " + plural(int(n), unit)
}

// packetSettings are what is done to packets besides.
func packetSettings(v serviceState) (out []settingLine) {
	s := v.Settings
	add := func(on bool, key, format string, args ...any) {
		if on {
			out = append(out, settingLine{key, fmt.Sprintf(format, args...)})
		}
	}
	add(s.Log.PerSecond > 0, "log", "at most %s a second of what is turned away, as %q", plural(int(s.Log.PerSecond), "line"),
		cmp.Or(s.Log.Prefix, "steelyard "+v.Name))
	add(s.QoS.Active(), "qos", "%s", s.QoS)
	add(s.Helper != "", "helper", "%s: the connections that it announces follow to the same backend", s.Helper)
	switch {
	case s.Offload && v.LacksOffload != "":
		add(true, "offload", "asked for, but this kernel lacks flowtables: %s", v.LacksOffload)
	case s.Offload:
		add(true, "offload", "established connections go through a flowtable")
	}
	add(s.Bytes, "count_bytes", "packets and bytes are counted, in both directions")
	return out
}

// A backendSettings is what a backend has of its own, as explain prints it.
type backendSettings struct {
	Forwarding     core.Forwarding `json:"forwarding"`
	Source         string          `json:"source,omitempty"` // the address of snat
	QoS            string          `json:"qos,omitempty"`    // as in "dscp 46, class 1:20, mark 0x10/0xf0"
	Priority       uint8           `json:"priority"`
	MaxConnections uint32          `json:"max_connections,omitempty"`
	Sorry          bool            `json:"sorry,omitempty"`
}

func ownSettings(b core.BackendView) backendSettings {
	return backendSettings{Forwarding: b.Forwarding, Source: b.Source, QoS: b.QoS, Priority: b.Priority, MaxConnections: b.MaxConnections, Sorry: b.Sorry}
}

// backendLines are those in which a backend differs from its service.
func backendLines(s core.ServiceView, b core.BackendView) (out []settingLine) {
	own := ownSettings(b)
	add := func(on bool, key, text string) {
		if on {
			out = append(out, settingLine{key, text})
		}
	}
	add(own.Forwarding != s.Forwarding, "forwarding", string(own.Forwarding)+": "+forwardings[own.Forwarding])
	add(own.Source != "", "source", own.Source)
	add(own.QoS != "", "qos", own.QoS+", with that of the service")
	add(own.Priority > 0, "priority", fmt.Sprintf("%d: serves when too few of the priorities before it are up", own.Priority))
	add(own.MaxConnections > 0, "max_connections", fmt.Sprintf("%d open connections take it out of the weights", own.MaxConnections))
	add(own.Sorry, "sorry", "serves when no backend is left, and is not probed")
	return out
}

// renderBackendSettings prints what a backend has of its own; nothing if that is
// nothing.
func renderBackendSettings(w io.Writer, s core.ServiceView, backend string, p painter) {
	for _, b := range s.Backends {
		if list := backendLines(s, b); b.Name == backend && len(list) > 0 {
			fmt.Fprintf(w, "\n%s\n", p.paint(bold, "settings of its own"))
			writeSettings(w, list, p)
		}
	}
}
