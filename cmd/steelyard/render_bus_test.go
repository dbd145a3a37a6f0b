// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
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
