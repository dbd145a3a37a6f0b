// SPDX-License-Identifier: Apache-2.0

package abi_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/plugins/abi"
)

// service has n backends with every reading, and the custom metrics m0, m1, ….
func service(n, metrics int) (*core.Snapshot, []string) {
	s := &core.Snapshot{Service: "web", ID: 1, Seq: 2, Now: time.Now(), Since: time.Second}
	for k := range metrics {
		s.Metrics = append(s.Metrics, fmt.Sprintf("m%d", k))
	}
	r := core.Reading{Value: 0.5, Age: time.Second, Window: 5 * time.Second, Known: true}
	for i := range n {
		b := core.BackendInput{ID: uint64(i), Weight: 10, Health: core.Up, Since: time.Minute, Share: 0.5, CPUSeq: 3,
			CPU: r, Cores: r, Response: r, Conns: r, New: r, Done: r}
		for range metrics {
			b.Custom = append(b.Custom, r)
		}
		s.Backends = append(s.Backends, b)
	}
	return s, s.Metrics
}

// TestEncodeAllocatesNothing once the buffer is large enough.
func TestEncodeAllocatesNothing(t *testing.T) {
	for _, metrics := range []int{0, 3} {
		s, names := service(16, metrics)
		f := abi.Frame{Params: []float64{1}, BackendSlots: 1, Metrics: names}
		buf, err := abi.Encode(nil, s, f)
		if err != nil {
			t.Fatal(err)
		}
		if got := testing.AllocsPerRun(100, func() { buf, _ = abi.Encode(buf, s, f) }); got != 0 {
			t.Errorf("%d metrics: %g allocations per snapshot, want 0", metrics, got)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	for _, n := range []int{16, 1024} {
		for _, metrics := range []int{0, 1, 4} {
			b.Run(fmt.Sprintf("backends=%d/metrics=%d", n, metrics), func(b *testing.B) {
				s, names := service(n, metrics)
				f := abi.Frame{Metrics: names}
				buf, err := abi.Encode(nil, s, f)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportAllocs()
				for b.Loop() {
					buf, _ = abi.Encode(buf, s, f)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/backend")
			})
		}
	}
}
