// SPDX-License-Identifier: Apache-2.0

// Package cluster joins the nodes of a group: who is there, which node probes what, who
// decides the shares of which service, and which of their vectors count.
//
// # How nodes agree
//
// Every node says that it is there four times a second, and at once when something
// changes. From whom it hears, a node computes by core.Rendezvous who leads a service
// and who probes a target, without asking anybody. Where two nodes see different others
// for a moment, two lead, and core.Ballot has all follow the one with the higher epoch.
//
//	              silent 1 s            silent 3 s
//	live ────────────────▶ loses services ────────▶ loses targets, its verdicts count no more
//	 ▲  ▲                       │                        │
//	 │  └── heard for 2 s ◀── returned ◀─────────────────┘ heard again
//	 └───── heard for 2 s ◀── new (or restarted)              leaving: at once
//
// Ages go by the local monotonic clock at arrival. Clocks of nodes are compared only for
// epochs, which survive clocks that are off, and for what View shows.
//
// # What it promises
//
// Leads, Counts and Probes take no lock. No method waits for the bus; of vectors that
// could not be sent in time, the newest of each service is. Vectors are handed on in
// order, each once, and never one that is below one handed on before.
//
// A node that was frozen does not take its own silence for that of others. A node that
// hears nobody is alone: it leads all and probes all, and sends no vectors, which would
// be old when somebody hears them.
package cluster
