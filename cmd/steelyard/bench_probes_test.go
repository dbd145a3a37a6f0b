// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/admin"
	"github.com/steelyard-lb/steelyard/core/lab"
	"github.com/steelyard-lb/steelyard/core/lab/labtest"
)

// BenchmarkProbes1000x16 is what the daemon and its worker take, all processes
// together, to probe 16,000 backends every 5 s and to decide 1,000 services once a
// second: parts of a core, and resident memory.
func BenchmarkProbes1000x16(b *testing.B) {
	const services, period = 1000, 10 * time.Second
	d := newProbing(b, services)
	for b.Loop() {
		cpu, probes, began := d.cpu(b), d.probes.Load(), time.Now()
		wait(period)
		took := time.Since(began).Seconds()
		b.ReportMetric((d.cpu(b)-cpu).Seconds()/took, "cores")
		b.ReportMetric(float64(d.probes.Load()-probes)/took, "probes/s")
		b.ReportMetric(float64(d.resident(b))/1e6, "MB")
	}
	b.ReportMetric(0, "ns/op") // a chosen time
	// Last, since such a view takes memory.
	v, err := d.client.Node(b.Context())
	idle := func(s core.ServiceView) bool {
		return slices.ContainsFunc(s.Backends, func(b core.BackendView) bool { return b.Slots == 0 })
	}
	if err != nil || len(v.Services) != services || v.SamplesDropped > 0 || slices.ContainsFunc(v.Services, idle) {
		b.Errorf("%d of %d services, %d samples dropped, or a backend serves nobody: %v", len(v.Services), services, v.SamplesDropped, err)
	}
}

// A probing is a daemon that probes 16 servers again and again, as backends of
// many services.
type probing struct {
	proc   *lab.Process
	client *admin.Client
	probes atomic.Int64 // answered
}

func newProbing(b *testing.B, services int) *probing {
	b.Helper()
	l := labtest.New(b, lab.Config{Backends: 16})
	dir := b.TempDir()
	d := &probing{client: admin.NewClient(filepath.Join(dir, "control.sock"))}
	var backends strings.Builder
	for _, n := range l.Backends {
		listener, err := n.Listen("tcp", n4(n))
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = listener.Close() })
		go d.hangUp(listener)
		fmt.Fprintf(&backends, "%s: {address: %s, port: 80}, ", n.Name, n.Addr4)
	}
	config := filepath.Join(dir, "steelyard.yaml")
	var y strings.Builder
	fmt.Fprintf(&y, "node: test\nstate_dir: %[1]s/state\ncontrol: {socket: %[1]s/control.sock}\nprobes:\n  alive: {type: tcp, interval: 5s, timeout: 2s}\nservices:\n", dir)
	for i := range services {
		fmt.Fprintf(&y, "  s%d: {vip: %s, port: %d, policy: weighted, every: 1s, probes: [alive], backends: {%s}}\n", i, l.VIP4, 10_000+i, &backends)
	}
	if err := os.WriteFile(config, []byte(y.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	var log syncBuffer
	cmd := exec.Command("/proc/self/exe", "run", "-c", config)
	cmd.Stdout, cmd.Stderr = &log, &log
	var err error
	if d.proc, err = l.Balancer.Start(cmd); err != nil {
		b.Fatal(err)
	}
	d.settle(b, int64(16*services), &log)
	return d
}

// hangUp is a server that has nothing to say.
func (d *probing) hangUp(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		d.probes.Add(1)
		_ = c.Close()
	}
}

// settle waits until every backend has been probed twice, and then until Go has
// given back the memory that the start took.
func (d *probing) settle(b *testing.B, probes int64, log *syncBuffer) {
	b.Helper()
	for deadline := time.Now().Add(time.Minute); d.probes.Load() < 2*probes; wait(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatalf("%d probes in a minute\n%s", d.probes.Load(), log)
		}
	}
	wait(20 * time.Second)
}

// processes are the daemon and its workers.
func (d *probing) processes(b *testing.B) []int {
	b.Helper()
	pids := []int{d.proc.PID}
	paths, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", d.proc.PID)) // the pattern is right
	for _, path := range paths {
		raw, _ := os.ReadFile(path) // a thread may have ended
		for _, word := range strings.Fields(string(raw)) {
			pid, err := strconv.Atoi(word)
			if err != nil {
				b.Fatal(err)
			}
			pids = append(pids, pid)
		}
	}
	if len(pids) < 2 {
		b.Fatal("the worker is missing")
	}
	return pids
}

// cpu is the CPU time of all processes: see clock_getcpuclockid(3).
func (d *probing) cpu(b *testing.B) (sum time.Duration) {
	b.Helper()
	const scheduler = 2 // CPUCLOCK_SCHED
	for _, pid := range d.processes(b) {
		var t unix.Timespec
		if err := unix.ClockGettime(int32(^pid<<3|scheduler), &t); err != nil {
			b.Fatalf("read the CPU clock of process %d: %v", pid, err)
		}
		sum += time.Duration(t.Nano())
	}
	return sum
}

// resident is the resident memory of all processes in bytes.
func (d *probing) resident(b *testing.B) (sum int64) {
	b.Helper()
	for _, pid := range d.processes(b) {
		raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
		if err != nil {
			b.Fatal(err)
		}
		pages, err := strconv.ParseInt(string(bytes.Fields(raw)[1]), 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		sum += pages * int64(os.Getpagesize())
	}
	return sum
}
