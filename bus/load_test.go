// SPDX-License-Identifier: Apache-2.0

package bus_test

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/bus"
	"github.com/steelyard-lb/steelyard/bus/bustest"
	"github.com/steelyard-lb/steelyard/core"
)

// TestBurst sends a whole round of samples of 16,000 backends at once.
func TestBurst(t *testing.T) {
	b := bustest.Start(t)
	got := collect(t, b)
	const n = 16_000
	for i := range n {
		s := sample(1)
		s.Backend.Backend = "b" + string(rune('a'+i%26)) + time.Duration(i).String()
		if err := b.PublishSample(s); err != nil {
			t.Fatal(err)
		}
	}
	for range n {
		next(t, got)
	}
	if s := b.Stats(); s.Received != n || s.Reconnects != 0 {
		t.Errorf("stats %+v, want %d received and no reconnect", s, n)
	}
}

// TestHammer starts, uses and closes buses from many goroutines at once; the
// race detector is the judge.
func TestHammer(t *testing.T) {
	for range 5 {
		b, err := bus.Start(t.Context(), bus.Options{Node: bustest.Node})
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for g := range 8 {
			wg.Go(func() {
				for i := range 50 {
					s := sample(uint64(i + 1))
					s.Probe = "p" + string(rune('0'+g))
					_ = b.PublishSample(s)
					_ = b.PublishEvent(core.Event{Severity: core.Info, Topic: "x", At: time.Now()})
					cancel, err := b.SubscribeSamples(func(core.Sample) {})
					if err == nil && i%2 == 0 {
						cancel()
					}
					_ = b.PublishMetric("zabbix", s)
					_ = b.PublishPresence(core.Presence{Group: "blue"})
					cancel, err = b.SubscribePresences("blue", func(core.Presence) {})
					if err == nil && i%3 == 0 {
						cancel()
					}
					cancel, err = b.Subscribe(">", func(string, []byte) { _ = b.Stats() })
					if err == nil && i%3 == 0 {
						cancel()
					}
				}
			})
		}
		eventually(t, "something was published", func() bool { return b.Stats().Published > 100 })
		b.Close()
		wg.Wait()
	}
}

// TestLatency keeps the way over the bus under a millisecond, by a wide margin. A machine
// that is busy makes most samples late, but not one in ten of them early.
func TestLatency(t *testing.T) {
	b := bustest.Start(t)
	got := collect(t, b)
	var took []time.Duration
	for i := range 500 {
		start := time.Now()
		if err := b.PublishSample(sample(uint64(i + 1))); err != nil {
			t.Fatal(err)
		}
		next(t, got)
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	p10, p50, p99 := took[len(took)/10], took[len(took)/2], took[len(took)*99/100]
	t.Logf("publish to callback: p10 %v, p50 %v, p99 %v", p10, p50, p99)
	if p10 > time.Millisecond {
		t.Errorf("p10 %v, want under 1ms", p10)
	}
}

func BenchmarkPublishToCallback(b *testing.B) {
	bb := bustest.Start(b)
	got := make(chan struct{}, 1)
	if _, err := bb.SubscribeSamples(func(core.Sample) { got <- struct{}{} }); err != nil {
		b.Fatal(err)
	}
	seq := uint64(0)
	for b.Loop() {
		seq++
		if err := bb.PublishSample(sample(seq)); err != nil {
			b.Fatal(err)
		}
		<-got
	}
}
