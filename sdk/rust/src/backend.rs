// SPDX-License-Identifier: Apache-2.0

use crate::layout::{self, Record};

/// The state of a backend's gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    Unknown,
    Up,
    Down,
}

/// One backend. What nobody knows, or what is stale, is None.
#[repr(transparent)]
pub struct Backend(pub(crate) Record);

impl Backend {
    fn known(&self, bit: u16, value: f64) -> Option<f64> {
        if self.0.valid & bit != 0 {
            Some(value)
        } else {
            None
        }
    }

    /// Names the backend; the same on every node and after every restart.
    pub fn id(&self) -> u64 {
        self.0.id
    }

    /// The configured weight, 0 to 1000. 0 means no new connections.
    pub fn weight(&self) -> f64 {
        self.0.weight as f64
    }

    /// The share applied by the decision before, 0 to 1.
    pub fn share(&self) -> f64 {
        self.0.share as f64 / 65536.0
    }

    pub fn health(&self) -> Health {
        match self.0.health {
            layout::HEALTH_UP => Health::Up,
            layout::HEALTH_DOWN => Health::Down,
            _ => Health::Unknown,
        }
    }

    /// The time spent in this state of health.
    pub fn health_seconds(&self) -> f64 {
        self.0.health_seconds as f64
    }

    /// The busy ratio of all cores, 0 to 1.
    pub fn cpu(&self) -> Option<f64> {
        self.known(layout::VALID_CPU, self.0.cpu)
    }

    /// The age of `cpu` in seconds; NaN if it is unknown, as every age.
    pub fn cpu_age(&self) -> f64 {
        self.0.cpu_age as f64
    }

    /// The seconds that `cpu` and `closed` were averaged over.
    pub fn cpu_window(&self) -> f64 {
        self.0.cpu_window as f64
    }

    /// Counts fresh CPU samples: while it stands still, `cpu` is a repeat.
    pub fn cpu_seq(&self) -> u32 {
        self.0.cpu_seq
    }

    /// The number of cores.
    pub fn cores(&self) -> Option<f64> {
        self.known(layout::VALID_CORES, self.0.cores)
    }

    /// The response time in seconds.
    pub fn response(&self) -> Option<f64> {
        self.known(layout::VALID_RESPONSE, self.0.response)
    }

    pub fn response_age(&self) -> f64 {
        self.0.response_age as f64
    }

    /// The number of open connections.
    pub fn connections(&self) -> Option<f64> {
        self.known(layout::VALID_CONNECTIONS, self.0.connections as f64)
    }

    pub fn connections_age(&self) -> f64 {
        self.0.connections_age as f64
    }

    /// Connections opened per second.
    pub fn opened(&self) -> Option<f64> {
        self.known(layout::VALID_OPENED, self.0.opened)
    }

    /// Connections closed per second, over `cpu_window` where the CPU is known.
    pub fn closed(&self) -> Option<f64> {
        self.known(layout::VALID_CLOSED, self.0.closed)
    }
}
