// SPDX-License-Identifier: Apache-2.0

package core_test

import (
	"testing"

	"github.com/steelyard-lb/steelyard/core"
)

func TestNearest(t *testing.T) {
	names := []string{"web", "web-internal", "dns", "smtp", "interval"}
	tests := []struct{ word, want string }{
		{"wbe", "web"}, {"wab", "web"}, {"nds", "dns"}, {"sdn", ""}, {"we", "web"}, {"web-intrenal", "web-internal"}, {"dnss", "dns"},
		{"x", ""}, {"", ""}, {"kubernetes", ""}, {"smpt", "smtp"}, {"Interval", "interval"}, {"intervall", "interval"},
	}
	for _, tt := range tests {
		if got := core.Nearest(tt.word, names); got != tt.want {
			t.Errorf("Nearest(%q) = %q, want %q", tt.word, got, tt.want)
		}
	}
}
