//! What tests of programs on this crate use: faults made frequent, a clock that stands still.

pub use crate::ring::{Clock, FaultPlan};
