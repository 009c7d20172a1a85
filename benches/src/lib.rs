//! Workloads, who does them, and what that costs.
//!
//! A **workload** is defined once, in the catalogue of its family: [`tasks`], [`net`], [`files`]. An entry says what is done,
//! which figure of it counts, and what ringloop is to reach ([`workload`]).
//!
//! A **contender** does it: ringloop, its peers, `raw` (a loop written by hand over the bare ring), `sync` (plain blocking
//! calls). Each is a package of its own below `contender/`, so that a change to one builds and links no other, and each is
//! one program that does one workload and ends ([`contender`]). For sockets a second program, `load`, is the other end.
//!
//! The **cost** is read between two marks, so that set-up and end are not counted ([`meter`]). It is CPU time, user and
//! kernel, of all threads of the contender: on a machine that others use too it is the steadiest figure there is.
//!
//! The program `bench` has the contenders do the workloads in turn, round after round ([`session`]), takes the ratios
//! within a round ([`ratio`]), and writes the tables and charts ([`report`]).

pub mod contender;
pub mod document;
pub mod files;
pub mod instructions;
pub mod load;
pub mod machine;
pub mod meter;
pub mod net;
pub mod ratio;
pub mod report;
pub mod session;
pub mod tasks;
pub mod workload;
