// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

func TestGauge(t *testing.T) {
	var g gauge
	var events uint64
	now := time.Unix(1000, 0)
	g.look(now, events)
	// Each step lasts some windows with a rate of all events there are; what is
	// read of them depends on the sift.
	for _, step := range []struct {
		name    string
		rate    uint64
		windows int
		want    uint8
	}{
		{"quiet", 1000, 3, 0},
		{"as many as may be", maxEvents, 3, 0},
		{"more than twice as many", maxEvents * 5 / 2, 1, 3},
		{"still", maxEvents * 5 / 2, 20, 3},
		{"a flood", 40 * maxEvents, 2, 7},
		{"fewer, but not for long", 1000, 5, 7},
		{"a flood again", 40 * maxEvents, 2, 7},
		{"fewer, for half a minute", maxEvents * 5 / 2, 8, 3},
		{"quiet at last", 1000, 8, 0},
	} {
		for range step.windows {
			now = now.Add(rateWindow)
			events += step.rate * uint64(rateWindow/time.Second) / g.sift.weight()
			g.look(now, events)
		}
		if g.sift.shift != step.want {
			t.Errorf("%s: one in %d is followed, want one in %d", step.name, g.sift.weight(), sift{step.want}.weight())
		}
	}
	if got := (sift{maxShift}).under(1e12); got.shift != maxShift {
		t.Errorf("shift %d, want at most %d", got.shift, maxShift)
	}
}

// A sample counts for all, within what chance allows, and the counts are exact
// again after the resync that follows it. Opened never runs twice over a
// connection.
func TestSampledTable(t *testing.T) {
	const n = 64_000
	ids := rand.New(rand.NewPCG(1, 2))
	tab := synced()
	var conns []conn
	open := func(n int) {
		for range n {
			c := c1
			c.id = ids.Uint32()
			c.client = netip.AddrPortFrom(c.client.Addr(), uint16(len(conns)))
			feed(t, tab, c.created())
			conns = append(conns, c)
		}
	}
	near := func(when string, got, want, tolerance uint64) {
		t.Helper()
		if got+tolerance < want || got > want+tolerance {
			t.Errorf("%s: %d, want %d ± %d", when, got, want, tolerance)
		}
	}
	open(n / 2)
	tab.setSift(sift{4})
	near("open after half", counts(tab)[web1].Open, n/2, 3000) // 2000 are followed: 6 sigma
	open(n / 2)
	near("open", counts(tab)[web1].Open, n, 5000)
	near("opened", counts(tab)[web1].Opened, n, 5000)
	if followed := len(tab.open); followed > n/16+600 {
		t.Errorf("%d in memory, want about %d", followed, n/16)
	}
	for _, c := range conns[:n/4] {
		feed(t, tab, c.updated(tcpTimeWait))
	}
	near("open after the end of some", counts(tab)[web1].Open, n*3/4, 5000)
	near("closed", counts(tab)[web1].Closed, n/4, 3000)

	opened := counts(tab)[web1].Opened
	tab.setSift(sift{})
	near("open until the resync", counts(tab)[web1].Open, n*3/4, 5000)
	tab.beginSync()
	for _, c := range conns[n/4:] {
		feed(t, tab, c.listed(established))
	}
	tab.endSync()
	near("open at last", counts(tab)[web1].Open, n*3/4, 0)
	near("opened at last", counts(tab)[web1].Opened, opened, 0)
	for _, c := range conns[n/4:] {
		feed(t, tab, c.destroyed(established))
	}
	near("open in the end", counts(tab)[web1].Open, 0, 0)
}
