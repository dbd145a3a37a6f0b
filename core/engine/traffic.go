// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// A carried is the packets and bytes of one service or backend as last read, and
// how many a second there were between the last two readings.
type carried struct {
	last  core.Counters
	at    time.Time // zero: never read
	rates *core.TrafficRates
}

// take files a reading. There is no rate where a counter has gone back, as that of
// a service does when a backend leaves, or was not there before.
func (t *carried) take(c core.Counters, at time.Time) {
	was, took := t.last, at.Sub(t.at).Seconds()
	known := !t.at.IsZero() && took > 0 && was.BytesCounted && c.BytesCounted
	rate := func(before, now uint64) float64 {
		known = known && now >= before
		return float64(now-before) / took
	}
	rates := core.TrafficRates{
		PacketsIn: rate(was.PacketsIn, c.PacketsIn), BytesIn: rate(was.BytesIn, c.BytesIn),
		PacketsOut: rate(was.PacketsOut, c.PacketsOut), BytesOut: rate(was.BytesOut, c.BytesOut),
	}
	t.last, t.at, t.rates = c, at, nil
	if known {
		kept := rates // or every reading would allocate
		t.rates = &kept
	}
}

// view is what show prints; nil where packets are not counted.
func (t *carried) view() *core.TrafficView {
	if !t.last.BytesCounted {
		return nil
	}
	return &core.TrafficView{
		PacketsIn: t.last.PacketsIn, PacketsOut: t.last.PacketsOut,
		BytesIn: t.last.BytesIn, BytesOut: t.last.BytesOut, Rates: t.rates,
	}
}
