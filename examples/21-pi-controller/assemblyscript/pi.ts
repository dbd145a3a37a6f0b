// SPDX-License-Identifier: Apache-2.0

// pi: a PI controller that makes CPUs equal, as a policy in AssemblyScript. The
// README beside has the formula.

import { Backend, Health, Snapshot, register } from "../../../sdk/assemblyscript/assembly";
export { sy_abi_v1, sy_alloc, sy_manifest, sy_schedule } from "../../../sdk/assemblyscript/assembly";

// Parameters, in the order of the manifest.
const KP = 0;
const KI = 1;
const BAND = 2;

// Slots of a backend's state.
const FACTOR = 0; // on the configured weight; 0 before the first decision
const ERROR = 1; // of the decision before

register(`{
  "name": "pi",
  "about": "configured weights, corrected by a PI controller until CPUs are equal",
  "params": [
    {"name": "kp", "default": 0.3, "min": 0, "max": 2, "unit": "ratio", "about": "answer to a change of the error"},
    {"name": "ki", "default": 0.02, "min": 0, "max": 1, "unit": "per second", "about": "answer to a lasting error"},
    {"name": "band", "default": 8, "min": 1, "max": 1000, "unit": "ratio", "about": "largest factor on the configured weight"}
  ],
  "reads": ["cpu"],
  "backend_slots": 2
}`, schedule);

function schedule(s: Snapshot): void {
  let sum: f64 = 0;
  let n: f64 = 0;
  for (let i = 0; i < s.length; i++) {
    const b = s.backend(i);
    if (takesPart(b) && !isNaN(b.cpu)) {
      sum += b.cpu;
      n++;
    }
  }
  const mean = clip(sum / n, 0.05, 1);
  const kp = s.param(KP);
  const band = s.param(BAND);
  const ki = s.param(KI) * min(s.seconds, 10);
  for (let i = 0; i < s.length; i++) {
    const b = s.backend(i);
    const state = s.backendState(i);
    if (!takesPart(b)) {
      state[FACTOR] = 0;
      state[ERROR] = 0;
      s.setWeight(i, 0);
    } else if (isNaN(b.cpu)) {
      s.hold(i);
    } else {
      const e = clip((mean - b.cpu) / mean, -0.5, 0.5);
      const step = clip(kp * (e - state[ERROR]) + ki * e, -0.25, 0.25);
      const before: f64 = state[FACTOR] > 0 ? state[FACTOR] : 1;
      const factor = clip(before * (1 + step), 1 / band, band);
      state[FACTOR] = factor;
      state[ERROR] = e;
      s.setWeight(i, <f64>b.weight * factor);
    }
  }
}

function takesPart(b: Backend): bool {
  return b.weight > 0 && b.health != Health.DOWN;
}

function clip(x: f64, low: f64, high: f64): f64 {
  return x < low ? low : x > high ? high : x;
}
