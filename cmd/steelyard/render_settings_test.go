// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// fill gives every field of a value something other than zero; a list gets one
// item.
func fill(t *testing.T, v reflect.Value) {
	t.Helper()
	switch v.Interface().(type) {
	case netip.Addr:
		v.Set(reflect.ValueOf(netip.MustParseAddr("192.0.2.1")))
		return
	case netip.AddrPort:
		v.Set(reflect.ValueOf(netip.MustParseAddrPort("10.0.0.1:80")))
		return
	case netip.Prefix:
		v.Set(reflect.ValueOf(netip.MustParsePrefix("10.1.0.0/16")))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i))
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(t, v.Index(0))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem())
	case reflect.Map:
	case reflect.String:
		v.SetString("text")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Float64:
		v.SetFloat(0.25)
	default:
		if v.CanUint() {
			v.SetUint(7)
		} else {
			v.SetInt(7)
		}
	}
}

// change makes a filled value another one; of a list, another length.
func change(t *testing.T, v reflect.Value) {
	t.Helper()
	switch v.Interface().(type) {
	case netip.Addr:
		v.Set(reflect.ValueOf(netip.MustParseAddr("192.0.2.99")))
		return
	case netip.Prefix:
		v.Set(reflect.ValueOf(netip.MustParsePrefix("10.99.0.0/16")))
		return
	}
	switch v.Kind() {
	case reflect.Slice:
		more := reflect.New(v.Type().Elem()).Elem()
		fill(t, more)
		v.Set(reflect.Append(v, more))
	case reflect.Pointer:
		was := v.Elem()
		v.Set(reflect.New(was.Type())) // the one before belongs to others, too
		v.Elem().Set(was)
		change(t, v.Elem())
	case reflect.String:
		v.SetString(v.String() + "x")
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Float64:
		v.SetFloat(v.Float() * 2)
	default:
		if v.CanUint() {
			v.SetUint(v.Uint() + 3)
		} else {
			v.SetInt(v.Int() * 3)
		}
	}
}

// leaves calls fn for each field of a struct that is no struct of ours itself.
func leaves(v reflect.Value, path string, fn func(path string, v reflect.Value)) {
	for i := range v.NumField() {
		f, at := v.Field(i), path+v.Type().Field(i).Name
		if f.Kind() == reflect.Struct && f.Type().PkgPath() == reflect.TypeFor[core.Traffic]().PkgPath() {
			leaves(f, at+".", fn)
			continue
		}
		fn(at, f)
	}
}

// fullService has every field set, so that one that changes shows whatever it
// takes to be shown.
func fullService(t *testing.T) core.Service {
	var s core.Service
	fill(t, reflect.ValueOf(&s).Elem())
	s.Frontends = []core.Frontend{core.ExactFrontend(netip.MustParseAddrPort("192.0.2.10:80"), core.TCP)}
	s.Distribution, s.HashKey, s.Forwarding, s.OnEmpty, s.OnDown = core.Hash, core.BySource, core.SNAT, core.Reject, core.Keep
	s.Source6, s.Limits.Answer = netip.MustParseAddr("2001:db8::1"), core.Drop
	s.FlowTimeout, s.Persistence.Timeout = time.Minute, 5*time.Minute
	s.AllowFile, s.DenyFile = "/etc/steelyard/allow", "/etc/steelyard/deny"
	s.Health.Start, s.Health.FlapWindow, s.Health.FlapHold, s.Health.FlapMax = core.Up, time.Minute, time.Minute, time.Minute
	s.Passive.Eject, s.Passive.Max = time.Minute, time.Minute
	return s
}

// explained is all that explain says of the configuration of a service, as text
// and as JSON.
func explained(t *testing.T, s *core.Service) (text, data string) {
	v := serviceState{ServiceView: core.ServiceView{Name: "web", Offload: s.Offload, Settings: s.Settings(true)}}
	var b bytes.Buffer
	renderSettings(&b, v, false)
	out, err := json.Marshal(explainAnswerOf(core.Decision{}, v, ""))
	if err != nil {
		t.Fatal(err)
	}
	return b.String(), string(out)
}

// TestExplainKnowsEverySetting changes one field of a service after the other and
// expects explain to say something else: a new feature has to be shown.
func TestExplainKnowsEverySetting(t *testing.T) {
	elsewhere := map[string]string{
		"Name": "the head", "Policy": "the decision", "Shadow": "the decision", "Params": "policy", "Every": "policy", "Probes": "SERVICE/BACKEND",
		"Backends": "the table, and SERVICE/BACKEND",
	}
	words := map[string]any{
		"Distribution": core.RoundRobin, "HashKey": core.BySourcePort, "Forwarding": core.Masquerade,
		"OnEmpty": core.Drop, "OnDown": core.Reset, "Health.Start": core.Down, "Limits.Answer": core.Reject,
	}
	base := fullService(t)
	text, data := explained(t, &base)
	leaves(reflect.ValueOf(&base).Elem(), "", func(path string, _ reflect.Value) {
		short := strings.TrimPrefix(path, "Traffic.")
		steps := strings.HasPrefix(path, "Shaping.") && path != "Shaping.Panic" // the steps of a decision show them
		if elsewhere[path] != "" || steps {
			return
		}
		other := fullService(t)
		f := reflect.ValueOf(&other).Elem()
		for name := range strings.SplitSeq(path, ".") {
			f = f.FieldByName(name)
		}
		if word := words[short]; word != nil {
			f.Set(reflect.ValueOf(word))
		} else {
			change(t, f)
		}
		newText, newData := explained(t, &other)
		if newText == text {
			t.Errorf("explain does not show %s: put it into settingsOf", path)
		}
		if newData == data {
			t.Errorf("explain -o json does not show %s: put it into core.Settings", path)
		}
	})
}

