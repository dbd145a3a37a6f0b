// SPDX-License-Identifier: Apache-2.0

package scale

import (
	"math"
	"time"

	"github.com/steelyard-lb/steelyard/bus"
)

// A Size is a group of nodes that have all three roles, and what they have to do.
type Size struct {
	Nodes    int
	Services int
	Backends int // of each service, each with an address of its own
	// Probers is how many nodes probe each backend, every ProbeEvery; further probes of
	// a backend count as further probers.
	Probers    int
	ProbeEvery time.Duration
	// Moves is how often the shares of a service change, per second and on average.
	Moves float64
	// Reported is how many services have their connections reported, by every node once
	// a second: the first ones, whose policy or passive rule goes by them.
	Reported int
}

// How often core/cluster and the engine speak. A presence is due every 250 ms and leaves at
// the next of the ticks of 50 ms, a vector every 4 to 5 s likewise. A decision that changed
// nothing is told every 10 s, at the next time that the policy was asked.
const (
	presenceEvery = 275 * time.Millisecond
	resendEvery   = 4525 * time.Millisecond
	refreshEvery  = 10500 * time.Millisecond
)

// nearest is how many nodes hear the connections of a service: its leader and the next.
const nearest = 2

// Hears are the services of which a node hears the connections: those that it leads, and
// those that it would lead next.
func (z Size) Hears(node int) (services []int) {
	for i := range z.Services {
		if (node-i%z.Nodes+z.Nodes)%z.Nodes < nearest {
			services = append(services, i)
		}
	}
	return services
}

// A Stream is what goes over the bus of one class.
type Stream struct {
	Class bus.Class
	// PerSecond is how many messages all nodes publish together, Hearers to how many
	// connections each of them is delivered.
	PerSecond float64
	Hearers   int
}

// Delivered is how many messages a second the servers hand to clients.
func (s Stream) Delivered() float64 { return s.PerSecond * float64(s.Hearers) }

// Paper is what a group publishes, by the formulas of docs/scaling.md. Decisions and commits
// have no hearers but monitors. Health changes and events are not in it: they come with
// what happens, and are few.
func (z Size) Paper() []Stream {
	nodes, services := float64(z.Nodes), float64(z.Services)
	moved := nodes * services * z.Moves // each node has its own decision and commit of it
	return []Stream{
		// A node hears itself on its control connection, and not on that of samples.
		{bus.NodeClass, nodes / presenceEvery.Seconds(), z.Nodes},
		{bus.WeightsClass, services * renewed(z.Moves, resendEvery), z.Nodes},
		{bus.ProbeClass, services * float64(z.Backends*z.Probers) / z.ProbeEvery.Seconds(), z.Nodes - 1},
		{bus.FlowsClass, nodes * float64(z.Reported), min(nearest, z.Nodes)},
		{bus.DecisionClass, services*renewed(z.Moves, refreshEvery) + moved - services*z.Moves, 0},
		{bus.CommitClass, moved, 0},
	}
}

// renewed is how often something is said per second that changes at random moves times a
// second, and is said again when it was not for so long.
func renewed(moves float64, again time.Duration) float64 {
	if moves == 0 {
		return 1 / again.Seconds()
	}
	return moves / (1 - math.Exp(-moves*again.Seconds()))
}
