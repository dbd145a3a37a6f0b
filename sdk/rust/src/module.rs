// SPDX-License-Identifier: Apache-2.0

//! What the macro `policy!` calls.

use core::arch::wasm32::{memory_grow, memory_size};

use crate::snapshot::Snapshot;
use crate::{host, Schedule};

const PAGE: usize = 65536;

// The block of the snapshot. A module is called by one thread at a time.
static mut BLOCK: usize = 0;
static mut CAPACITY: usize = 0;

/// One block for the snapshot, with the weights behind it, in pages of its own, so
/// that it is in no allocator's way. It grows by half at least: what is left behind
/// is bounded by what is in use.
pub fn alloc(size: u32) -> *mut u8 {
    let need = size as usize + size as usize / 12 + 8;
    unsafe {
        if need > CAPACITY {
            let pages = (need + need / 2 + PAGE - 1) / PAGE;
            let end = memory_size(0);
            if memory_grow(0, pages) == usize::MAX {
                return core::ptr::null_mut();
            }
            if BLOCK == 0 || BLOCK + CAPACITY != end * PAGE {
                BLOCK = end * PAGE;
                CAPACITY = 0;
            }
            CAPACITY += pages * PAGE;
        }
        BLOCK as *mut u8
    }
}

/// Runs the policy that the snapshot names.
///
/// # Safety
///
/// The snapshot must be one that the host wrote into what alloc answered.
pub unsafe fn schedule(snapshot: *mut u8, policies: &[Schedule]) -> i32 {
    let mut s = Snapshot::new(snapshot);
    s.begin();
    match policies.get(s.header().entry as usize) {
        None => {
            host::error("the module has no policy of that number");
            -1
        }
        Some(policy) => match policy(&mut s) {
            Ok(()) => {
                s.finish();
                0
            }
            Err(why) => {
                host::error(why);
                -1
            }
        },
    }
}
