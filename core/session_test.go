// SPDX-License-Identifier: Apache-2.0

package core

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseClient(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.7":         "192.0.2.7/32",
		"::ffff:192.0.2.7":  "192.0.2.7/32",
		"2001:db8::7":       "2001:db8::7/128",
		"192.0.2.0/24":      "192.0.2.0/24",
		"192.0.2.7/24":      "write it as 192.0.2.0/24",
		"fe80::1%eth0":      "want an address",
		"web":               "want an address",
		"192.0.2.0/24/junk": "want an address",
	} {
		p, err := ParseClient(in)
		got := p.String()
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, want) {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}

// Of two pins for the same client the command counts, and the longest prefix
// comes first.
func TestMergePins(t *testing.T) {
	pin := func(c, b string) Pin { return Pin{Client: netip.MustParsePrefix(c), Backend: b} }
	configured := []Pin{pin("192.0.2.7/32", "a"), pin("192.0.2.0/24", "a")}
	got := MergePins(configured, []PinState{{Pin: pin("192.0.2.0/24", "b")}, {Pin: pin("192.0.2.128/25", "c")}})
	want := []Pin{pin("192.0.2.7/32", "a"), pin("192.0.2.128/25", "c"), pin("192.0.2.0/24", "b")}
	if !cmp.Equal(want, got, cmp.Comparer(func(x, y Pin) bool { return x == y })) {
		t.Errorf("got %v, want %v", got, want)
	}
	if configured[1].Backend != "a" {
		t.Error("the configured pins were changed")
	}
}
