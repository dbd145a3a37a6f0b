// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/steelyard-lb/steelyard/core"
)

func TestStatusNotes(t *testing.T) {
	var out bytes.Buffer
	v := core.NodeView{Warnings: []string{"this node does not forward IPv4"}, SamplesUnknown: 5, Bus: core.BusView{Late: 2}}
	renderStatus(&out, v, false)
	for _, want := range []string{"! this node does not forward IPv4", "dropped   samples: 2 late, 5 of unknown backends"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, &out)
		}
	}
	out.Reset()
	if renderStatus(&out, core.NodeView{}, false); strings.Contains(out.String(), "dropped") {
		t.Errorf("nothing was dropped:\n%s", &out)
	}
}

// A service that turns everybody away is what has to be seen to first.
func TestNobodyServes(t *testing.T) {
	s := core.ServiceView{Name: "web", DecisionSeq: 1, Settings: &core.Settings{}, Backends: []core.BackendView{{Name: "b1"}, {Name: "b2"}}}
	for _, tt := range []struct {
		name   string
		change func(*core.ServiceView)
		want   string
	}{
		{"refused", func(s *core.ServiceView) { s.Settings.OnEmpty = core.Reject }, "! web: no backend serves: new clients are refused (on_empty: reject)"},
		{"silence", func(s *core.ServiceView) { s.Settings.OnEmpty = core.Drop }, "! web: no backend serves: new clients get no answer (on_empty: drop)"},
		{"one serves", func(s *core.ServiceView) { s.Backends[1].Share = 1 }, ""},
		{"not decided yet", func(s *core.ServiceView) { s.DecisionSeq = 0 }, ""},
		{"an older daemon", func(s *core.ServiceView) { s.Settings = nil }, ""},
	} {
		one := s
		one.Settings, one.Backends = &core.Settings{}, slices.Clone(s.Backends)
		tt.change(&one)
		var out bytes.Buffer
		renderStatus(&out, core.NodeView{Services: []core.ServiceView{one}}, false)
		if tt.want == "" && strings.Contains(out.String(), "no backend serves") || !strings.Contains(out.String(), tt.want) {
			t.Errorf("%s: want %q in:\n%s", tt.name, tt.want, &out)
		}
	}
}

func TestConfigurationIsNoCommand(t *testing.T) {
	err := unknownCommand(errors.New(`unknown command "web.yaml" for "steelyard check"`))
	var e *codedError
	if !errors.As(err, &e) || e.hint != "a configuration is named with -c: steelyard check -c web.yaml" {
		t.Errorf("got %v with hint %q", err, e.hint)
	}
}
