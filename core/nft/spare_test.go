// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"context"
	"strings"
	"testing"

	"github.com/steelyard-lb/steelyard/core"
)

// TestSpares goes through changes as on a kernel that needs spares: two
// transactions, the first and then its copy, and the same in both at the end.
func TestSpares(t *testing.T) {
	newNetns(t)
	a := open(t, Config{Unowned: true})
	a.spares = true
	p := plan(service("web", "192.0.2.1:80", core.TCP, backend("a", "198.51.100.1:80", 40000), backend("b", "198.51.100.2:80", 25536)))
	before := mustSync(t, a, p).Generation
	for _, slots := range [][2]uint32{{1, 65535}, {0, 65536}, {65536, 0}, {0, 0}, {32768, 32768}} {
		p.Services[0] = *clonePlan(&p.Services[0])
		p.Services[0].Backends[0].Slots, p.Services[0].Backends[1].Slots = slots[0], slots[1]
		c, err := a.Reweight(context.Background(), p.Services)
		if err != nil || c.Generation != before+2 {
			t.Fatalf("%v: %+v, %v: want two transactions after %d", slots, c, err, before)
		}
		before = c.Generation
		list := listTable(t)
		w, spare := mapText(list, "w-web"), mapText(list, "spare-web")
		if w == "" || w != spare {
			t.Errorf("%v: the map has\n%s\nthe spare\n%s", slots, w, spare)
		}
	}
	if a.Close() != nil {
		t.Fatal("close")
	}
	b := open(t, Config{Unowned: true})
	b.spares = true
	inKernel(t, b)
	if before, _ = b.w.generation(); t.Failed() {
		return
	}
	if c := mustSync(t, b, p); c.Changed != 0 || c.Generation != before {
		t.Errorf("adopted: %+v: want nothing written after %d", c, before)
	}
}

// mapText is a map of a listing without its name.
func mapText(list, name string) string {
	_, rest, ok := strings.Cut(list, "\tmap "+name+" {\n")
	if !ok {
		return ""
	}
	text, _, _ := strings.Cut(rest, "\n\t}")
	return text
}

func TestAtLeast(t *testing.T) {
	tests := []struct {
		release string
		want    bool
	}{
		{"6.18.44", true}, {"6.18.0-1-amd64", true}, {"7.0", true}, {"6.17.9", false}, {"6.1.0-56-amd64", false}, {"5.15", false}, {"custom", false},
	}
	for _, tt := range tests {
		if got := atLeast(tt.release, 6, 18); got != tt.want {
			t.Errorf("%s is at least 6.18: %t, want %t", tt.release, got, tt.want)
		}
	}
}
