// SPDX-License-Identifier: Apache-2.0

package plugins_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
)

// busy is a service of 16 backends with every reading known.
func busy(service string) core.Snapshot {
	s := snapshot(service, 16)
	for i := range s.Backends {
		r := func(v float64) core.Reading {
			return core.Reading{Value: v, Age: time.Second, Window: 5 * time.Second, Known: true}
		}
		b := &s.Backends[i]
		b.CPU, b.Cores, b.Response = r(0.1+0.05*float64(i)), r(float64(1+i%8)), r(0.01*float64(1+i))
		b.Conns, b.New, b.Done = r(float64(10*i)), r(100), r(100)
	}
	return s
}

func report(b *testing.B, took []time.Duration, per int) {
	slices.Sort(took)
	us := func(q float64) float64 {
		return float64(took[int(q*float64(len(took)-1))].Nanoseconds()) / 1e3 / float64(per)
	}
	b.ReportMetric(us(0.5), "p50-µs/call")
	b.ReportMetric(us(0.99), "p99-µs/call")
}

func bench(b *testing.B, policy string, batch int, inWorker bool) {
	h := newHost(b)
	calls := make([]core.Call, batch)
	for i := range calls {
		calls[i] = core.Call{Policy: policy, Snapshot: busy(fmt.Sprint("s", i))}
	}
	took := make([]time.Duration, 0, 1<<20)
	seq := uint32(0)
	for b.Loop() {
		seq++
		for i := range calls {
			for k := range calls[i].Snapshot.Backends {
				calls[i].Snapshot.Backends[k].CPUSeq = seq
			}
		}
		start := time.Now()
		r := h.Schedule(b.Context(), calls)
		all := time.Since(start)
		if r[0].Err != nil {
			b.Fatal(r[0].Err)
		}
		if !inWorker {
			took = append(took, all)
			continue
		}
		for i := range r {
			took = append(took, r[i].Took)
		}
	}
	if inWorker {
		batch = 1
	}
	report(b, took, batch)
}

var benchPolicies = []string{"weighted", "least-conn", "least-response", "least-cpu"}

// BenchmarkPolicyCall16 is one call as the worker sees it: copy in, run, copy
// out. Bar: p50 at most 3 µs.
func BenchmarkPolicyCall16(b *testing.B) {
	for _, p := range benchPolicies {
		b.Run(p, func(b *testing.B) { bench(b, p, 64, true) })
	}
}

// BenchmarkRoundTrip16 is one call by Schedule. Bar: p50 at most 40 µs.
func BenchmarkRoundTrip16(b *testing.B) {
	b.Run("least-cpu", func(b *testing.B) { bench(b, "least-cpu", 1, false) })
}

// BenchmarkRoundTripBatched16 is a call's part of a batch of 64. Bar: p50 at
// most 12 µs.
func BenchmarkRoundTripBatched16(b *testing.B) {
	for _, p := range benchPolicies {
		b.Run(p, func(b *testing.B) { bench(b, p, 64, false) })
	}
}
