// SPDX-License-Identifier: Apache-2.0

//! Write a scheduling policy for steelyard in Rust. A policy looks at a
//! [`Snapshot`] of one service and gives each backend a weight; only the ratios
//! of the weights matter.
//!
//! ```ignore
//! #![no_std]
//! use steelyard::{policy, Result, Snapshot};
//!
//! policy! { r#"{"name": "idle", "reads": ["cpu"]}"# => idle }
//!
//! fn idle(s: &mut Snapshot) -> Result {
//!     for i in 0..s.len() {
//!         match s.backend(i).cpu() {
//!             Some(cpu) => s.set_weight(i, (1.0 - cpu).max(0.05)),
//!             None => s.hold(i),
//!         }
//!     }
//!     Ok(())
//! }
//! ```
//!
//! A policy has 50 ms of CPU time and 16 MiB of memory, no clock, no file and no
//! network. Keep nothing in statics between two calls: state belongs into
//! [`Snapshot::backend_state`] and [`Snapshot::service_state`], which the host
//! keeps, and commits only when the call succeeded and every backend has an
//! answer. An error or a panic leaves the weights in force as they were. Nothing
//! here allocates.

#![no_std]

mod backend;
mod host;
pub mod layout;
pub mod math;
#[doc(hidden)]
pub mod module;
mod snapshot;

pub use backend::{Backend, Health};
pub use host::{log, random, Level};
pub use snapshot::{Metric, Snapshot};

/// What a policy returns: the text names the cause of an error.
pub type Result = core::result::Result<(), &'static str>;

/// A policy's function.
pub type Schedule = fn(&mut Snapshot<'_>) -> Result;

/// Makes a module of one or more policies: each is its manifest, a JSON text, and
/// the function that schedules.
///
/// ```ignore
/// policy! { r#"{"name": "a"}"# => a, r#"{"name": "b"}"# => b }
/// ```
#[macro_export]
macro_rules! policy {
    ($first:literal => $one:path $(, $more:literal => $other:path)* $(,)?) => {
        #[no_mangle]
        pub extern "C" fn sy_abi_v1() -> i32 {
            $crate::layout::MINOR
        }

        #[no_mangle]
        pub extern "C" fn sy_manifest() -> u64 {
            const TEXT: &str = concat!("{\"abi\":1,\"policies\":[", $first $(, ",", $more)*, "]}");
            (TEXT.as_ptr() as u64) << 32 | TEXT.len() as u64
        }

        #[no_mangle]
        pub extern "C" fn sy_alloc(size: u32) -> *mut u8 {
            $crate::module::alloc(size)
        }

        #[no_mangle]
        pub extern "C" fn sy_schedule(snapshot: *mut u8, _size: u32) -> i32 {
            const POLICIES: &[$crate::Schedule] = &[$one $(, $other)*];
            // The host gives what sy_alloc answered, filled in.
            unsafe { $crate::module::schedule(snapshot, POLICIES) }
        }
    };
}
