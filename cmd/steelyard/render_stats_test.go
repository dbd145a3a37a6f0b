// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"testing"

	"github.com/steelyard-lb/steelyard/core"
)

// statsView is a node with services that count, that do not, and that have only
// begun to.
func statsView() core.NodeView {
	v := sampleView()
	web, dns := &v.Services[0], &v.Services[1]
	web.CountBytes, web.Offload, web.QoS = true, true, "dscp 46, class 1:20"
	web.Traffic = &core.TrafficView{
		PacketsIn: 81234, PacketsOut: 123456, BytesIn: 9876543, BytesOut: 1234567890123,
		Rates: &core.TrafficRates{PacketsIn: 812.3, PacketsOut: 1234, BytesIn: 98765, BytesOut: 12345678},
	}
	web.Backends[0].ConnectionsTotal, web.Backends[2].ConnectionsTotal = 10000, 432
	web.Backends[0].Traffic = web.Traffic
	web.Backends[2].Traffic = &core.TrafficView{}
	dns.CountBytes, dns.ConnectionsTotal = false, 17
	return v
}

func TestRenderStats(t *testing.T) {
	for name, o := range map[string]showOptions{
		"show-stats.txt": {Stats: true}, "show-rate.txt": {Rate: true}, "show-both.txt": {Stats: true, Rate: true, Service: "web"},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			renderShow(&b, statsView(), o)
			golden(t, name, b.Bytes())
		})
	}
}

func TestByteCount(t *testing.T) {
	for n, want := range map[float64]string{
		0: "0 B", 999: "999 B", 999.4: "999 B", 999.6: "1.00 kB", 1000: "1.00 kB", 9994: "9.99 kB", 9996: "10.0 kB", 99949: "99.9 kB", 99951: "100 kB",
		999499: "999 kB", 999501: "1.00 MB", 123456789: "123 MB", 1.5e9: "1.50 GB", 2e12: "2.00 TB", 3e15: "3.00 PB", 4e18: "4000 PB",
	} {
		if got := byteCount(n); got != want {
			t.Errorf("byteCount(%v) = %q: want %q", n, got, want)
		}
	}
}

// Of dsr and stateless nobody counts connections: that is no 0.
func TestStatsUntracked(t *testing.T) {
	v := core.ServiceView{Name: "web", Forwarding: core.DSR, Backends: []core.BackendView{{Name: "b1", Address: "198.51.100.1:80"}}}
	for _, row := range statsTable(v, showOptions{Stats: true}).rows {
		if got := row[2].text; got != unknown {
			t.Errorf("CONNS of %s is %q, want %q", row[0].text, got, unknown)
		}
	}
}
