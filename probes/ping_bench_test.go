// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/core"
)

// BenchmarkPingFleet has 2,000 addresses of this machine asked three times every
// 2 s. It needs a namespace: `unshare -n go test ./probes -run xxx -bench PingFleet`.
func BenchmarkPingFleet(b *testing.B) {
	if os.Getenv("SY_IN_NETNS") == "" {
		b.Skip("run it in a namespace of its own, with SY_IN_NETNS set")
	}
	const targets, during = 2000, 20 * time.Second
	fleet := make([]Target, targets)
	spec := &core.ProbeSpec{
		Name: "ping", Type: core.ProbePing, Role: core.HealthRole,
		Interval: 2 * time.Second, Timeout: time.Second, Ping: core.PingSpec{Count: 3, Size: 56},
	}
	for i := range fleet {
		fleet[i] = Target{
			ID:   core.BackendID{Service: "web", Backend: fmt.Sprint("b", i)},
			Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 9, byte(i >> 8), byte(i)}), 80), Spec: spec,
		}
	}
	for b.Loop() {
		var good, bad atomic.Int64
		r := &Runner{Node: "bench", Concurrency: map[string]int{core.ProbePing: 4096}, Out: func(s core.Sample) {
			if s.OK {
				good.Add(1)
			} else if bad.Add(1) == 1 {
				b.Log(s.Code, s.Detail)
			}
		}}
		r.SetTargets(fleet)
		ctx, cancel := context.WithTimeout(b.Context(), during)
		start, goroutines, memory := pingCPUTime(), 0, uint64(0)
		ended := make(chan error, 1)
		go func() { ended <- r.Run(ctx) }()
		tick := time.NewTicker(100 * time.Millisecond)
		for ctx.Err() == nil {
			<-tick.C
			goroutines = max(goroutines, runtime.NumGoroutine())
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			memory = max(memory, m.HeapInuse+m.StackInuse)
		}
		tick.Stop()
		<-ended
		cancel()
		b.ReportMetric(100*(pingCPUTime()-start).Seconds()/during.Seconds(), "%core")
		b.ReportMetric(float64(goroutines), "goroutines")
		b.ReportMetric(float64(memory)/1e6, "MB")
		b.ReportMetric(float64(good.Load()), "good")
		b.ReportMetric(float64(bad.Load()), "bad")
	}
}

func pingCPUTime() time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkPing is one run of one request, alone.
func BenchmarkPing(b *testing.B) {
	p := newPing(Target{Addr: netip.MustParseAddrPort("127.0.0.1:80"), Spec: &core.ProbeSpec{Ping: core.PingSpec{Count: 1, Size: 56}}})
	start := pingCPUTime()
	b.ReportAllocs()
	for b.Loop() {
		ctx, cancel := context.WithTimeout(b.Context(), time.Second)
		if r := p.probe(ctx); !r.ok {
			b.Fatalf("%+v", r)
		}
		cancel()
	}
	b.ReportMetric(float64((pingCPUTime()-start).Microseconds())/float64(b.N), "cpu-µs/op")
}
