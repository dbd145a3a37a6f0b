// SPDX-License-Identifier: Apache-2.0

// Package sim runs a policy against simulated backends: a discrete-event
// simulation of requests, connections, queues, sensors and balancers, with the
// shaping that the daemon uses (core.Shape, core.Quantize, core.NextPace).
//
// # What it promises
//
// The same scenario, policy and seed give the same outcome, to the last bit, on
// the same processor. Nothing reads a clock, starts a goroutine or touches a
// file. Runs are independent of one another, so a caller may make several at a
// time if its Scheduler allows that.
//
// # How it works
//
// Time goes in ticks of half a second, the spacing at which the engine counts
// connections. Within a tick requests come at any moment; at its end agents
// refresh, probes poll, and balancers decide. A backend is a queue, first come,
// first served, in front of its cores: the next request goes to the core that is
// free first, so that a request's end is known when it comes and no list of
// events is needed. Lives of connections are exponential, which has no memory, so
// any connection is as likely as another to send or to end next.
//
// # What it does not model
//
// The network, retries, time-outs and limits of backends; what a request costs
// does not depend on the backend but for its speed; a commit takes no time. See
// docs/simulation.md.
package sim
