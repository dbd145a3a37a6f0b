// SPDX-License-Identifier: Apache-2.0

use core::marker::PhantomData;
use core::slice;

use crate::backend::Backend;
use crate::layout::{self, Header};

/// One service at one decision; it takes the answer. What a policy reads lives as
/// long as the call (`'a`) and is never written, so it may be held while the state
/// and the weights are.
pub struct Snapshot<'a> {
    base: *mut u8,
    call: PhantomData<&'a [u8]>,
}

/// One custom metric of all backends.
#[derive(Clone, Copy)]
pub struct Metric<'a> {
    values: &'a [f64],
    ages: &'a [f32],
}

impl Metric<'_> {
    /// The metric of backend `i`.
    pub fn at(&self, i: usize) -> Option<f64> {
        let v = self.values[i];
        if v.is_nan() {
            None
        } else {
            Some(v)
        }
    }

    /// Its age in seconds; NaN if it is unknown.
    pub fn age(&self, i: usize) -> f64 {
        self.ages[i] as f64
    }
}

impl<'a> Snapshot<'a> {
    /// # Safety
    ///
    /// At base is what the host wrote into the answer of module::alloc: its offsets
    /// are right, and there is room for the weights behind it.
    pub(crate) unsafe fn new(base: *mut u8) -> Snapshot<'a> {
        Snapshot { base, call: PhantomData }
    }

    /// The header as it is, for what has no method.
    pub fn header(&self) -> &'a Header {
        unsafe { &*(self.base as *const Header) }
    }

    fn block<T>(&self, off: u32, n: usize) -> &'a [T] {
        unsafe { slice::from_raw_parts(self.base.add(off as usize) as *const T, n) }
    }

    fn block_mut<T>(&mut self, off: usize, n: usize) -> &mut [T] {
        unsafe { slice::from_raw_parts_mut(self.base.add(off) as *mut T, n) }
    }

    fn check(&self, i: usize) {
        assert!(i < self.len(), "there is no backend {}, the service has {}", i, self.len());
    }

    /// The number of backends.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.header().n as usize
    }

    /// The i-th backend.
    pub fn backend(&self, i: usize) -> &'a Backend {
        self.check(i);
        let h = self.header();
        unsafe { &*(self.base.add(h.records_off as usize + i * h.stride as usize) as *const Backend) }
    }

    /// The time since the decision before; 0 at the first.
    pub fn seconds(&self) -> f64 {
        self.header().seconds
    }

    /// The time of the decision.
    pub fn unix_nano(&self) -> i64 {
        self.header().unix_nano
    }

    /// How far the node's clock is east of UTC at `unix_nano`, in seconds.
    pub fn utc_offset(&self) -> i32 {
        self.header().utc_offset
    }

    /// Counts the decisions.
    pub fn seq(&self) -> u64 {
        self.header().seq
    }

    /// A number for the policy's own random generator: another one at every
    /// decision, the same when a decision is replayed.
    pub fn seed(&self) -> u64 {
        self.header().seed
    }

    /// Parameter `k` of the manifest: as configured, or its default.
    pub fn param(&self, k: usize) -> f64 {
        let params: &[f64] = self.block(self.header().params_off, self.header().n_params as usize);
        assert!(k < params.len(), "there is no parameter {}, the manifest has {}", k, params.len());
        params[k]
    }

    /// A custom metric by its name; the manifest must have it. Ask once per call,
    /// outside the loop.
    pub fn metric(&self, name: &str) -> Metric<'a> {
        let entries: &[layout::Metric] = match self.header().n_custom {
            0 => &[],
            n => self.block(self.header().custom_dir_off, n as usize),
        };
        for e in entries {
            if self.block::<u8>(e.name_off, e.name_len as usize) == name.as_bytes() {
                return Metric { values: self.block(e.values_off, self.len()), ages: self.block(e.ages_off, self.len()) };
            }
        }
        panic!("the manifest has no metric {}", name)
    }

    /// The policy's own numbers about the i-th backend, as many as its
    /// `backend_slots`. They follow the backend, not the index.
    pub fn backend_state(&mut self, i: usize) -> &mut [f64] {
        self.check(i);
        let (off, stride) = (self.header().backend_state_off as usize, self.header().backend_state_stride as usize);
        self.block_mut(off + i * stride, stride / 8)
    }

    /// The policy's own numbers about the service, as many as its
    /// `service_slots`.
    pub fn service_state(&mut self) -> &mut [f64] {
        let h = self.header();
        self.block_mut(h.service_state_off as usize, h.service_state_len as usize / 8)
    }

    // The weights are behind the snapshot until all are known: NaN is none yet,
    // below 0 holds.
    fn weights(&mut self) -> &mut [f64] {
        let h = self.header();
        self.block_mut(h.total_size as usize, h.n as usize)
    }

    /// Gives the i-th backend a weight, in any scale: only ratios matter. One that
    /// is negative, infinite or not a number panics.
    pub fn set_weight(&mut self, i: usize, weight: f64) {
        self.check(i);
        // The number itself is not told: to format one takes 20 KB.
        assert!(weight >= 0.0 && weight <= f64::MAX, "weight of backend {}: want a number from 0 upward", i);
        self.weights()[i] = weight;
    }

    /// Says that the policy has no opinion of the i-th backend: the host keeps the
    /// share it has, and lets it go back to the configured weight in time.
    pub fn hold(&mut self, i: usize) {
        self.check(i);
        self.weights()[i] = -1.0;
    }

    pub(crate) fn begin(&mut self) {
        self.weights().fill(f64::NAN);
    }

    /// Writes the answer, scaled so that the largest weight is MAX_WEIGHT. A weight
    /// above 0 stays above 0.
    pub(crate) fn finish(&mut self) {
        let n = self.len();
        let mut top = 0.0;
        for &w in self.weights().iter() {
            if w > top {
                top = w;
            }
        }
        for i in 0..n {
            let w = self.weights()[i];
            let word = if w.is_nan() {
                layout::NOT_WRITTEN
            } else if w < 0.0 {
                layout::HOLD
            } else if w == 0.0 {
                0
            } else {
                ((w / top * layout::MAX_WEIGHT as f64) as u32).max(1)
            };
            let out = self.header().out_off as usize;
            self.block_mut::<u32>(out, n)[i] = word;
        }
    }
}
