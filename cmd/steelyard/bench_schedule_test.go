// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/core"
)

// BenchmarkSchedule5000x16 is what it takes to schedule 5,000 services of 16
// backends once a second, snapshot, policy, shaping and decision record: parts of a
// core, of this process and of its workers. Bar: 0.25 with a C or a Go policy.
func BenchmarkSchedule5000x16(b *testing.B) {
	count, err := filepath.Abs("../../plugins/testdata/count.wasm")
	if err != nil {
		b.Fatal(err)
	}
	b.Run("c", func(b *testing.B) {
		scheduleMany(b, "count", core.PolicySpec{Name: "count", Path: count})
	})
	b.Run("go", func(b *testing.B) { scheduleMany(b, "least-cpu") })
}

func scheduleMany(b *testing.B, policy string, specs ...core.PolicySpec) {
	const period = 10 * time.Second
	r := newLoop(b, 5000, 16, policy, specs...)
	for b.Loop() {
		cpu, began := familyCPU(b), time.Now()
		wait(period)
		b.ReportMetric((familyCPU(b)-cpu).Seconds()/time.Since(began).Seconds(), "cores")
	}
	b.ReportMetric(0, "ns/op") // a chosen time
	v, err := r.engine.View(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	for _, s := range v.Services {
		if s.PolicyError != "" || time.Since(s.DecidedAt) > 3*time.Second {
			b.Fatalf("service %s: %q, decided at %v", s.Name, s.PolicyError, s.DecidedAt)
		}
	}
}

// familyCPU is the CPU time of this process and of its children so far.
func familyCPU(b *testing.B) (sum time.Duration) {
	b.Helper()
	pids := []int{os.Getpid()}
	paths, _ := filepath.Glob("/proc/self/task/*/children") // the pattern is right
	for _, path := range paths {
		raw, _ := os.ReadFile(path) // a thread may have ended
		for _, word := range strings.Fields(string(raw)) {
			if pid, err := strconv.Atoi(word); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	for _, pid := range pids {
		const scheduler = 2 // CPUCLOCK_SCHED, see clock_getcpuclockid(3)
		var t unix.Timespec
		if err := unix.ClockGettime(int32(^pid<<3|scheduler), &t); err == nil {
			sum += time.Duration(t.Nano())
		}
	}
	return sum
}
