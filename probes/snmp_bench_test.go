// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"bufio"
	"context"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/probes/probestest"
)

// fleetChild says to this program that it is the child process of a benchmark,
// which is 16 million agents.
const fleetChild = "STEELYARD_SNMP_FLEET"

// TestSNMPFleetChild is no test: it is the other side of the benchmarks, in a
// process of its own so that only the asking side is measured.
func TestSNMPFleetChild(t *testing.T) {
	if os.Getenv(fleetChild) == "" {
		return
	}
	conn, err := net.ListenUDP("udp4", nil)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	f := &probestest.Fleet{Conn: conn, Community: community, Refresh: time.Second, Objects: func() map[string]probestest.Value {
		ticks := uint32(time.Since(start) / time.Second * 4 * ticksPerSecond)
		return probestest.CPU{User: 1000 + ticks/4, Idle: 1000 + ticks/4*3, Cores: 4}.Objects()
	}}
	ctx, cancel := context.WithCancel(context.Background())
	go func() { // ends with the parent
		_, _ = os.Stdin.Read(make([]byte, 1))
		cancel()
	}()
	_, _ = os.Stdout.WriteString(conn.LocalAddr().(*net.UDPAddr).AddrPort().String() + "\n")
	_ = f.Run(ctx)
}

// startFleet starts the other side and returns its port.
func startFleet(b *testing.B) uint16 {
	b.Helper()
	child := exec.Command(os.Args[0], "-test.run", "^TestSNMPFleetChild$")
	child.Env = append(os.Environ(), fleetChild+"=1")
	stdin, err := child.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := child.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := child.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = stdin.Close()
		_ = child.Wait()
	})
	line, _, err := bufio.NewReader(stdout).ReadLine()
	if err != nil {
		b.Fatal(err)
	}
	return netip.MustParseAddrPort(string(line)).Port()
}

func fleetTarget(i int, spec *core.ProbeSpec) Target {
	at := netip.AddrFrom4([4]byte{127, byte(1 + i>>16), byte(i >> 8), byte(i)})
	return Target{
		ID:   core.BackendID{Service: "web", Backend: at.String()},
		Addr: netip.AddrPortFrom(at, 80),
		Spec: spec,
	}
}

// cpuTime is what this process has used, in user mode and in the kernel.
func cpuTime() time.Duration {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// BenchmarkSNMPCPU runs probes one after the other on eight goroutines and
// reports the CPU time of this side.
func BenchmarkSNMPCPU(b *testing.B) {
	spec := snmpTarget(netip.AddrPortFrom(netip.IPv4Unspecified(), startFleet(b))).Spec
	const side = 8
	var fail atomic.Int64
	b.ReportAllocs()
	b.ResetTimer()
	before := cpuTime()
	var wg sync.WaitGroup
	for g := range side {
		wg.Go(func() {
			p := newProber(fleetTarget(g, spec))
			for range b.N / side {
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				if r := p.probe(ctx); !r.ok {
					fail.Add(1)
				}
				cancel()
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64((cpuTime()-before).Microseconds())/float64(b.N), "cpu-µs/op")
	if n := fail.Load(); n > 0 {
		b.Errorf("%d of %d probes failed", n, b.N)
	}
}

// BenchmarkSNMPFleet is the daemon's load: 16,000 agents asked every 10 s by a
// Runner, for three rounds. It reports CPU time per probe and the memory of a
// target between two runs, with the history that it keeps by then.
func BenchmarkSNMPFleet(b *testing.B) {
	const targets, interval = 16_000, 10 * time.Second
	port := startFleet(b)
	for b.Loop() {
		spec := *snmpTarget(netip.AddrPortFrom(netip.IPv4Unspecified(), port)).Spec
		spec.Interval, spec.Timeout, spec.Jitter = interval, 2*time.Second, 0.1
		var good, bad atomic.Int64
		r := &Runner{Out: func(s core.Sample) {
			if s.OK {
				good.Add(1)
			} else {
				bad.Add(1)
			}
		}}
		empty := heapBytes()
		fleet := make([]Target, targets)
		for i := range fleet {
			fleet[i] = fleetTarget(i, &spec)
		}
		r.SetTargets(fleet)
		fleet = nil
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan struct{})
		go func() { defer close(ended); _ = r.Run(ctx) }()
		time.Sleep(interval) // the first runs are all at once
		before, n := cpuTime(), good.Load()
		time.Sleep(2 * interval)
		b.ReportMetric(float64((cpuTime()-before).Microseconds())/float64(good.Load()-n), "cpu-µs/probe")
		b.ReportMetric(float64(heapBytes()-empty)/targets, "B/target")
		b.ReportMetric(float64(bad.Load()), "failed")
		cancel()
		<-ended
	}
}
