//! Names become addresses: numeric ones at once, others by getaddrinfo(3) on the thread pool.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, ToSocketAddrs};

use crate::op::BlockingWork;
use crate::reactor::Op;

/// What a place to connect or bind to may be given as: `"host:port"`, `("host", port)`, an address, or several addresses.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let addresses = ringloop::run(ringloop::net::lookup_host("127.0.0.1:80"))??;
/// assert_eq!(addresses, ["127.0.0.1:80".parse()?]);
/// # Ok(()) }
/// ```
pub trait ToAddrs: sealed::Sealed {
    /// Known addresses, or a name and a port to look up.
    #[doc(hidden)]
    fn to_target(self) -> Target;
}

mod sealed {
    pub trait Sealed {}
}

/// Where to, before any lookup.
#[doc(hidden)]
pub enum Target {
    Known(Vec<SocketAddr>),
    Name(String, u16),
    Invalid(String),
}

/// `host:port`, with a numeric host at once.
fn parse(text: &str) -> Target {
    if let Ok(address) = text.parse() {
        return Target::Known(vec![address]);
    }
    match text.rsplit_once(':').map(|(host, port)| (host, port.parse())) {
        Some((host, Ok(port))) if !host.is_empty() => named(host, port),
        _ => Target::Invalid(format!("'{text}' is not of the form host:port")),
    }
}

fn named(host: &str, port: u16) -> Target {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    match bare.parse::<IpAddr>() {
        Ok(ip) => Target::Known(vec![(ip, port).into()]),
        Err(_) => Target::Name(host.to_owned(), port),
    }
}

macro_rules! targets {
    ($($type:ty: $value:ident => $target:expr;)*) => {$(
        impl sealed::Sealed for $type {}
        impl ToAddrs for $type {
            fn to_target(self) -> Target {
                let $value = self;
                $target
            }
        }
    )*};
}

targets! {
    &str: text => parse(text);
    String: text => parse(&text);
    &String: text => parse(text);
    (&str, u16): pair => named(pair.0, pair.1);
    (String, u16): pair => named(&pair.0, pair.1);
    SocketAddr: address => Target::Known(vec![address]);
    SocketAddrV4: address => Target::Known(vec![address.into()]);
    SocketAddrV6: address => Target::Known(vec![address.into()]);
    (IpAddr, u16): pair => Target::Known(vec![pair.into()]);
    (Ipv4Addr, u16): pair => Target::Known(vec![pair.into()]);
    (Ipv6Addr, u16): pair => Target::Known(vec![pair.into()]);
    &[SocketAddr]: addresses => Target::Known(addresses.to_vec());
    Vec<SocketAddr>: addresses => Target::Known(addresses);
}

/// The addresses of a host, in the resolver's order. A numeric address is answered at once; a name is looked up on a
/// thread, so the loop does not wait.
///
/// # Errors
/// The resolver's, with the name in the text; `InvalidInput` for what is not of the form `host:port`.
///
/// # Cancellation
/// The lookup goes on on its thread; its answer is dropped.
pub async fn lookup_host(host: impl ToAddrs) -> io::Result<Vec<SocketAddr>> {
    resolve(host.to_target()).await
}

pub(super) async fn resolve(target: Target) -> io::Result<Vec<SocketAddr>> {
    match target {
        Target::Known(addresses) => Ok(addresses),
        Target::Invalid(reason) => Err(io::Error::new(io::ErrorKind::InvalidInput, reason)),
        Target::Name(host, port) => {
            let name = host.clone();
            let lookup = move || (host.as_str(), port).to_socket_addrs().map(Vec::from_iter);
            Op::new(BlockingWork::new(lookup))
                .await
                .map_err(|error| io::Error::new(error.kind(), format!("looking up '{name}': {error}")))
        }
    }
}
