// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
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
// parts of a core, and resident memory; MB-once counts the pages of the binary, which
// both have, once. Each backend has an address of its own, so no probe is shared. "tcp"
// opens a connection every 5 s; "tcp and snmp_cpu" also asks each for its CPU every 10 s.
func BenchmarkProbes1000x16(b *testing.B) {
	for _, tt := range []struct {
		name   string
		probes []string
	}{{"tcp", []string{tcpProbe}}, {"tcp and snmp_cpu", []string{tcpProbe, cpuProbe}}} {
		b.Run(tt.name, func(b *testing.B) {
			const services, period = 1000, 10 * time.Second
			d := newProbing(b, services, tt.probes, 0)
			for b.Loop() {
				cpu, before, began := d.cpu(b), d.runs(b), time.Now()
				wait(period)
				took := time.Since(began).Seconds()
				b.ReportMetric((d.cpu(b)-cpu).Seconds()/took, "cores")
				b.ReportMetric(float64(d.runs(b)-before)/took, "probes/s")
				d.reportMemory(b)
			}
			b.ReportMetric(0, "ns/op") // a chosen time
			// Last, since such a view takes memory.
			v := d.view(b)
			idle := func(s core.ServiceView) bool {
				return slices.ContainsFunc(s.Backends, func(b core.BackendView) bool { return b.Slots == 0 || len(tt.probes) > 1 && b.CPU == nil })
			}
			if len(v.Services) != services || v.SamplesDropped > 0 || slices.ContainsFunc(v.Services, idle) {
				b.Errorf("%d of %d services, %d samples dropped, or a backend serves nobody or has no CPU", len(v.Services), services, v.SamplesDropped)
			}
		})
	}
}

// BenchmarkProbesHanging has 10,000 backends whose packets are dropped beside 6,000
// good ones: they cost their time-outs, and the good ones are asked as often as if they
// were alone, every 5 s: 1,200 a second.
func BenchmarkProbesHanging(b *testing.B) {
	const period = 20 * time.Second
	d := newProbing(b, 1000, []string{tcpProbe}, 10)
	for b.Loop() {
		before := d.probes(b)
		cpu, began, files, threads := d.cpu(b), time.Now(), 0, 0
		for time.Since(began) < period {
			wait(time.Second)
			files, threads = max(files, d.count(b, "fd")), max(threads, d.count(b, "task"))
		}
		took := time.Since(began).Seconds()
		b.ReportMetric((d.cpu(b)-cpu).Seconds()/took, "cores")
		d.reportMemory(b)
		after := d.probes(b)
		took = time.Since(began).Seconds()
		b.ReportMetric(float64(files), "files")
		b.ReportMetric(float64(threads), "threads")
		b.ReportMetric(float64(after.Runs-after.Failed-before.Runs+before.Failed)/took, "good/s")
		b.ReportMetric(float64(after.Failed-before.Failed)/took, "hanging/s")
		b.ReportMetric(float64(after.Skipped-before.Skipped)/took, "skipped/s")
	}
	b.ReportMetric(0, "ns/op") // a chosen time
}

// BenchmarkProbesPing asks 2,000 and 16,000 backends for an echo every 5 s, over the
// sockets that all ping probes share.
func BenchmarkProbesPing(b *testing.B) {
	for _, services := range []int{125, 1000} {
		b.Run(strconv.Itoa(16*services), func(b *testing.B) {
			const period = 10 * time.Second
			d := newProbing(b, services, []string{pingProbe}, 0)
			for b.Loop() {
				cpu, before, began := d.cpu(b), d.runs(b), time.Now()
				wait(period)
				took := time.Since(began).Seconds()
				b.ReportMetric((d.cpu(b)-cpu).Seconds()/took, "cores")
				b.ReportMetric(float64(d.runs(b)-before)/took, "probes/s")
				b.ReportMetric(float64(d.count(b, "fd")), "files")
				d.reportMemory(b)
			}
			b.ReportMetric(0, "ns/op") // a chosen time
			if p := d.probes(b); p.Failed > p.Runs/1000 {
				b.Errorf("%d of %d pings failed", p.Failed, p.Runs)
			}
		})
	}
}

// Probes of a configuration, each by its name.
const (
	tcpProbe  = "tcp: {type: tcp, interval: 5s, timeout: 2s}"
	cpuProbe  = "cpu: {type: snmp_cpu, community: public, interval: 10s, timeout: 2s, window: 10s}"
	pingProbe = "ping: {type: ping, count: 1, interval: 5s, timeout: 2s}"
)

// A probing is a daemon that probes 16 servers again and again, each of them as
// many backends, with an address for each.
type probing struct {
	proc   *lab.Process
	client *admin.Client
}

