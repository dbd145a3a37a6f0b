// SPDX-License-Identifier: Apache-2.0

//! capacity: weighted least CPU as a policy in Rust. The README beside has the
//! formula.

#![no_std]

use steelyard::{policy, Backend, Health, Result, Snapshot};

policy! { r#"{
    "name": "capacity",
    "about": "shares that make the CPUs of all backends equally busy",
    "params": [{"name": "alpha", "default": 0.3, "min": 0.01, "max": 1, "unit": "ratio",
                "about": "weight of a fresh sample"}],
    "reads": ["cpu", "closed"],
    "backend_slots": 2
}"# => schedule }

// Slots of a backend's state.
const ESTIMATE: usize = 0; // connections per second at full CPU; 0 until known
const SEQ: usize = 1; // of the CPU sample looked at last

fn schedule(s: &mut Snapshot) -> Result {
    let alpha = s.param(0);
    let (mut known, mut weights) = (0.0, 0.0);
    for i in 0..s.len() {
        let b = s.backend(i);
        let state = s.backend_state(i);
        learn(b, state, alpha);
        if takes_part(b) && state[ESTIMATE] > 0.0 {
            known += state[ESTIMATE];
            weights += b.weight();
        }
    }
    for i in 0..s.len() {
        let b = s.backend(i);
        let estimate = s.backend_state(i)[ESTIMATE];
        if !takes_part(b) {
            s.set_weight(i, 0.0);
        } else if estimate > 0.0 {
            s.set_weight(i, estimate);
        } else if b.cpu().is_none() {
            s.hold(i); // not measured is not idle
        } else if known > 0.0 {
            s.set_weight(i, b.weight() * (known / weights));
        } else {
            s.set_weight(i, b.weight());
        }
    }
    Ok(())
}

fn takes_part(b: &Backend) -> bool {
    b.weight() > 0.0 && b.health() != Health::Down
}

/// Takes a fresh CPU sample into the estimate.
fn learn(b: &Backend, state: &mut [f64], alpha: f64) {
    let (cpu, closed) = match (b.health(), b.cpu(), b.closed()) {
        (Health::Up, Some(cpu), Some(closed)) if b.cpu_seq() as f64 != state[SEQ] => (cpu, closed),
        _ => return,
    };
    state[SEQ] = b.cpu_seq() as f64;
    if cpu < 0.05 || closed * b.cpu_window() < 5.0 {
        return;
    }
    let x = closed / cpu;
    let before = state[ESTIMATE];
    state[ESTIMATE] = if before > 0.0 { before + alpha * (x - before) } else { x };
}
