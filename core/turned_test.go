// SPDX-License-Identifier: Apache-2.0

package core

import "testing"

func TestTurnedText(t *testing.T) {
	l := Limits{
		New: Rate{PerSecond: 100}, NewPerClient: Rate{PerSecond: 5}, Open: 1000, OpenPerClient: 10, ResetsPerClient: Rate{PerSecond: 3},
	}
	tests := []struct {
		name  string
		in    Turned
		total uint64
		want  string
	}{
		{"nothing", Turned{}, 0, ""},
		{"two reasons", Turned{Denied: 12, Rate: 3}, 15, "12 denied, 3 over 100 new/s"},
		{"the other reasons", Turned{ClientRate: 1, Open: 2, ClientOpen: 3, Resets: 4, Invalid: 5}, 15,
			"1 over 5 new/s per client, 2 over 1000 open, 3 over 10 open per client, 4 resets over 3/s per client, 5 invalid"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := test.in.Text(l); got != test.want || test.in.Total() != test.total {
				t.Errorf("got %q and %d, want %q and %d", got, test.in.Total(), test.want, test.total)
			}
		})
	}
}
