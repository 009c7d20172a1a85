//! `ringloop` is asyncio for Rust on Linux: a completion-based event loop over io_uring.
//!
//! One thread, one loop, one ring; what the kernel may touch lives in one table; a dropped future is a completion with
//! nobody listening.
//!
//! The order of the groups below is the layering: a file uses only what stands in an earlier group, or in its own module.

#![deny(unsafe_code)]
#![warn(missing_docs)]
#![allow(dead_code, unused)]

// Words.
mod error;

// Pure Rust: no kernel, runs under Miri.
pub mod buf;
mod pool;

// Who runs, and who waits.
mod executor;
pub mod sync;

// The kernel.
mod ring;

// The life of one operation.
mod op;

// Ring, table and timers: one turn.
mod reactor;

// Executor meets reactor.
mod event_loop;

// What stands on the loop.
mod task;
mod thread;
mod time;

// What users import.
pub mod fs;
pub mod net;

pub mod testing;
pub use error::*;
pub use executor::*;
