// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/steelyard-lb/steelyard/core"
	"github.com/steelyard-lb/steelyard/core/admin"
	"github.com/steelyard-lb/steelyard/core/lab"
	"github.com/steelyard-lb/steelyard/core/lab/labtest"
	"github.com/steelyard-lb/steelyard/probes/probestest"
)

// BenchmarkProbes1000x16 is what the daemon and its worker take, all processes
// together, to probe 16,000 backends and to decide 1,000 services once a second:
// parts of a core, and resident memory. Each backend has an address of its own, so no
// probe is shared. "tcp" opens a connection every 5 s; "tcp and snmp_cpu" also asks
// each for its CPU every 10 s.
func BenchmarkProbes1000x16(b *testing.B) {
	for _, tt := range []struct {
		name string
		snmp bool
	}{{"tcp", false}, {"tcp and snmp_cpu", true}} {
		b.Run(tt.name, func(b *testing.B) {
			const services, period = 1000, 10 * time.Second
			d := newProbing(b, services, tt.snmp)
			for b.Loop() {
				cpu, before, began := d.cpu(b), d.runs(b), time.Now()
				wait(period)
				took := time.Since(began).Seconds()
				b.ReportMetric((d.cpu(b)-cpu).Seconds()/took, "cores")
				b.ReportMetric(float64(d.resident(b))/1e6, "MB")
				b.ReportMetric(float64(d.runs(b)-before)/took, "probes/s")
			}
			b.ReportMetric(0, "ns/op") // a chosen time
			// Last, since such a view takes memory.
			v, err := d.client.Node(b.Context())
			idle := func(s core.ServiceView) bool {
				return slices.ContainsFunc(s.Backends, func(b core.BackendView) bool { return b.Slots == 0 || tt.snmp && b.CPU == nil })
			}
			if err != nil || len(v.Services) != services || v.SamplesDropped > 0 || slices.ContainsFunc(v.Services, idle) {
				b.Errorf("%d of %d services, %d samples dropped, or a backend serves nobody or has no CPU: %v", len(v.Services), services, v.SamplesDropped, err)
			}
		})
	}
}

// A probing is a daemon that probes 16 servers again and again, each of them as
// many backends, with an address for each.
type probing struct {
	proc   *lab.Process
	client *admin.Client
}

func newProbing(b *testing.B, services int, snmp bool) *probing {
	b.Helper()
	l := labtest.New(b, lab.Config{Backends: 16})
	dir := b.TempDir()
	d := &probing{client: admin.NewClient(filepath.Join(dir, "control.sock"))}
	var y strings.Builder
	fmt.Fprintf(&y, "node: test\nstate_dir: %[1]s/state\ncontrol: {socket: %[1]s/control.sock}\nprobes:\n  alive: {type: tcp, interval: 5s, timeout: 2s}\n", dir)
	names := "alive"
	if snmp {
		y.WriteString("  cpu: {type: snmp_cpu, community: public, interval: 10s, timeout: 2s, window: 10s}\n")
		names += ", cpu"
	}
	for i, n := range l.Backends {
		d.serve(b, l, i, n, snmp)
	}
	y.WriteString("services:\n")
	for i := range services {
		fmt.Fprintf(&y, "  s%d: {vip: %s, port: %d, policy: weighted, every: 1s, probes: [%s], backends: {", i, l.VIP4, 10_000+i, names)
		for k := range l.Backends {
			fmt.Fprintf(&y, "b%d: {address: 10.%d.%d.%d, port: 80}, ", k, k, i/250, i%250+1)
		}
		y.WriteString("}}\n")
	}
	config := filepath.Join(dir, "steelyard.yaml")
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

// serve makes a node answer for 10.i.0.0/16: TCP on port 80, SNMP where it is asked.
func (*probing) serve(b *testing.B, l *lab.Lab, i int, n *lab.Node, snmp bool) {
	b.Helper()
	net16 := fmt.Sprintf("10.%d.0.0/16", i)
	for _, c := range []struct {
		in   *lab.Node
		args []string
	}{
		{n, []string{"route", "add", "local", net16, "dev", "lo"}},
		{l.Balancer, []string{"route", "add", net16, "via", n.Addr4.String()}},
	} {
		if _, err := c.in.Command(b.Context(), "ip", c.args...); err != nil {
			b.Fatal(err)
		}
	}
	listener, err := n.Listen("tcp", "0.0.0.0:80")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = listener.Close() })
	go hangUp(listener)
	if !snmp {
		return
	}
	conn, err := n.ListenPacket("udp", "0.0.0.0:161")
	if err != nil {
		b.Fatal(err)
	}
	start := time.Now()
	f := &probestest.Fleet{Conn: conn.(*net.UDPConn), Community: "public", Refresh: time.Second, Objects: func() map[string]probestest.Value {
		ticks := uint32(time.Since(start).Seconds() * 4 * 100)
		return probestest.CPU{User: 1000 + ticks/4, Idle: 1000 + ticks/4*3, Cores: 4}.Objects()
	}}
	ctx, cancel := context.WithCancel(context.Background())
	b.Cleanup(cancel)
	go func() { _ = f.Run(ctx) }()
}

// hangUp is a server that has nothing to say.
func hangUp(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		_ = c.Close()
	}
}

// runs are the connections that the balancer opened so far and the datagrams that it
// sent, by its kernel: the daemon's own count is in a view, which costs.
func (d *probing) runs(b *testing.B) (sum int64) {
	b.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/snmp", d.proc.PID))
	if err != nil {
		b.Fatal(err)
	}
	lines := strings.Split(string(raw), "\n")
	for i := 0; i+1 < len(lines); i += 2 { // the names, then the numbers
		names, numbers := strings.Fields(lines[i]), strings.Fields(lines[i+1])
		for k, name := range names {
			if names[0] == "Tcp:" && name == "ActiveOpens" || names[0] == "Udp:" && name == "OutDatagrams" {
				n, err := strconv.ParseInt(numbers[k], 10, 64)
				if err != nil {
					b.Fatal(err)
				}
				sum += n
			}
		}
	}
	return sum
}

// settle waits until every backend has been probed twice, and then until Go has
// given back the memory that the start took.
func (d *probing) settle(b *testing.B, probes int64, log *syncBuffer) {
	b.Helper()
	for deadline := time.Now().Add(2 * time.Minute); d.runs(b) < 2*probes; wait(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatalf("%d probes in two minutes\n%s", d.runs(b), log)
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
