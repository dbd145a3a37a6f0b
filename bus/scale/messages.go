// SPDX-License-Identifier: Apache-2.0

package scale

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/steelyard-lb/steelyard/bus"
	"github.com/steelyard-lb/steelyard/core"
)

// Group and Probe are the names of the group and of its one probe.
const (
	Group = "edge"
	Probe = "http"
)

// began is when the nodes were started, and epoch that of their leaders.
var (
	began = time.Now()
	epoch = uint64(began.UnixMilli()) << 8
)

// ServiceName and BackendName are those that the messages are about.
func ServiceName(i int) string { return fmt.Sprintf("service-%05d", i) }

// BackendName is the name of a backend, the same in each service.
func BackendName(i int) string { return fmt.Sprintf("backend-%02d", i) }

func nodeName(i int) string { return fmt.Sprintf("balancer-%03d", i) }

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
		return b.PublishFlows(z.flows(n), Group)
	case bus.DecisionClass:
		return b.PublishDecision(z.decision(n))
	case bus.CommitClass:
		return b.PublishCommit(core.Commit{At: time.Now(), Generation: uint32(n), Services: []string{ServiceName(n % z.Services)}, Decisions: []uint64{uint64(n)}, Took: time.Millisecond})
	}
	return fmt.Errorf("no node says %s", c)
}

// speaker is the node that says the n-th message of a class: what is about one service or
// backend comes from one node, as it does by rendezvous.
func (z Size) speaker(c bus.Class, n int) int {
	switch c {
	case bus.WeightsClass:
		return n % z.Services % z.Nodes
	case bus.ProbeClass:
		at := n % (z.Services * z.Backends * z.Probers)
		return (at/z.Probers + at%z.Probers) % z.Nodes
	case bus.FlowsClass:
		return n / z.Reported % z.Nodes
	case bus.DecisionClass:
		return n / z.Services % z.Nodes
	}
	return n % z.Nodes
}

func (z Size) presence(n int) core.Presence {
	return core.Presence{
		Node: nodeName(z.speaker(bus.NodeClass, n)), Group: Group, Seq: uint64(n/z.Nodes + 1), Roles: core.AllRoles,
		Version: "v1.2.3", ConfigHash: "5d41402abc4b2a76b9719d911017c592", StartedAt: began, Epoch: epoch,
	}
}

// vector is said again as it was until the shares move.
func (z Size) vector(n int) core.Vector {
	service := n % z.Services
	moves := uint64(float64(n/z.Services) * z.Moves / renewed(z.Moves, resendEvery))
	v := core.Vector{
		Service: ServiceName(service), Group: Group, Node: nodeName(z.speaker(bus.WeightsClass, n)),
		Epoch: epoch, Seq: moves + 1, Decision: moves + 1, Policy: "least-cpu", PolicyVersion: "v1.2.3",
	}
	shares, some := make([]float64, z.Backends), rand.New(rand.NewPCG(uint64(service), moves))
	for i := range shares {
		shares[i] = 1 + some.Float64()/10 // as of a policy that follows the load
	}
	for i, slots := range core.Quantize(shares) {
		v.Backends = append(v.Backends, core.VectorBackend{Name: BackendName(i), Slots: slots, Opinion: shares[i], Health: core.Up})
	}
	return v
}

func (z Size) sample(n int) core.Sample {
	all := z.Services * z.Backends * z.Probers
	at := n % all / z.Probers
	return core.Sample{
		Backend: core.BackendID{Service: ServiceName(at / z.Backends), Backend: BackendName(at % z.Backends)},
		Probe:   Probe, Type: core.ProbeHTTP, Role: core.HealthRole, Node: nodeName(z.speaker(bus.ProbeClass, n)), Seq: uint64(n/all + 1),
		TakenAt: time.Now(), Took: 2345678, OK: true, Code: core.L7OK, Detail: "200 OK in 2.35 ms",
		Metrics: []core.Metric{{Name: core.MetricConnect, Value: 0.000412345, Unit: "seconds"},
			{Name: core.MetricResponse, Value: 0.002345678, Unit: "seconds"}},
	}
}

func (z Size) flows(n int) core.FlowReport {
	r := core.FlowReport{Node: nodeName(z.speaker(bus.FlowsClass, n)), Service: ServiceName(n % z.Reported), Live: true}
	for i := range z.Backends {
		r.Backends = append(r.Backends, core.FlowOf{Name: BackendName(i), Open: 123, Opened: 456_789, Closed: 456_666})
	}
	return r
}

// decision is about as long as one of a policy that goes by CPU and connections.
func (z Size) decision(n int) core.Decision {
	share := 1 / float64(z.Backends)
	d := core.Decision{
		Seq: uint64(n + 1), Service: ServiceName(n % z.Services), Node: nodeName(z.speaker(bus.DecisionClass, n)), At: time.Now().UTC(),
		Trigger: "interval", Policy: "least-cpu", PolicyVersion: "v1.2.3", PolicySeconds: 0.0000213, Outcome: core.Unchanged,
	}
	for i := range z.Backends {
		d.Backends = append(d.Backends, core.BackendDecision{
			Backend: BackendName(i), Health: core.Up, Configured: 100, Policy: &share, Share: share, Slots: 4096, Why: "policy",
			Inputs: []core.Input{{Metric: "cpu", Value: 0.4213, Unit: "ratio", AgeSeconds: 3.2134, WindowSeconds: 10, Known: true, Probe: "cpu", Node: nodeName(0), Seq: 4711},
				{Metric: "connections", Value: 123, Unit: "count", AgeSeconds: 0.1234, Known: true}},
			Steps: []core.Step{{Name: "policy", Before: share, After: share}, {Name: "slots", Before: share, After: share}},
		})
	}
	return d
}