// TestExplainKnowsEveryBackendSetting: what a backend may have of its own is in
// its settings, or elsewhere in what explain and show print.
func TestExplainKnowsEveryBackendSetting(t *testing.T) {
	elsewhere := map[string]bool{"Name": true, "Addr": true, "Alt": true, "Weight": true}
	own := reflect.TypeFor[backendSettings]()
	for _, f := range reflect.VisibleFields(reflect.TypeFor[core.Backend]()) {
		if _, ok := own.FieldByName(f.Name); !ok && !elsewhere[f.Name] {
			t.Errorf("explain SERVICE/BACKEND does not show %s: put it into backendSettings and backendLines", f.Name)
		}
	}
}

// busyState is a service that uses everything, and has had to.
func busyState(t *testing.T) serviceState {
	s := fullService(t)
	s.Frontends = append(s.Frontends, core.Frontend{VIP: netip.MustParsePrefix("2001:db8::/64"), Ports: core.PortRange{First: 8000, Last: 8999}, Protocol: core.UDP})
	s.Deny, s.AllowFile, s.Interfaces, s.FlowTimeout = make([]netip.Prefix, 5000), "", nil, 0
	s.Limits.New, s.Limits.Open = core.Rate{PerSecond: 1000, Burst: 200}, 5000
	s.Log = core.LogRule{PerSecond: 5}
	s.Persistence.Prefix4, s.Persistence.Prefix6, s.Persistence.Size = 24, 128, 65536
	s.Limits.Clients, s.Helper, s.MinUp, s.Shaping.Panic = 65536, "ftp", 2, 0.3
	s.QoS = core.QoS{DSCP: ptr(uint8(46)), Mark: 0x10, Mask: 0xf0}
	v := core.ServiceView{Name: "web", Forwarding: core.SNAT, Offload: true, RefusedTotal: 9, Settings: s.Settings(true)}
	v.TurnedAwayTotal = core.Turned{Denied: 12, Rate: 3, ClientRate: 1, Resets: 7}
	v.Pins = []core.PinState{{Pin: core.Pin{Client: netip.MustParsePrefix("192.0.2.7/32"), Backend: "b1"}, Author: "alice"}}
	v.Backends = []core.BackendView{
		{Name: "b1", Forwarding: core.SNAT, Source: "10.0.0.1", QoS: "mark 0x30/0xf0", Priority: 1, MaxConnections: 500},
		{Name: "b2", Forwarding: core.Masquerade},
		{Name: "b3", Forwarding: core.SNAT},
		{Name: "sorry", Address: "10.0.9.9:80", Forwarding: core.SNAT, Sorry: true},
	}
	return serviceState{ServiceView: v, Sessions: &core.SessionsView{Counts: []core.SessionCount{
		{Family: "ipv4", Entries: 3, Size: 65536}, {Family: "ipv6", Entries: 65536, Size: 65536}}}}
}

func TestSettingsGolden(t *testing.T) {
	plain := core.Service{Name: "web", Traffic: core.Simple(netip.MustParseAddrPort("192.0.2.10:80"), core.TCP), OnDown: core.Keep, MinUp: 1}
	dsr := core.Service{Name: "web", Traffic: core.Simple(netip.MustParseAddrPort("192.0.2.10:80"), core.TCP), OnDown: core.Keep, MinUp: 1}
	dsr.Distribution, dsr.HashKey, dsr.Seed, dsr.Forwarding = core.Hash, core.BySourcePort, 1, core.DSR
	dsr.Interfaces, dsr.FlowTimeout = []string{"eth0", "eth1"}, 10*time.Minute
	lacking := busyState(t)
	lacking.Sessions, lacking.LacksOffload = nil, "modprobe nft_flow_offload"

	var b bytes.Buffer
	for _, c := range []struct {
		name string
		v    serviceState
	}{
		{"defaults", serviceState{ServiceView: core.ServiceView{Settings: plain.Settings(false)}}},
		{"dsr", serviceState{ServiceView: core.ServiceView{Settings: dsr.Settings(true)}}},
		{"everything", busyState(t)},
		{"a kernel without flowtables, sessions that cannot be read", lacking},
	} {
		fmt.Fprintf(&b, "# %s", c.name)
		renderSettings(&b, c.v, false)
	}
	for _, name := range []string{"b1", "b2", "b3", "sorry"} {
		fmt.Fprintf(&b, "# %s", name)
		renderBackendSettings(&b, busyState(t).ServiceView, name, false)
	}
	golden(t, "settings.txt", b.Bytes())

	data, err := json.MarshalIndent(explainAnswerOf(core.Decision{Service: "web"}, busyState(t), "b1"), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "explain.json", append(data, '\n'))
}

// The daemon of another version says nothing of its settings: no section, and no
// panic.
func TestNoSettings(t *testing.T) {
	var b bytes.Buffer
	renderSettings(&b, serviceState{}, false)
	if b.Len() > 0 {
		t.Errorf("got %q", b.String())
	}
}
