// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"testing"
	"time"

	"github.com/gosnmp/gosnmp"
)

// TestLoadRefresh: an agent that changes its averages every 5 s, asked every 3 s.
// What stays the same over a refresh is news none the less.
func TestLoadRefresh(t *testing.T) {
	var p snmpLoad
	start := time.Now()
	rows := func(n int) []gosnmp.SnmpPDU {
		return []gosnmp.SnmpPDU{{Name: ".1.3.6.1", Type: gosnmp.Integer, Value: n}}
	}
	var at time.Duration
	for ; at < time.Minute; at += 3 * time.Second {
		if seen := p.seen(rows(int(at/(5*time.Second))), start.Add(at)).Sub(start); at-seen > 5*time.Second {
			t.Errorf("at %s the rows are said to be of %s", at, seen)
		}
	}
	if p.refresh < 4*time.Second || p.refresh > 7*time.Second {
		t.Errorf("a refresh of %s, want about 5 s", p.refresh)
	}
	p.seen(rows(0), start.Add(at))
	learned := p.refresh
	for at += 3 * time.Second; at < 10*time.Minute; at += 3 * time.Second {
		if seen := p.seen(rows(0), start.Add(at)).Sub(start); at-seen > learned {
			t.Fatalf("at %s an idle machine's rows are said to be of %s", at, seen)
		}
	}
	p.seen(rows(9), start.Add(at))
	if p.refresh != learned {
		t.Errorf("idle time made a refresh of %s, was %s", p.refresh, learned)
	}
}

// TestWindowLooksOften is `probe test`, which looks every second at counters that
// change every five: the first change comes soon after the first look and brings five
// seconds at once.
func TestWindowLooksOften(t *testing.T) {
	for first := range 5 {
		w := cpuWindow{length: defaultWindow, expire: time.Minute}
		start, readings := time.Now(), 0
		for i := range 30 {
			ticks := uint32((i+first)/5) * 5 * ticksPerSecond
			c := cpuCounters{cores: 1}
			c.ticks[tickUser], c.ticks[tickIdle] = 1000+ticks/4, 1000+ticks/4*3
			why := w.add(c, start.Add(time.Duration(i)*time.Second))
			if i+first >= 5 && why != "" {
				t.Errorf("first look %d s after a refresh: no reading %d s after: %s", first, i, why)
			}
			if why == "" {
				readings++
				if w.latest.busy != 0.25 {
					t.Errorf("busy %g, want 0.25", w.latest.busy)
				}
			}
		}
		if readings < 20 || w.refresh < 4*time.Second || w.refresh > 6*time.Second {
			t.Errorf("%d readings, refresh %s", readings, w.refresh)
		}
	}
}