// newProbing starts one with some probes and waits until all is well. The first so many
// of the servers answer nothing.
func newProbing(b *testing.B, services int, probes []string, hanging int) *probing {
	b.Helper()
	l := labtest.New(b, lab.Config{Backends: 16})
	dir := b.TempDir()
	d := &probing{client: admin.NewClient(filepath.Join(dir, "control.sock"))}
	var y strings.Builder
	fmt.Fprintf(&y, "node: test\nstate_dir: %[1]s/state\ncontrol: {socket: %[1]s/control.sock}\nprobes:\n", dir)
	var names []string
	for _, p := range probes {
		y.WriteString("  " + p + "\n")
		name, _, _ := strings.Cut(p, ":")
		names = append(names, name)
	}
	for i, n := range l.Backends {
		if d.serve(b, l, i, n, slices.Contains(probes, cpuProbe)); i < hanging {
			drop := "add table inet hang; add chain inet hang in { type filter hook prerouting priority -300; }; add rule inet hang in tcp dport 80 drop"
			if _, err := n.Command(b.Context(), "nft", drop); err != nil {
				b.Fatal(err)
			}
		}
	}
	y.WriteString("services:\n")
	for i := range services {
		fmt.Fprintf(&y, "  s%d: {vip: %s, port: %d, policy: weighted, every: 1s, probes: [%s], backends: {", i, l.VIP4, 10_000+i, strings.Join(names, ", "))
		for k := range l.Backends {
			fmt.Fprintf(&y, "b%d: {address: 10.%d.%d.%d, port: 80}, ", k, k, i/250, i%250+1)
		}
		y.WriteString("}}\n")
	}
	config := filepath.Join(dir, "steelyard.yaml")
	if err := os.WriteFile(config, []byte(y.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	var log labtest.Log
	cmd := exec.Command(shipped(b), "run", "-c", config)
	cmd.Stdout, cmd.Stderr = &log, &log
	var err error
	if d.proc, err = l.Balancer.Start(cmd); err != nil {
		b.Fatal(err)
	}
	d.settle(b, int64(16*services), &log)
	return d
}

// view is the daemon's whole state.
func (d *probing) view(b *testing.B) core.NodeView {
	b.Helper()
	v, err := d.client.Node(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	return v
}

// probes are the daemon's counts of the one type of probes that it has.
func (d *probing) probes(b *testing.B) core.ProbeTypeView {
	b.Helper()
	v := d.view(b)
	if len(v.Probing.Types) != 1 {
		b.Fatalf("%d types of probes", len(v.Probing.Types))
	}
	return v.Probing.Types[0]
}

// count is how many entries a directory of the daemon's in /proc has.
func (d *probing) count(b *testing.B, of string) int {
	b.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/%s", d.proc.PID, of))
	if err != nil {
		b.Fatal(err)
	}
	return len(entries)
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

// runs are the connections that the balancer opened so far, and the datagrams and echo
// requests that it sent, by its kernel: the daemon's own count is in a view, which costs.
func (d *probing) runs(b *testing.B) (sum int64) {
	b.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/snmp", d.proc.PID))
	if errors.Is(err, fs.ErrNotExist) {
		return 0 // it has ended
	}
	if err != nil {
		b.Fatal(err)
	}
	lines := strings.Split(string(raw), "\n")
	for i := 0; i+1 < len(lines); i += 2 { // the names, then the numbers
		names, numbers := strings.Fields(lines[i]), strings.Fields(lines[i+1])
		for k, name := range names {
			switch names[0] + name {
			case "Tcp:ActiveOpens", "Udp:OutDatagrams", "Icmp:OutEchos":
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
func (d *probing) settle(b *testing.B, probes int64, log *labtest.Log) {
	b.Helper()
	for deadline := time.Now().Add(2 * time.Minute); d.runs(b) < 2*probes; wait(100 * time.Millisecond) {
		select {
		case <-d.proc.Done():
			b.Fatalf("the daemon has ended\n%s", log)
		default:
		}
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

// reportMemory reports the resident memory of all processes together, and the same
// with the pages of files counted once.
func (d *probing) reportMemory(b *testing.B) {
	b.Helper()
	var sum, files, largest int64
	for _, pid := range d.processes(b) {
		raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
		if err != nil {
			b.Fatal(err)
		}
		words := bytes.Fields(raw)
		var pages [2]int64 // resident, and of these of files
		for i := range pages {
			if pages[i], err = strconv.ParseInt(string(words[i+1]), 10, 64); err != nil {
				b.Fatal(err)
			}
		}
		sum, files, largest = sum+pages[0], files+pages[1], max(largest, pages[1])
	}
	size := int64(os.Getpagesize())
	b.ReportMetric(float64(sum*size)/1e6, "MB")
	b.ReportMetric(float64((sum-files+largest)*size)/1e6, "MB-once")
}
