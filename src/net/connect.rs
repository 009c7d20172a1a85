//! Connecting: every address of a name, a little apart in time, and the first that answers wins (RFC 8305, "happy
//! eyeballs"). Attempts that lose are cancelled and their sockets closed.

use std::future::{Future, IntoFuture};
use std::io;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::address::{Target, resolve};
use super::socket::Socket;
use super::stream::TcpStream;
use crate::op::net::Connect as ConnectOp;
use crate::reactor::Op;
use crate::sys::socket::{SockRef, tcp};
use crate::task::{staggered_race, timeout};

/// How long an attempt is alone before the next address is tried as well.
const HEAD_START: Duration = Duration::from_millis(250);

/// A connection to be made; await it.
///
/// ```no_run
/// # async fn example() -> std::io::Result<()> {
/// use std::time::Duration;
/// let stream = ringloop::net::TcpStream::connect("example.org:80").timeout(Duration::from_secs(5)).nodelay(true).await?;
/// # Ok(()) }
/// ```
#[must_use = "nothing is connected before this is awaited"]
pub struct Connect<T> {
    target: Target,
    limit: Option<Duration>,
    nodelay: bool,
    local: Option<SocketAddr>,
    /// Makes the result out of the connected stream.
    finish: fn(TcpStream) -> io::Result<T>,
}

impl<T> Connect<T> {
    pub(super) fn new(target: Target, finish: fn(TcpStream) -> io::Result<T>) -> Self {
        Connect { target, limit: None, nodelay: true, local: None, finish }
    }

    /// How long it may take, lookup and all addresses together. Without it, as long as the kernel tries.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Whether small writes are sent at once (TCP_NODELAY). Default: yes, as in asyncio; a connection's queue collects
    /// what is written while a send is under way, so little is gained by waiting in the kernel as well.
    pub fn nodelay(mut self, on: bool) -> Self {
        self.nodelay = on;
        self
    }

    /// The address to connect from; port 0 lets the kernel choose one.
    pub fn local_addr(mut self, local: SocketAddr) -> Self {
        self.local = Some(local);
        self
    }

    async fn connect(self) -> io::Result<T> {
        let Connect { target, limit, nodelay, local, finish } = self;
        let socket = timeout(limit, async {
            let addresses = interleave(resolve(target).await?);
            let attempts = addresses.iter().map(|&address| {
                async move || Op::new(ConnectOp::new(open(address, nodelay, local)?, address)).await
            });
            let raced = staggered_race(attempts, HEAD_START).await;
            raced.map(|(_, socket)| socket).map_err(|errors| failed(&addresses, errors))
        });
        finish(TcpStream::new(socket.await??))
    }
}

impl<T: 'static> IntoFuture for Connect<T> {
    type Output = io::Result<T>;
    type IntoFuture = Connecting<T>;

    fn into_future(self) -> Connecting<T> {
        Connecting { future: Box::pin(self.connect()), local: PhantomData }
    }
}

/// The future of a [`Connect`].
///
/// # Cancellation
/// Dropping it cancels all attempts and closes their sockets.
#[must_use = "nothing is connected before this is awaited"]
pub struct Connecting<T> {
    future: Pin<Box<dyn Future<Output = io::Result<T>>>>,
    local: PhantomData<Rc<()>>,
}

impl<T> Future for Connecting<T> {
    type Output = io::Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        self.future.as_mut().poll(cx)
    }
}

/// The addresses of the first one's family and of the other one, in turn.
fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (one, other): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first);
    let (mut one, mut other) = (one.into_iter(), other.into_iter());
    std::iter::from_fn(|| {
        std::mem::swap(&mut one, &mut other);
        other.next().or_else(|| one.next())
    })
    .collect()
}

/// A socket for an attempt.
fn open(address: SocketAddr, nodelay: bool, local: Option<SocketAddr>) -> io::Result<Socket> {
    let fd = tcp(address)?;
    SockRef::of(&fd).set_nodelay(nodelay)?;
    if let Some(local) = local {
        SockRef::of(&fd).bind(&local.into())?;
    }
    Ok(Socket::new(fd))
}

/// One error that tells of all, each address's.
fn failed(addresses: &[SocketAddr], mut errors: Vec<io::Error>) -> io::Error {
    match &errors[..] {
        [] => io::Error::new(io::ErrorKind::NotFound, "the name has no address to connect to"),
        [only] if only.raw_os_error().is_some() => errors.remove(0),
        [first, ..] => {
            let told: Vec<String> =
                addresses.iter().zip(&errors).map(|(address, error)| format!("{address}: {error}")).collect();
            io::Error::new(first.kind(), format!("no address answered: {}", told.join("; ")))
        }
    }
}
