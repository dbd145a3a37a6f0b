// SPDX-License-Identifier: Apache-2.0

//! pi: a PI controller that makes CPUs equal, as a policy in Rust. The README
//! beside has the formula.

#![no_std]

use steelyard::{policy, Backend, Health, Result, Snapshot};

policy! { r#"{
    "name": "pi",
    "about": "configured weights, corrected by a PI controller until CPUs are equal",
    "params": [
        {"name": "kp", "default": 0.3, "min": 0, "max": 2, "unit": "ratio", "about": "answer to a change of the error"},
        {"name": "ki", "default": 0.02, "min": 0, "max": 1, "unit": "per second", "about": "answer to a lasting error"},
        {"name": "band", "default": 8, "min": 1, "max": 1000, "unit": "ratio", "about": "largest factor on the configured weight"}
    ],
    "reads": ["cpu"],
    "backend_slots": 2
}"# => schedule }

// Parameters, in the order of the manifest.
const KP: usize = 0;
const KI: usize = 1;
const BAND: usize = 2;

// Slots of a backend's state.
const FACTOR: usize = 0; // on the configured weight; 0 before the first decision
const ERROR: usize = 1; // of the decision before

fn schedule(s: &mut Snapshot) -> Result {
    let (mut sum, mut n) = (0.0, 0.0);
    for i in 0..s.len() {
        let b = s.backend(i);
        if let (true, Some(cpu)) = (takes_part(b), b.cpu()) {
            sum += cpu;
            n += 1.0;
        }
    }
    let mean = clip(sum / n, 0.05, 1.0);
    let (kp, band) = (s.param(KP), s.param(BAND));
    let ki = s.param(KI) * s.seconds().min(10.0);
    for i in 0..s.len() {
        let b = s.backend(i);
        let state = s.backend_state(i);
        match b.cpu() {
            _ if !takes_part(b) => {
                state.fill(0.0);
                s.set_weight(i, 0.0);
            }
            None => s.hold(i),
            Some(cpu) => {
                let e = clip((mean - cpu) / mean, -0.5, 0.5);
                let step = clip(kp * (e - state[ERROR]) + ki * e, -0.25, 0.25);
                let before = if state[FACTOR] > 0.0 { state[FACTOR] } else { 1.0 };
                let factor = clip(before * (1.0 + step), 1.0 / band, band);
                state[FACTOR] = factor;
                state[ERROR] = e;
                s.set_weight(i, b.weight() * factor);
            }
        }
    }
    Ok(())
}

fn takes_part(b: &Backend) -> bool {
    b.weight() > 0.0 && b.health() != Health::Down
}

fn clip(x: f64, low: f64, high: f64) -> f64 {
    if x < low {
        low
    } else if x > high {
        high
    } else {
        x
    }
}
