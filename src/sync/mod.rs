//! How the tasks of one loop wait for each other: asyncio's primitives, first come first served.
//!
//! Each is a cheap handle that is cloned into tasks and never leaves its thread; permits and guards are
//! `'static`. All of them stand on one parking lot, `wait_queue`, where what a waiter waits for is *given* to
//! it before it is woken: so nobody is overtaken, and a waiter that is cancelled in that moment hands on what
//! it was given. What is free is taken without a yield.
//!
//! Work crosses threads through the loop's handle, never through these.

mod barrier;
mod condition;
mod event;
mod mutex;
mod permits;
mod promise;
mod queue;
mod semaphore;
mod shared_future;
mod wait_queue;

pub use barrier::{Barrier, BarrierWait};
pub use condition::Condition;
pub use event::{Event, EventWait};
pub use mutex::{Locking, Mutex, Mutex as Lock, MutexGuard};
pub(crate) use permits::Permits;
pub use promise::{FutureValue, Promise, new_future};
pub use queue::{Get, Items, LifoQueue, Prioritized, PriorityQueue, Put, Queue, QueueOf, Smallest, Storage};
pub use semaphore::{Acquire, Permit, Semaphore};
pub use shared_future::SharedFuture;
pub(crate) use wait_queue::Place;

#[cfg(test)]
mod by_hand;
