// SPDX-License-Identifier: Apache-2.0

package scale

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/steelyard-lb/steelyard/bus"
	"github.com/steelyard-lb/steelyard/bus/bustest"
	"github.com/steelyard-lb/steelyard/core"
)

const group = "edge"

func nodeName(i int) string    { return fmt.Sprintf("balancer-%03d", i) }
func serviceName(i int) string { return fmt.Sprintf("service-%05d", i) }
func backendName(i int) string { return fmt.Sprintf("backend-%02d", i) }

// say publishes the n-th message of a class, as one of the nodes would.
func (z Size) say(b *bus.Bus, c bus.Class, n int) error {
	switch c {
	case bus.NodeClass:
		return b.PublishPresence(z.presence(n))
	case bus.WeightsClass:
		return b.PublishVector(z.vector(n))
	case bus.ProbeClass:
		return b.PublishSample(z.sample(n))
	case bus.FlowsClass:
		return b.PublishFlows(z.flows(n), group)
	case bus.DecisionClass:
		return b.PublishDecision(z.decision(n))
	}
	return fmt.Errorf("nobody says %s", c)
}

// speaker is the node that says the n-th message of a class, so that the load of a
// service or backend comes from one node, as it does by rendezvous.
func (z Size) speaker(c bus.Class, n int) int {
	switch c {
	case bus.NodeClass:
		return n % z.Nodes
	case bus.WeightsClass:
		return n % z.Services % z.Nodes
	case bus.ProbeClass:
		at := n % (z.Services * z.Backends * z.Probers)
		return (at/z.Probers + at%z.Probers) % z.Nodes
	case bus.FlowsClass:
		return n / z.Reported % z.Nodes
	default:
		return n / z.Services % z.Nodes
	}
}

func (z Size) presence(n int) core.Presence {
	return core.Presence{
		Node: nodeName(z.speaker(bus.NodeClass, n)), Group: group, Seq: uint64(n/z.Nodes + 1), Roles: core.AllRoles,
		Version: "v1.2.3", ConfigHash: "5d41402abc4b2a76b9719d911017c592", StartedAt: time.Now(), Epoch: 437_000_000_000_000,
	}
}

func (z Size) vector(n int) core.Vector {
	v := core.Vector{
		Service: serviceName(n % z.Services), Group: group, Node: nodeName(z.speaker(bus.WeightsClass, n)),
		Epoch: 437_000_000_000_000, Seq: uint64(n/z.Services + 1), Decision: uint64(n), Policy: "least-cpu", PolicyVersion: "v1.2.3",
	}
	rest := uint32(core.Slots)
	for i := range z.Backends {
		slots := core.Slots / uint32(z.Backends)
		if i == z.Backends-1 {
			slots = rest
		}
		rest -= slots
		v.Backends = append(v.Backends, core.VectorBackend{Name: backendName(i), Slots: slots, Opinion: rand.Float64(), Health: core.Up})
	}
	return v
}

func (z Size) sample(n int) core.Sample {
	all := z.Services * z.Backends * z.Probers
	at := n % all / z.Probers
	return core.Sample{
		Backend: core.BackendID{Service: serviceName(at / z.Backends), Backend: backendName(at % z.Backends)},
		Probe:   "http", Type: core.ProbeHTTP, Role: core.HealthRole, Node: nodeName(z.speaker(bus.ProbeClass, n)), Seq: uint64(n/all + 1),
		TakenAt: time.Now(), Took: 2345678, OK: true, Code: core.L7OK, Detail: "200 OK in 2.35 ms",
		Metrics: []core.Metric{{Name: core.MetricConnect, Value: 0.000412345, Unit: "seconds"},
			{Name: core.MetricResponse, Value: 0.002345678, Unit: "seconds"}},
	}
}

func (z Size) flows(n int) core.FlowReport {
	r := core.FlowReport{Node: nodeName(z.speaker(bus.FlowsClass, n)), Service: serviceName(n % z.Reported), Live: true}
	for i := range z.Backends {
		r.Backends = append(r.Backends, core.FlowOf{Name: backendName(i), Open: 123, Opened: 456_789, Closed: 456_666})
	}
	return r
}

// decision is about as long as one of a policy that goes by CPU and connections.
func (z Size) decision(n int) core.Decision {
	now, share := time.Now().UTC(), 1/float64(z.Backends)
	d := core.Decision{
		Seq: uint64(n + 1), Service: serviceName(n % z.Services), Node: nodeName(z.speaker(bus.DecisionClass, n)), At: now,
		Trigger: "interval", Policy: "least-cpu", PolicyVersion: "v1.2.3", PolicySeconds: 0.0000213, Outcome: core.Unchanged,
	}
	for i := range z.Backends {
		d.Backends = append(d.Backends, core.BackendDecision{
			Backend: backendName(i), Health: core.Up, Configured: 100, Policy: &share, Share: share, Slots: 4096, Why: "policy",
			Inputs: []core.Input{{Metric: "cpu", Value: 0.4213, Unit: "ratio", AgeSeconds: 3.2134, WindowSeconds: 10, Known: true, Probe: "cpu", Node: nodeName(0), Seq: 4711},
				{Metric: "connections", Value: 123, Unit: "count", AgeSeconds: 0.1234, Known: true}},
			Steps: []core.Step{{Name: "policy", Before: share, After: share}, {Name: "slots", Before: share, After: share}},
		})
	}
	return d
}

// bytes is how long a message of each class is, subject and body.
func (z Size) bytes(t testing.TB) map[bus.Class]int {
	b := bustest.Start(t)
	out := map[bus.Class]int{}
	for _, s := range z.Paper() {
		if s.PerSecond == 0 {
			continue
		}
		long := make(chan int, 1) // the one message
		cancel, err := b.Subscribe(string(s.Class)+".>", func(subject string, data []byte) { long <- len(subject) + len(data) })
		if err != nil {
			t.Fatal(err)
		}
		if err := z.say(b, s.Class, 0); err != nil {
			t.Fatal(err)
		}
		out[s.Class] = <-long
		cancel()
	}
	return out
}

// parseSize reads 100x1000x16.
func parseSize(text string) (z Size, err error) {
	z = Size{Probers: 1, ProbeEvery: 5 * time.Second}
	if _, err = fmt.Sscanf(strings.ReplaceAll(text, "x", " "), "%d %d %d", &z.Nodes, &z.Services, &z.Backends); err != nil {
		err = fmt.Errorf("size %q: want nodes, services and backends of each, such as 100x1000x16: %w", text, err)
	}
	return z, err
}
