//! What every trial stands on: how it is declared, in what process it runs, on what kind of ring, what it may ask of
//! the machine, and what must be true when it is over.
//!
//! A trial is a plain function of a [`Ctx`]; a panic is its failure. The parent process only lists, filters and
//! judges; each trial runs in a child process of its own ([`process`]), under a [`watchdog`], and is followed by the
//! [`aftermath`] checks. So a trial may lower its own limits, fork, or die, and no trial sees what another one left.

pub mod aftermath;
pub mod ctx;
pub mod forked;
pub mod fuse;
pub mod kinds;
pub mod needs;
pub mod pairs;
pub mod peers;
pub mod probes;
pub mod process;
pub mod stuck;
pub mod trial;
pub mod watchdog;

pub use ctx::Ctx;
pub use needs::Need;
pub use trial::{Kind, Trial};
