//! TCP: listeners and connections.
//!
//! Data lives with the connection, not with the future that asks for it: a dropped read loses no byte, a dropped write
//! loses nothing that was accepted, a dropped accept leaves its connection to the next. See [`TcpStream`], [`TcpListener`]
//! and, for names, [`lookup_host`].
//!
//! * `socket`: the descriptor, shared by count. `turn`: who reads, who writes. `receiver` and `out_queue`: the two halves of
//!   a connection; `watched`: a receiver that the kernel calls; `plain`: a call that takes what is there; `segment`: memory of
//!   all of them. `stream`, `split`, `connect`, `listener`: what users hold. `address`: names become addresses.
//!
//! Not here: UDP and unix sockets, TLS, asyncio's streams.

mod address;
mod connect;
mod lines;
mod listener;
mod out_queue;
mod owned;
mod plain;
mod receiver;
mod segment;
mod socket;
mod split;
mod stream;
mod turn;
mod watched;

pub use address::{ToAddrs, lookup_host};
pub use connect::{Connect, Connecting};
pub use lines::LineStream;
pub use listener::{Incoming, TcpListener};
pub use split::{OwnedReadHalf, OwnedWriteHalf};
pub use stream::TcpStream;

pub use crate::op::net::Chunk;
