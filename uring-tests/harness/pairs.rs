//! Connected sockets, one end on the loop and the other in std's hands. Both ends are on this thread: std's may write
//! (a few KiB never block on the loopback), but must not read before the loop has had a turn to send.

use super::peers::{connect, listen};
use ringloop::net::{TcpListener, TcpStream};
use std::net::SocketAddr;

/// The loop's end connected, std's end accepted.
pub async fn connected() -> (TcpStream, std::net::TcpStream) {
    let (listener, address) = listen();
    let ours = TcpStream::connect(address).await.expect("the listener is there");
    let (theirs, _) = listener.accept().expect("the connection is established");
    (ours, theirs)
}

/// So many of them.
pub async fn many_connected(count: usize) -> Vec<(TcpStream, std::net::TcpStream)> {
    let mut pairs = Vec::with_capacity(count);
    for _ in 0..count {
        pairs.push(connected().await);
    }
    pairs
}

/// Both ends on the loop.
pub async fn both_ends() -> (TcpStream, TcpStream) {
    let (listener, address) = bound().await;
    let one = TcpStream::connect(address).await.expect("the listener is there");
    let (other, _) = listener.accept().await.expect("the connection is established");
    (one, other)
}

/// A listener of the loop on a free port of the loopback.
pub async fn bound() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("the loopback has a free port");
    let address = listener.local_addr().expect("a bound socket has an address");
    (listener, address)
}

/// So many std clients of a listener; none waits to be accepted, the kernel's backlog holds them.
pub fn clients(address: SocketAddr, count: usize) -> Vec<std::net::TcpStream> {
    (0..count).map(|_| connect(address)).collect()
}
