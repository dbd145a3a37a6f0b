// SPDX-License-Identifier: Apache-2.0

// capacity: weighted least CPU as a policy in AssemblyScript. The README beside has
// the formula.

import { Backend, Health, Slots, Snapshot, register } from "../../../sdk/assemblyscript/assembly";
export { sy_abi_v1, sy_alloc, sy_manifest, sy_schedule } from "../../../sdk/assemblyscript/assembly";

// Slots of a backend's state. Constants stand above register, where asc compiles
// schedule.
const ESTIMATE = 0; // connections per second at full CPU; 0 until known
const SEQ = 1; // of the CPU sample looked at last

register(`{
  "name": "capacity",
  "about": "shares that make the CPUs of all backends equally busy",
  "params": [{"name": "alpha", "default": 0.3, "min": 0.01, "max": 1, "unit": "ratio", "about": "weight of a fresh sample"}],
  "reads": ["cpu", "closed"],
  "backend_slots": 2
}`, schedule);

function schedule(s: Snapshot): void {
  let known: f64 = 0;
  let weights: f64 = 0;
  for (let i = 0; i < s.length; i++) {
    const b = s.backend(i);
    const state = s.backendState(i);
    learn(b, state, s.param(0));
    if (takesPart(b) && state[ESTIMATE] > 0) {
      known += state[ESTIMATE];
      weights += b.weight;
    }
  }
  for (let i = 0; i < s.length; i++) {
    const b = s.backend(i);
    const estimate = s.backendState(i)[ESTIMATE];
    if (!takesPart(b)) s.setWeight(i, 0);
    else if (estimate > 0) s.setWeight(i, estimate);
    else if (isNaN(b.cpu)) s.hold(i); // not measured is not idle
    else if (known > 0) s.setWeight(i, <f64>b.weight * (known / weights));
    else s.setWeight(i, b.weight);
  }
}

function takesPart(b: Backend): bool {
  return b.weight > 0 && b.health != Health.DOWN;
}

// learn takes a fresh CPU sample into the estimate.
function learn(b: Backend, state: Slots, alpha: f64): void {
  if (b.health != Health.UP || isNaN(b.cpu) || isNaN(b.closed) || <f64>b.cpuSeq == state[SEQ]) return;
  state[SEQ] = b.cpuSeq;
  if (b.cpu < 0.05 || b.closed * <f64>b.cpuWindow < 5) return;
  const x = b.closed / b.cpu;
  const before = state[ESTIMATE];
  state[ESTIMATE] = before > 0 ? before + alpha * (x - before) : x;
}
