// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/core"
)

// fullEverywhere is a port that answers no connection attempt to any address of the
// loopback: a listener with a full queue drops the SYNs.
func fullEverywhere(t testing.TB) uint16 {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	port := name.(*unix.SockaddrInet4).Port
	for range 4 {
		c, err := net.DialTimeout("tcp", fmt.Sprint("127.0.0.1:", port), 200*time.Millisecond)
		if err != nil {
			return uint16(port)
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	t.Fatal("the queue of a listener with backlog 0 took 4 connections")
	return 0
}

// answering is a port that takes connections to every address of the loopback.
func answering(t testing.TB) uint16 {
	t.Helper()
	l, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return uint16(l.Addr().(*net.TCPAddr).Port)
}

// loopbackTargets are n targets with an address each, of one service.
func loopbackTargets(service string, n int, port uint16, interval, timeout time.Duration) []Target {
	spec := &core.ProbeSpec{Name: "alive", Type: core.ProbeTCP, Interval: interval, Timeout: timeout}
	ts := make([]Target, n)
	for i := range ts {
		ip := netip.AddrFrom4([4]byte{127, 1 + byte(i>>16), byte(i >> 8), byte(i)})
		ts[i] = Target{ID: core.BackendID{Service: service, Backend: fmt.Sprint("b", i)}, Addr: netip.AddrPortFrom(ip, port), Spec: spec}
	}
	return ts
}

// A load is what targets cost while they are probed, and when the good ones were.
type load struct {
	good                       []core.Sample
	hanging                    int           // samples of the others
	odd                        []core.Sample // of those that were not L4TOUT
	running, goroutines, files int           // most at one time
	each                       int           // bytes per run under way, half the time through
	stats                      core.ProbeTypeView
}

// probeFor probes targets for real and looks at what it costs.
func probeFor(t testing.TB, d time.Duration, ts []Target) load {
	t.Helper()
	var l load
	var mu sync.Mutex
	r := &Runner{Node: "n1", Out: func(s core.Sample) {
		mu.Lock()
		defer mu.Unlock()
		if s.Backend.Service == "good" {
			l.good = append(l.good, s)
			return
		}
		l.hanging++
		if s.Code != core.L4Timeout {
			l.odd = append(l.odd, s)
		}
	}}
	goroutines, files, heap := runtime.NumGoroutine(), openFiles(t), heapBytes()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	ended := make(chan struct{})
	r.SetTargets(ts)
	go func() { defer close(ended); _ = r.Run(ctx) }()
	start := time.Now()
	for tick := time.NewTicker(250 * time.Millisecond); ctx.Err() == nil; <-tick.C {
		if s := r.Stats(); len(s) > 0 {
			l.stats = s[0]
		}
		l.running = max(l.running, l.stats.Running)
		l.goroutines = max(l.goroutines, runtime.NumGoroutine()-goroutines)
		l.files = max(l.files, openFiles(t)-files)
		if time.Since(start) > d/2 && l.each == 0 && l.stats.Running > 0 {
			l.each = int(heapBytes()-heap) / l.stats.Running
		}
	}
	<-ended
	if n := openFiles(t) - files; n > 0 {
		t.Errorf("%d files are still open", n)
	}
	l.stats = r.Stats()[0]
	return l
}

func openFiles(t testing.TB) int {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}

// gaps are the times from run to run of each good target, sorted, once all have found
// their times: the second run is at a random one.
func (l load) gaps() []time.Duration {
	last := make(map[core.BackendID]time.Time)
	var gaps []time.Duration
	for _, s := range l.good {
		if before := last[s.Backend]; !before.IsZero() && s.Seq > 3 {
			gaps = append(gaps, s.TakenAt.Sub(before))
		}
		last[s.Backend] = s.TakenAt
	}
	slices.Sort(gaps)
	return gaps
}

// TestHangingTargetsCostTheirTimeouts probes 2,000 real addresses that never answer, of
// which 1,500 are being asked at any time, and 100 good ones.
func TestHangingTargetsCostTheirTimeouts(t *testing.T) {
	const hanging, good, interval = 2000, 100, time.Second
	need(t, socketRuns() > hanging, "a limit of open files above 4,000")
	ts := append(
		loopbackTargets("hanging", hanging, fullEverywhere(t), 4*time.Second, 3*time.Second),
		loopbackTargets("good", good, answering(t), interval, interval/2)...)
	l := probeFor(t, 9*time.Second, ts)

	if l.running < hanging/2 {
		t.Errorf("%d runs at once: nothing hung", l.running)
	}
	// The bounds leave room for a machine that is busy otherwise. Where the hanging take
	// the places of the others, a good target has one run in seven.
	failed := 0
	for _, s := range l.good {
		if !s.OK {
			failed++
		}
	}
	if failed > len(l.good)/4 {
		t.Errorf("%d of %d samples of good targets are bad", failed, len(l.good))
	}
	if len(l.odd) > 0 {
		t.Errorf("%d samples of hanging targets as this one: %s %s", len(l.odd), l.odd[0].Code, l.odd[0].Detail)
	}
	if n := len(l.good); n < 4*good {
		t.Errorf("%d samples of %d good targets in 9 s, want 8 of each", n, good)
	}
	if n := l.hanging; n < hanging {
		t.Errorf("%d samples of %d hanging targets in 9 s, want 2 of each", n, hanging)
	}
	if gaps := l.gaps(); len(gaps) == 0 || gaps[len(gaps)/2] > 2*interval {
		t.Errorf("%d gaps between runs of good targets, half of them above %s", len(gaps), 2*interval)
	}
	// A run is a goroutine, and for a moment another; and a file.
	if l.goroutines > 2*(hanging+good) || l.files > hanging+good+50 {
		t.Errorf("%d goroutines and %d files for %d targets", l.goroutines, l.files, hanging+good)
	}
	t.Logf("at most: %d runs, %d goroutines, %d files, %d kB a run; %+v", l.running, l.goroutines, l.files, l.each>>10, l.stats)
}

// BenchmarkHangingTargets probes 10,000 addresses that never answer every 2 s with a
// time-out of 1 s, which is 5,000 at any time, and 100 good ones every second.
func BenchmarkHangingTargets(b *testing.B) {
	const hanging, good = 10_000, 100
	if socketRuns() < hanging {
		b.Skip("needs a limit of 20,000 open files")
	}
	ts := append(
		loopbackTargets("hanging", hanging, fullEverywhere(b), 2*time.Second, time.Second),
		loopbackTargets("good", good, answering(b), time.Second, time.Second/2)...)
	for b.Loop() {
		var before, after unix.Rusage
		_ = unix.Getrusage(unix.RUSAGE_SELF, &before)
		const lasts = 20 * time.Second
		l := probeFor(b, lasts, ts)
		_ = unix.Getrusage(unix.RUSAGE_SELF, &after)
		gaps := l.gaps()
		b.ReportMetric(float64(gaps[len(gaps)*99/100].Microseconds())/1000, "good-gap-p99-ms")
		b.ReportMetric(float64(gaps[len(gaps)-1].Microseconds())/1000, "good-gap-max-ms")
		b.ReportMetric(float64(len(l.good))/good/lasts.Seconds(), "good-runs/s")
		b.ReportMetric(float64(l.hanging)/hanging/lasts.Seconds(), "hanging-runs/s")
		b.ReportMetric(float64(l.running), "runs-at-once")
		b.ReportMetric(float64(l.goroutines), "goroutines")
		b.ReportMetric(float64(l.files), "files")
		b.ReportMetric(float64(l.each), "B/run")
		used := time.Duration(unix.TimevalToNsec(after.Utime) + unix.TimevalToNsec(after.Stime) - unix.TimevalToNsec(before.Utime) - unix.TimevalToNsec(before.Stime))
		b.ReportMetric(used.Seconds()/lasts.Seconds(), "cores")
	}
}
