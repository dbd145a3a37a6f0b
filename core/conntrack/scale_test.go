// SPDX-License-Identifier: Apache-2.0

package conntrack_test

import (
	"fmt"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/conntrack"
)

const (
	scaleBackends = 100
	scaleEntries  = 200_000
)

// scale opens a reader with a hundred backends of one family and protocol, and
// puts n of their connections, evenly spread, into the kernel's table.
func scale(b testing.TB, cfg conntrack.Config, p core.Protocol, v6 bool, n int) (*bench, *conntrack.Reader) {
	b.Helper()
	be := newBench(b, 1)
	r := be.open(cfg)
	vip := be.VIP4
	if v6 {
		vip = be.VIP6
	}
	var watched []conntrack.Watched
	for i := range scaleBackends {
		watched = append(watched, be.watched(scaleID(i), p, vip, scaleAddr(i, v6)))
	}
	r.Watch(watched)
	populate(b, be, r, p, v6, n)
	return be, r
}

// populate makes n connections.
func populate(b testing.TB, be *bench, r *conntrack.Reader, p core.Protocol, v6 bool, n int) {
	b.Helper()
	vip := be.VIP4
	if v6 {
		vip = be.VIP6
	}
	err := r.Create(n, func(i int) (core.Protocol, netip.AddrPort, netip.AddrPort, netip.AddrPort) {
		client := netip.AddrFrom4([4]byte{10, byte(i >> 24), byte(i >> 16), byte(i >> 8)})
		if v6 {
			client = netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0, 9, 10: byte(i >> 24), 11: byte(i >> 16), 12: byte(i >> 8)})
		}
		return p, netip.AddrPortFrom(client, uint16(1000+i%256)), netip.AddrPortFrom(vip, vipPort),
			netip.AddrPortFrom(scaleAddr(i%scaleBackends, v6), backendPort)
	})
	if err != nil {
		b.Fatal(err)
	}
}

func scaleID(i int) core.BackendID {
	return core.BackendID{Service: "web", Backend: "b" + strconv.Itoa(i)}
}

func scaleAddr(i int, v6 bool) netip.Addr {
	if v6 {
		return netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0, 8, 15: byte(i + 1)})
	}
	return netip.AddrFrom4([4]byte{198, 18, 0, byte(i + 1)})
}

// until waits for something that the reader is about to do.
func until(b testing.TB, r *conntrack.Reader, done func(conntrack.Stats) bool) {
	b.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); !done(r.Stats()); <-tick.C {
		if time.Now().After(deadline) {
			b.Fatalf("waited in vain: %+v", r.Stats())
		}
	}
}

// cpu is what this process has used.
func cpu() time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkCut deletes the connections of one backend of a hundred.
func BenchmarkCut(b *testing.B) {
	for _, v6 := range []bool{false, true} {
		b.Run(fmt.Sprintf("IPv6 %t", v6), func(b *testing.B) {
			be, r := scale(b, conntrack.Config{}, core.UDP, v6, scaleEntries)
			be.run(r)
			var took time.Duration
			n := 0
			for b.Loop() {
				r.Cut(scaleID(n % scaleBackends))
				n++
				until(b, r, func(s conntrack.Stats) bool { return s.Cleanings == uint64(n) })
				took += r.Stats().LastCleaning
			}
			b.ReportMetric(float64(took.Microseconds())/1000/float64(n), "ms/cut")
		})
	}
}

// BenchmarkResync reads the whole table as often as it may.
func BenchmarkResync(b *testing.B) {
	be, r := scale(b, conntrack.Config{Resync: time.Millisecond}, core.TCP, false, scaleEntries)
	be.run(r)
	start, used, n := time.Now(), cpu(), r.Stats().Resyncs
	for b.Loop() {
		resyncs := r.Stats().Resyncs
		until(b, r, func(s conntrack.Stats) bool { return s.Resyncs > resyncs })
	}
	s := r.Stats()
	b.ReportMetric(float64((cpu()-used).Milliseconds())/float64(s.Resyncs-n), "cpu-ms/resync")
	b.ReportMetric(float64(s.LastResync.Milliseconds()), "ms/resync")
	b.ReportMetric(100*float64(cpu()-used)/float64(time.Since(start)), "%core")
	if s.Entries != scaleEntries {
		b.Errorf("%d entries, want %d", s.Entries, scaleEntries)
	}
}

// BenchmarkBacklog reads events that wait: what an event costs the reader in
// all, system calls included.
func BenchmarkBacklog(b *testing.B) {
	const connections = 40_000
	for b.Loop() {
		b.StopTimer()
		be, r := scale(b, conntrack.Config{}, core.UDP, false, 0)
		if err := r.Listen(); err != nil {
			b.Fatal(err)
		}
		populate(b, be, r, core.UDP, false, connections)
		if err := r.RemoveAll(b.Context()); err != nil {
			b.Fatal(err)
		}
		used := cpu()
		b.StartTimer()
		be.run(r)
		until(b, r, func(s conntrack.Stats) bool { return s.Events >= 2*connections })
		b.ReportMetric(float64((cpu()-used).Nanoseconds())/(2*connections), "cpu-ns/event")
		if s := r.Stats(); s.Overruns > 0 {
			b.Errorf("events were lost: %+v", s)
		}
	}
}
