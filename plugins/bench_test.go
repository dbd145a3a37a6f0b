// SPDX-License-Identifier: Apache-2.0

package plugins_test

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/plugins"
)

// busy is a service of 16 backends with every reading known.
func busy(service string) core.Snapshot { return measured(service, 16) }

func measured(service string, n int) core.Snapshot {
	s := snapshot(service, n)
	s.Params = nil
	for i := range s.Backends {
		r := func(v float64) core.Reading {
			return core.Reading{Value: v, Age: time.Second, Window: 5 * time.Second, Known: true}
		}
		b := &s.Backends[i]
		b.CPU, b.Cores, b.Response = r(0.1+0.05*float64(i%16)), r(float64(1+i%8)), r(0.01*float64(1+i%16))
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

// bench asks for batches of calls for services of n backends, each with a fresh
// sample of its CPU. It reports the time in the worker, or that of Schedule.
func bench(b *testing.B, h *plugins.Host, policy string, n, batch int, inWorker bool) {
	calls := make([]core.Call, batch)
	for i := range calls {
		calls[i] = core.Call{Policy: policy, Snapshot: measured(fmt.Sprint("s", i), n)}
	}
	took := make([]time.Duration, 0, 1<<20)
	seq := uint32(0)
	b.ReportAllocs()
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
	h := newHost(b)
	for _, p := range benchPolicies {
		b.Run(p, func(b *testing.B) { bench(b, h, p, 16, 64, true) })
	}
}

// BenchmarkRoundTrip16 is one call by Schedule. Bar: p50 at most 40 µs.
func BenchmarkRoundTrip16(b *testing.B) {
	h := newHost(b)
	b.Run("least-cpu", func(b *testing.B) { bench(b, h, "least-cpu", 16, 1, false) })
}

// BenchmarkRoundTripBatched16 is a call's part of a batch of 64. Bar: p50 at
// most 12 µs.
func BenchmarkRoundTripBatched16(b *testing.B) {
	h := newHost(b)
	for _, p := range benchPolicies {
		b.Run(p, func(b *testing.B) { bench(b, h, p, 16, 64, false) })
	}
}

// BenchmarkLanguages is one small policy without state in C, Go and Lua: in the
// worker, by Schedule, and a call's part of a batch of 64 (of 8 at 10,000
// backends).
func BenchmarkLanguages(b *testing.B) {
	h := newHost(b)
	if err := h.Load(b.Context(), fairInThree(b)); err != nil {
		b.Fatal(err)
	}
	for _, language := range []string{"c", "go", "lua"} {
		for _, n := range []int{16, 64, 1000, 10000} {
			batch := 64
			if n > 1000 {
				batch = 8
			}
			name := func(what string) string { return fmt.Sprintf("%s/%d/%s", language, n, what) }
			b.Run(name("worker"), func(b *testing.B) { bench(b, h, "fair-"+language, n, 1, true) })
			b.Run(name("single"), func(b *testing.B) { bench(b, h, "fair-"+language, n, 1, false) })
			b.Run(name("batched"), func(b *testing.B) { bench(b, h, "fair-"+language, n, batch, false) })
		}
	}
}

// BenchmarkFiveThousandServices asks for 5,000 services of 16 backends each, in
// batches of 100, and reports the CPU time of this process and the worker: what a
// second costs in which each is scheduled once.
func BenchmarkFiveThousandServices(b *testing.B) {
	h := newHost(b)
	if err := h.Load(b.Context(), fairInThree(b)); err != nil {
		b.Fatal(err)
	}
	for _, policy := range []string{"fair-c", "fair-go", "fair-lua", "least-cpu"} {
		b.Run(policy, func(b *testing.B) {
			calls := make([]core.Call, 5000)
			for i := range calls {
				calls[i] = core.Call{Policy: policy, Snapshot: measured(fmt.Sprint("s", i), 16)}
			}
			before := cpuOf(b, os.Getpid()) + cpuOf(b, plugins.WorkerOf(h, policy))
			for b.Loop() {
				for batch := range slices.Chunk(calls, 100) {
					if r := h.Schedule(b.Context(), batch); r[0].Err != nil {
						b.Fatal(r[0].Err)
					}
				}
			}
			used := cpuOf(b, os.Getpid()) + cpuOf(b, plugins.WorkerOf(h, policy)) - before
			b.ReportMetric(used.Seconds()*1e3/float64(b.N), "cpu-ms/op")
		})
	}
}

// cpuOf is the CPU time that a process has used.
func cpuOf(b *testing.B, pid int) time.Duration {
	var total time.Duration
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		b.Fatal(err)
	}
	for _, task := range tasks {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/schedstat", pid, task.Name()))
		if err != nil {
			continue // it has ended
		}
		var ns int64
		if _, err := fmt.Sscan(string(text), &ns); err != nil {
			b.Fatal(err)
		}
		total += time.Duration(ns)
	}
	return total
}

// BenchmarkRecord is what keeping a call for Recordings costs.
func BenchmarkRecord(b *testing.B) {
	add := plugins.Recorder()
	c := core.Recorded{At: time.Now(), Policy: "p", Version: "p@1", Snapshot: busy("web"), Weights: make([]float64, 16)}
	b.ReportAllocs()
	for b.Loop() {
		add(c)
	}
}
