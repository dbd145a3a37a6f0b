// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/bus"
	"github.com/steelyard-lb/steelyard/bus/bustest"
	scaling "github.com/steelyard-lb/steelyard/bus/scale" // scale is a function here
	"github.com/steelyard-lb/steelyard/core/admin"
	"github.com/steelyard-lb/steelyard/core/lab"
	"github.com/steelyard-lb/steelyard/core/lab/labtest"
)

// TestGroupOnPaper counts what three real daemons say and holds it against the formula of
// docs/scaling.md.
func TestGroupOnPaper(t *testing.T) {
	if os.Getenv("STEELYARD_SCALE") == "" {
		t.Skip("takes a minute; set STEELYARD_SCALE=1")
	}
	z := scaling.Size{Nodes: 3, Services: 40, Backends: 2, Probers: 2, ProbeEvery: time.Second}
	first := newRig(t, 4)
	startNATS(t, first)
	var services strings.Builder
	fmt.Fprintf(&services, "bus: {servers: ['nats://%s']}\ncluster: {group: %s, probers: %d}\nservices:\n", clusterBus, scaling.Group, z.Probers)
	for i := range z.Services {
		fmt.Fprintf(&services, "  %s: {vip: %s, port: %d, policy: weighted, every: 1s, probes: [alive], backends: %s}\n",
			scaling.ServiceName(i), first.lab.VIP4, 80+i, first.backends(false, 30, 70))
	}
	for i, where := range []*lab.Node{first.lab.Balancer, first.lab.Backends[2], first.lab.Backends[3]} {
		name, here := fmt.Sprint("lb", i+1), *first.lab
		here.Balancer = where
		dir := filepath.Join(first.dir, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		r := &rig{t: t, lab: &here, dir: dir, config: filepath.Join(dir, "steelyard.yaml"), log: &labtest.Log{}, client: admin.NewClient(filepath.Join(dir, "control.sock"))}
		r.alive = fmt.Sprintf("interval: %s, timeout: 90ms, rise: 2, fall: 2", z.ProbeEvery)
		r.write(services.String())
		text, err := os.ReadFile(r.config)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(r.config, []byte(strings.Replace(string(text), "node: test\n", "node: "+name+"\n", 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		r.start()
	}
	const settles, period = 20 * time.Second, 60 * time.Second
	wait(settles)
	got := countMessages(t, first.lab.Balancer, period)
	t.Logf("in %v: %v", period, got)
	for _, s := range z.Paper() {
		if want := s.PerSecond * period.Seconds(); math.Abs(float64(got[s.Class])-want) > 0.05*want+1 {
			t.Errorf("%s: %d messages in %v, by the formula %.0f", s.Class, got[s.Class], period, want)
		}
	}
}

// countMessages counts the messages on the bus for a time, by their class.
func countMessages(t *testing.T, from *lab.Node, period time.Duration) map[bus.Class]int {
	t.Helper()
	c, err := from.DialContext(t.Context(), "tcp", clusterBus)
	if err == nil {
		_, err = io.WriteString(c, "CONNECT {\"verbose\":false}\r\nSUB "+bus.Prefix+".> 1\r\n")
	}
	if err != nil {
		t.Fatal(err)
	}
	out := map[bus.Class]int{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for lines := bufio.NewReader(c); ; {
			line, err := lines.ReadString('\n')
			if err != nil {
				return
			}
			if rest, ok := strings.CutPrefix(line, "MSG "+bus.Prefix+"."); ok {
				class, _, _ := strings.Cut(rest, ".")
				out[bus.Class(class)]++
			}
		}
	}()
	wait(period)
	_ = c.Close()
	<-done
	return out
}

// BenchmarkClusterNode is what a whole daemon takes, with its worker, that is one of 100
// nodes with 1,000 services of 16 backends, where the others are a crowd over a real
// nats-server: 3,200 samples a second, 364 presences, 221 vectors; "moving" with shares
// that change every 10 s. It probes nothing itself; BenchmarkProbes1000x16 has that.
func BenchmarkClusterNode(b *testing.B) {
	if os.Getenv("STEELYARD_SCALE") == "" {
		b.Skip("takes three minutes; set STEELYARD_SCALE=1")
	}
	for _, tt := range []struct {
		name, roles string
		moves       float64
	}{{"apply", "[apply]", 0}, {"apply moving", "[apply]", 0.1}, {"schedule apply", "[schedule, apply]", 0}, {"schedule", "[schedule]", 0}} {
		b.Run(tt.name, func(b *testing.B) {
			const settles, period = 20 * time.Second, 15 * time.Second
			z := scaling.Size{Nodes: 100, Services: 1000, Backends: 16, Probers: 1, ProbeEvery: 5 * time.Second, Moves: tt.moves}
			d := joinCrowd(b, z, tt.roles)
			wait(settles)
			for b.Loop() {
				cpu, began := d.cpu(b), time.Now()
				wait(period)
				b.ReportMetric((d.cpu(b)-cpu).Seconds()/time.Since(began).Seconds(), "cores")
				d.reportMemory(b)
			}
			b.ReportMetric(0, "ns/op") // a chosen time
			v := d.view(b)
			members, taken, idle := len(v.Cluster.Members), v.Cluster.Taken, 0
			for _, s := range v.Services {
				for _, be := range s.Backends {
					if be.Slots == 0 {
						idle++
					}
				}
			}
			b.ReportMetric(float64(v.Cluster.Leads), "led")
			if members != z.Nodes+1 || taken == 0 || idle > 0 || v.SamplesDropped > 0 {
				b.Errorf("%d members, %d vectors taken, %d backends without slots, %d samples dropped", members, taken, idle, v.SamplesDropped)
			}
		})
	}
}

// joinCrowd starts a daemon that joins a crowd.
func joinCrowd(b *testing.B, z scaling.Size, roles string) *probing {
	b.Helper()
	l := labtest.New(b, lab.Config{Backends: 1})
	dir := b.TempDir()
	d := &probing{client: admin.NewClient(filepath.Join(dir, "control.sock"))}
	path, err := exec.LookPath("nats-server")
	if err != nil {
		b.Skip("nats-server is not installed")
	}
	host, port, _ := strings.Cut(clusterBus, ":")
	if _, err := l.Balancer.Start(exec.Command(path, "-a", host, "-p", port)); err != nil {
		b.Fatal(err)
	}
	var y strings.Builder
	fmt.Fprintf(&y, "node: lb1\nroles: %[2]s\nstate_dir: %[1]s/state\ncontrol: {socket: %[1]s/control.sock}\nbus: {servers: ['nats://%[3]s']}\ncluster: {group: %[4]s}\nprobes:\n  %[5]s: {type: http, interval: %[6]v}\nservices:\n",
		dir, roles, clusterBus, scaling.Group, scaling.Probe, z.ProbeEvery)
	for i := range z.Services {
		fmt.Fprintf(&y, "  %s: {vip: %s, port: %d, policy: weighted, every: 1s, probes: [%s], backends: {", scaling.ServiceName(i), l.VIP4, 10_000+i, scaling.Probe)
		for k := range z.Backends {
			fmt.Fprintf(&y, "%s: {address: 10.%d.%d.%d, port: 80}, ", scaling.BackendName(k), k, i/250, i%250+1)
		}
		y.WriteString("}}\n")
	}
	config := filepath.Join(dir, "steelyard.yaml")
	if err := os.WriteFile(config, []byte(y.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	c := &scaling.Crowd{Size: z}
	for deadline := time.Now().Add(startPatience); len(c.Buses) == 0; wait(50 * time.Millisecond) {
		// The first dial is made by this thread, and there is no second.
		err := l.Balancer.Do(func() error {
			s := bustest.StartWith(b, bus.Options{Node: "crowd", Servers: []string{"nats://" + clusterBus}})
			if s.Stats().Connected {
				c.Buses = append(c.Buses, s)
			}
			return nil
		})
		if err != nil || time.Now().After(deadline) {
			b.Fatalf("the crowd does not reach the server: %v", err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	b.Cleanup(func() { cancel(); wg.Wait() })
	wg.Go(func() {
		if _, err := c.Speak(ctx, time.Hour); err != nil {
			b.Error(err)
		}
	})
	var log labtest.Log
	cmd := exec.Command(shipped(b), "run", "-c", config)
	cmd.Stdout, cmd.Stderr = &log, &log
	if d.proc, err = l.Balancer.Start(cmd); err != nil {
		b.Fatal(err)
	}
	for deadline := time.Now().Add(startPatience); ; wait(100 * time.Millisecond) {
		if _, err = d.client.Node(b.Context()); err == nil {
			return d
		}
		if time.Now().After(deadline) {
			b.Fatalf("the daemon does not answer: %v\n%s", err, &log)
		}
	}
}
