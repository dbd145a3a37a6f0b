// SPDX-License-Identifier: Apache-2.0

//! What `f64` has only with the standard library, from the compiler's own runtime.

extern "C" {
    #[link_name = "sqrt"]
    fn c_sqrt(x: f64) -> f64;
    #[link_name = "exp"]
    fn c_exp(x: f64) -> f64;
    #[link_name = "log"]
    fn c_log(x: f64) -> f64;
    #[link_name = "pow"]
    fn c_pow(x: f64, y: f64) -> f64;
}

pub fn sqrt(x: f64) -> f64 {
    unsafe { c_sqrt(x) }
}

pub fn exp(x: f64) -> f64 {
    unsafe { c_exp(x) }
}

/// The natural logarithm.
pub fn ln(x: f64) -> f64 {
    unsafe { c_log(x) }
}

pub fn pow(x: f64, y: f64) -> f64 {
    unsafe { c_pow(x, y) }
}
