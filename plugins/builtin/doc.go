// SPDX-License-Identifier: Apache-2.0

// Package builtin holds the shipped policies: rr, weighted, least-conn,
// least-response, least-cpu, maglev and failover. They are written against sdk/go alone, as a
// user's policy would be, and run as one WASM module, builtin.wasm, built from
// the package wasm below. The same source runs natively in simulations and as
// the oracle that the WASM build must equal bit by bit.
//
// # What they have in common
//
// A backend whose configured weight is 0, or which is down, gets 0. A backend
// of which the policy knows too little is held: the host then keeps the share
// it has and lets it return to the configured weight. All are deterministic:
// logarithm and exponential are our own, and no product is fused with a sum,
// because the assembly and the fused instructions of some processors round
// differently from WASM.
//
// # What they do not do
//
// They know no slow start, no floor, no step limit and no panic threshold:
// those are the host's and come after every policy (core.Shape).
package builtin
