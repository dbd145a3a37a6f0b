// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/steelyard-lb/steelyard/core"
)

func TestTrafficRates(t *testing.T) {
	counted := func(packets uint64) core.Counters {
		return core.Counters{PacketsIn: packets, BytesIn: 60 * packets, PacketsOut: 2 * packets, BytesOut: 1000 * packets, BytesCounted: true}
	}
	rates := &core.TrafficRates{PacketsIn: 50, BytesIn: 3000, PacketsOut: 100, BytesOut: 50000}
	var off core.Counters
	tests := []struct {
		name     string
		readings []core.Counters // two seconds apart
		want     *core.TrafficView
	}{
		{"never read", nil, nil},
		{"not counted", []core.Counters{off, off}, nil},
		{"the first reading", []core.Counters{counted(7)}, &core.TrafficView{PacketsIn: 7, BytesIn: 420, PacketsOut: 14, BytesOut: 7000}},
		{"two", []core.Counters{counted(100), counted(200)}, &core.TrafficView{PacketsIn: 200, BytesIn: 12000, PacketsOut: 400, BytesOut: 200000, Rates: rates}},
		{"only the last interval", []core.Counters{counted(0), counted(9000), counted(9100)}, &core.TrafficView{PacketsIn: 9100, BytesIn: 546000, PacketsOut: 18200, BytesOut: 9100000, Rates: rates}},
		{"gone back", []core.Counters{counted(100), counted(50)}, &core.TrafficView{PacketsIn: 50, BytesIn: 3000, PacketsOut: 100, BytesOut: 50000}},
		{"switched on", []core.Counters{off, counted(50)}, &core.TrafficView{PacketsIn: 50, BytesIn: 3000, PacketsOut: 100, BytesOut: 50000}},
		{"switched off", []core.Counters{counted(50), off}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var tr carried
			at := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
			for _, c := range tt.readings {
				tr.take(c, at)
				at = at.Add(2 * time.Second)
			}
			if diff := cmp.Diff(tt.want, tr.view()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
