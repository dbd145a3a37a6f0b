// SPDX-License-Identifier: Apache-2.0

package bus_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/bus"
	"github.com/steelyard-lb/steelyard/bus/bustest"
	"github.com/steelyard-lb/steelyard/core"
)

// BenchmarkBus10k publishes a sample a second of each of 10,000 backends, evenly, to a
// subscriber on the other side of a server, for five seconds a run. core is the part of
// one processor core that publisher, server and subscriber need together. Run it with
// -benchtime=1x.
func BenchmarkBus10k(b *testing.B) {
	b.Run("embedded", func(b *testing.B) {
		// A reader over TCP, since a node's own samples do not pass through its server.
		const secret = "secret"
		from := bustest.StartWith(b, bus.Options{Node: "lb1", Listen: "127.0.0.1:0",
			Users: []bus.User{{Name: "viewer", Password: secret}}})
		to := bustest.StartWith(b, bus.Options{Node: "lb2", Servers: []string{"nats://" + from.ListenAddr().String()},
			Login: bus.Login{User: "viewer", Password: secret}})
		stream(b, from, to, 0)
	})
	b.Run("external", func(b *testing.B) {
		port := freePort(b)
		server, _ := startProcess(b, port, "secret", nil)
		stream(b, external(b, "lb1", port), external(b, "lb2", port), server.Pid)
	})
}

const (
	streamBackends = 10_000
	streamSeconds  = 5
	streamTick     = 10 * time.Millisecond
)

// stream is one run; server is the process of an external server, or 0.
func stream(b *testing.B, from, to *bus.Bus, server int) {
	b.Helper()
	var got atomic.Int64
	cancel, err := to.SubscribeSamples(func(core.Sample) { got.Add(1) })
	if err != nil {
		b.Fatal(err)
	}
	defer cancel()
	eventually(b, "the subscriber hears", func() bool {
		if err := from.PublishSample(backendSample(0, 0)); err != nil {
			time.Sleep(10 * time.Millisecond) // not connected yet
		}
		return got.Load() > 0
	})
	const perTick = streamBackends * int(streamTick) / int(time.Second)
	round := uint64(1)
	for b.Loop() {
		began, before, seen := time.Now(), processorTime(b, server), got.Load()
		for i := range streamSeconds * streamBackends {
			if i%perTick == 0 {
				time.Sleep(time.Until(began.Add(time.Duration(i/perTick) * streamTick)))
			}
			if i%streamBackends == 0 {
				round++
			}
			if err := from.PublishSample(backendSample(i%streamBackends, round)); err != nil {
				b.Fatal(err)
			}
		}
		eventually(b, "all arrive", func() bool { return got.Load()-seen >= streamSeconds*streamBackends })
		b.ReportMetric(float64(processorTime(b, server)-before)/float64(streamSeconds*time.Second), "core")
		b.ReportMetric(float64(got.Load()-seen)/time.Since(began).Seconds(), "samples/s")
	}
	if s := to.Stats(); s.Late+s.Repeated+s.Overflowed+s.Crowded > 0 {
		b.Errorf("some were dropped: %+v", s)
	}
}

// backendSample is what an HTTP probe with its phases says.
func backendSample(i int, seq uint64) core.Sample {
	return core.Sample{
		Backend: core.BackendID{Service: fmt.Sprintf("service-%d", i/16), Backend: fmt.Sprintf("backend-%d", i)},
		Probe:   "http", Type: core.ProbeHTTP, Role: core.HealthRole, Node: "lb1", Seq: seq,
		TakenAt: time.Now(), Took: 2345678, OK: true, Code: core.L7OK, Detail: "200 OK in 2.35 ms",
		Metrics: []core.Metric{{Name: core.MetricConnect, Value: 0.000412345, Unit: "seconds"},
			{Name: core.MetricResponse, Value: 0.002345678, Unit: "seconds"}},
	}
}

// processorTime is what this process and another have used since they began.
func processorTime(b *testing.B, pid int) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	sum := time.Duration(u.Utime.Nano() + u.Stime.Nano())
	if pid == 0 {
		return sum
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), ") ") // the name may have spaces
	fields := strings.Fields(after)
	for _, f := range fields[11:13] { // utime and stime, in hundredths of a second
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		sum += time.Duration(n) * 10 * time.Millisecond
	}
	return sum
}
