// SPDX-License-Identifier: Apache-2.0

package admin

import "testing"

func TestNearest(t *testing.T) {
	names := []string{"web", "web-internal", "dns", "smtp"}
	tests := []struct{ word, want string }{
		{"wbe", "web"}, {"wab", "web"}, {"nds", "dns"}, {"sdn", ""}, {"we", "web"}, {"web-intrenal", "web-internal"}, {"dnss", "dns"},
		{"x", ""}, {"", ""}, {"kubernetes", ""}, {"smpt", "smtp"},
	}
	for _, tt := range tests {
		if got := nearest(tt.word, names); got != tt.want {
			t.Errorf("nearest(%q) = %q, want %q", tt.word, got, tt.want)
		}
	}
}
