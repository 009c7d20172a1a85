//! Calls on sockets: making one, its options, its addresses.

#![allow(unsafe_code)]

use std::io;
use std::mem::{MaybeUninit, offset_of};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use libc::{c_int, sockaddr, sockaddr_in, sockaddr_in6, sockaddr_storage, sockaddr_un, socklen_t};

use super::Errno;

/// Opens a TCP socket of the address's family.
pub(crate) fn tcp(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    stream(family, libc::IPPROTO_TCP)
}

/// Opens a stream socket of the unix family.
pub(crate) fn unix_stream() -> Result<OwnedFd, Errno> {
    stream(libc::AF_UNIX, 0)
}

fn stream(family: c_int, protocol: c_int) -> Result<OwnedFd, Errno> {
    // SAFETY: L1: the call takes no pointers.
    let fd =
        Errno::result(unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, protocol) })?;
    // SAFETY: D1: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A socket's address in the kernel's form.
#[derive(Clone, Copy)]
pub(crate) struct SockAddr {
    storage: sockaddr_storage,
    len: socklen_t,
}

impl SockAddr {
    /// Returns an address for the kernel to fill in.
    pub(crate) fn unset() -> Self {
        // SAFETY: P1: plain numbers; zeros are the address of no family.
        let storage = unsafe { MaybeUninit::zeroed().assume_init() };
        SockAddr { storage, len: size_of::<sockaddr_storage>() as socklen_t }
    }

    /// Returns the address of a socket in the file system.
    ///
    /// # Errors
    /// The path is longer than a socket's may be (107 bytes), or has a NUL byte.
    pub(crate) fn unix(path: &Path) -> io::Result<Self> {
        // SAFETY: P1: plain numbers.
        let mut address: sockaddr_un = unsafe { MaybeUninit::zeroed().assume_init() };
        address.sun_family = libc::AF_UNIX as libc::sa_family_t;
        let bytes = path.as_os_str().as_bytes();
        let refuse = |why| {
            let message = format!("{} is no path for a socket: {why}", path.display());
            Err(io::Error::new(io::ErrorKind::InvalidInput, message))
        };
        if bytes.contains(&0) {
            return refuse("it has a NUL byte");
        }
        if bytes.len() >= address.sun_path.len() {
            return refuse("it is longer than 107 bytes");
        }
        for (into, byte) in address.sun_path.iter_mut().zip(bytes) {
            *into = *byte as libc::c_char;
        }
        Ok(Self::new(address, offset_of!(sockaddr_un, sun_path) + bytes.len() + 1))
    }

    /// Puts an address of one family into the place that is large enough for all.
    fn new<A: Copy>(address: A, len: usize) -> Self {
        const { assert!(size_of::<A>() <= size_of::<sockaddr_storage>()) };
        const { assert!(align_of::<A>() <= align_of::<sockaddr_storage>()) };
        let mut new = Self { len: len as socklen_t, ..Self::unset() };
        // SAFETY: P1: the place is large enough and aligned, as asserted, and is ours alone.
        unsafe { (&raw mut new.storage).cast::<A>().write(address) };
        new
    }

    /// Returns the address as that of an internet socket.
    ///
    /// # Errors
    /// It is of another family.
    pub(crate) fn ip(&self) -> io::Result<SocketAddr> {
        match c_int::from(self.storage.ss_family) {
            libc::AF_INET => {
                // SAFETY: P1: the storage is larger than this family's address, and all of its bits are valid.
                let found = unsafe { &*(&raw const self.storage).cast::<sockaddr_in>() };
                let ip = Ipv4Addr::from(found.sin_addr.s_addr.to_ne_bytes());
                Ok(SocketAddrV4::new(ip, u16::from_be(found.sin_port)).into())
            }
            libc::AF_INET6 => {
                // SAFETY: P1: as above.
                let found = unsafe { &*(&raw const self.storage).cast::<sockaddr_in6>() };
                let (ip, port) = (Ipv6Addr::from(found.sin6_addr.s6_addr), u16::from_be(found.sin6_port));
                Ok(SocketAddrV6::new(ip, port, found.sin6_flowinfo, found.sin6_scope_id).into())
            }
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the socket has no IP address")),
        }
    }

    /// The address for a call that reads it.
    pub(crate) fn as_ptr(&self) -> *const sockaddr {
        (&raw const self.storage).cast()
    }

    /// How many bytes of it count.
    pub(crate) fn len(&self) -> socklen_t {
        self.len
    }

    /// The address and its length for a call that writes them: all of the storage may be used.
    pub(crate) fn out_pointers(&mut self) -> (*mut sockaddr, *mut socklen_t) {
        self.len = size_of::<sockaddr_storage>() as socklen_t;
        ((&raw mut self.storage).cast(), &raw mut self.len)
    }
}

impl From<SocketAddr> for SockAddr {
    fn from(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(address) => {
                let new = sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: address.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) },
                    sin_zero: [0; 8],
                };
                Self::new(new, size_of::<sockaddr_in>())
            }
            SocketAddr::V6(address) => {
                let new = sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: address.port().to_be(),
                    sin6_flowinfo: address.flowinfo(),
                    sin6_addr: libc::in6_addr { s6_addr: address.ip().octets() },
                    sin6_scope_id: address.scope_id(),
                };
                Self::new(new, size_of::<sockaddr_in6>())
            }
        }
    }
}

/// Receives what is there. recv(2) without waiting.
pub(crate) fn try_recv(socket: RawFd, into: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: L1: the slice is valid, and nobody else's, for the time of the call.
    let count = unsafe { libc::recv(socket, into.as_mut_ptr().cast(), into.len(), libc::MSG_DONTWAIT) };
    Ok(Errno::result(count)? as usize)
}

/// Sends what the socket takes. send(2) without waiting, and without SIGPIPE.
pub(crate) fn try_send(socket: RawFd, bytes: &[u8]) -> Result<usize, Errno> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: L1: the slice is valid for the time of the call.
    let count = unsafe { libc::send(socket, bytes.as_ptr().cast(), bytes.len(), flags) };
    Ok(Errno::result(count)? as usize)
}

/// The calls on an open socket.
#[derive(Clone, Copy)]
pub(crate) struct SockRef<'fd>(BorrowedFd<'fd>);

impl<'fd> SockRef<'fd> {
    pub(crate) fn of(socket: &'fd impl AsFd) -> Self {
        SockRef(socket.as_fd())
    }

    /// Gives it an address. bind(2).
    pub(crate) fn bind(self, address: &SockAddr) -> Result<(), Errno> {
        // SAFETY: L1: the address lives through the call.
        Errno::result(unsafe { libc::bind(self.0.as_raw_fd(), address.as_ptr(), address.len()) }).map(drop)
    }

    /// Lets it take connections. listen(2).
    pub(crate) fn listen(self, backlog: i32) -> Result<(), Errno> {
        // SAFETY: L1: the call takes no pointers.
        Errno::result(unsafe { libc::listen(self.0.as_raw_fd(), backlog) }).map(drop)
    }

    /// Ends a direction, or both. shutdown(2).
    pub(crate) fn shutdown(self, how: Shutdown) -> Result<(), Errno> {
        let how = match how {
            Shutdown::Read => libc::SHUT_RD,
            Shutdown::Write => libc::SHUT_WR,
            Shutdown::Both => libc::SHUT_RDWR,
        };
        // SAFETY: L1: the call takes no pointers.
        Errno::result(unsafe { libc::shutdown(self.0.as_raw_fd(), how) }).map(drop)
    }

    /// Dissolves a connection at once, with a reset for the peer. connect(2) with `AF_UNSPEC`.
    ///
    /// # Errors
    /// There is no connection.
    pub(crate) fn disconnect(self) -> Result<(), Errno> {
        let address = libc::sockaddr { sa_family: libc::AF_UNSPEC as libc::sa_family_t, sa_data: [0; 14] };
        let len = size_of_val(&address) as socklen_t;
        // SAFETY: L1: the address lives through the call.
        Errno::result(unsafe { libc::connect(self.0.as_raw_fd(), &raw const address, len) }).map(drop)
    }

    /// The address of this end. getsockname(2).
    pub(crate) fn local_addr(self) -> Result<SockAddr, Errno> {
        self.name(libc::getsockname)
    }

    /// The address of the other end. getpeername(2).
    pub(crate) fn peer_addr(self) -> Result<SockAddr, Errno> {
        self.name(libc::getpeername)
    }

    fn name(
        self,
        call: unsafe extern "C" fn(c_int, *mut sockaddr, *mut socklen_t) -> c_int,
    ) -> Result<SockAddr, Errno> {
        let mut address = SockAddr::unset();
        let (into, len) = address.out_pointers();
        // SAFETY: L1: both places are ours and live through the call.
        Errno::result(unsafe { call(self.0.as_raw_fd(), into, len) })?;
        Ok(address)
    }

    /// Whether it is one without boundaries (SO_TYPE).
    ///
    /// # Errors
    /// The descriptor is not a socket.
    pub(crate) fn is_stream(self) -> Result<bool, Errno> {
        Ok(self.get(libc::SOL_SOCKET, libc::SO_TYPE)? == libc::SOCK_STREAM)
    }

    /// Whether it listens (SO_ACCEPTCONN).
    ///
    /// # Errors
    /// The descriptor is not a socket.
    pub(crate) fn listens(self) -> Result<bool, Errno> {
        Ok(self.get(libc::SOL_SOCKET, libc::SO_ACCEPTCONN)? != 0)
    }

    /// SO_REUSEADDR.
    pub(crate) fn set_reuse_address(self, on: bool) -> Result<(), Errno> {
        self.set(libc::SOL_SOCKET, libc::SO_REUSEADDR, c_int::from(on))
    }

    /// TCP_NODELAY.
    pub(crate) fn nodelay(self) -> Result<bool, Errno> {
        Ok(self.get(libc::IPPROTO_TCP, libc::TCP_NODELAY)? != 0)
    }

    /// TCP_NODELAY.
    pub(crate) fn set_nodelay(self, on: bool) -> Result<(), Errno> {
        self.set(libc::IPPROTO_TCP, libc::TCP_NODELAY, c_int::from(on))
    }

    /// SO_KEEPALIVE.
    pub(crate) fn set_keepalive(self, on: bool) -> Result<(), Errno> {
        self.set(libc::SOL_SOCKET, libc::SO_KEEPALIVE, c_int::from(on))
    }

    /// SO_LINGER, in whole seconds, as std has it.
    pub(crate) fn set_linger(self, linger: Option<Duration>) -> Result<(), Errno> {
        // Rounded up: zero seconds would reset the connection.
        let whole = |linger: Duration| linger.as_secs().saturating_add((linger.subsec_nanos() > 0).into());
        let seconds = linger.map_or(0, |linger| c_int::try_from(whole(linger)).unwrap_or(c_int::MAX));
        let linger = libc::linger { l_onoff: c_int::from(linger.is_some()), l_linger: seconds };
        self.set(libc::SOL_SOCKET, libc::SO_LINGER, linger)
    }

    /// IP_TTL.
    pub(crate) fn set_ttl(self, ttl: u32) -> Result<(), Errno> {
        self.set(libc::IPPROTO_IP, libc::IP_TTL, ttl)
    }

    /// SO_RCVBUF. The kernel bounds it.
    pub(crate) fn set_recv_buffer_size(self, bytes: usize) -> Result<(), Errno> {
        self.set(libc::SOL_SOCKET, libc::SO_RCVBUF, c_int::try_from(bytes).unwrap_or(c_int::MAX))
    }

    /// SO_SNDBUF. The kernel bounds it.
    pub(crate) fn set_send_buffer_size(self, bytes: usize) -> Result<(), Errno> {
        self.set(libc::SOL_SOCKET, libc::SO_SNDBUF, c_int::try_from(bytes).unwrap_or(c_int::MAX))
    }

    fn set<T: Copy>(self, level: c_int, option: c_int, value: T) -> Result<(), Errno> {
        let (value, len) = ((&raw const value).cast(), size_of::<T>() as socklen_t);
        // SAFETY: L1: the value lives through the call, and its length is that of its type.
        Errno::result(unsafe { libc::setsockopt(self.0.as_raw_fd(), level, option, value, len) }).map(drop)
    }

    fn get(self, level: c_int, option: c_int) -> Result<c_int, Errno> {
        let (mut value, mut len) = (0, size_of::<c_int>() as socklen_t);
        let into = (&raw mut value).cast();
        // SAFETY: L1: both places are ours and live through the call.
        Errno::result(unsafe { libc::getsockopt(self.0.as_raw_fd(), level, option, into, &raw mut len) })?;
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;

    #[test]
    fn an_address_is_the_same_on_its_way_through_the_kernel() {
        for given in ["127.0.0.1:0", "[::1]:0"] {
            let given: SocketAddr = given.parse().expect("it is an address");
            assert_eq!(SockAddr::from(given).ip().expect("it has an IP address"), given);
            let socket = tcp(given).expect("sockets can be made");
            let socket = SockRef::of(&socket);
            if socket.bind(&given.into()).is_err() {
                continue; // No IPv6 here.
            }
            socket.listen(1).expect("it can listen");
            let local = socket.local_addr().expect("it has a name").ip();
            let local = local.expect("it is of the internet");
            // The oracle is std.
            let twin = TcpListener::from(socket.0.try_clone_to_owned().expect("descriptors are free"));
            assert_eq!(twin.local_addr().expect("std finds its name as well"), local);
            let client = std::net::TcpStream::connect(local).expect("it listens");
            let peer = SockRef::of(&client).peer_addr().expect("it is connected").ip();
            assert_eq!(peer.expect("it is of the internet"), client.peer_addr().expect("it is connected"));
            SockRef::of(&client).set_nodelay(true).expect("TCP has it");
            assert!(client.nodelay().expect("TCP has it") && SockRef::of(&client).nodelay() == Ok(true));
            SockRef::of(&client).set_ttl(41).expect("IP has it");
            assert!(given.is_ipv6() || client.ttl().expect("IP has it") == 41);
        }
        let scoped = SocketAddrV6::new(Ipv6Addr::LOCALHOST, 7, 0x1234_5678, 9).into();
        assert_eq!(SockAddr::from(scoped).ip().expect("it has an IP address"), scoped);
    }

    #[test]
    fn a_socket_in_the_file_system_is_found_there() {
        let path = std::env::temp_dir().join(format!("ringloop-sys-{}", std::process::id()));
        let socket = unix_stream().expect("sockets can be made");
        SockRef::of(&socket).bind(&SockAddr::unix(&path).expect("it is short")).expect("the folder is ours");
        let listener = UnixListener::from(socket);
        let name = listener.local_addr().expect("it has a name");
        std::fs::remove_file(&path).expect("it was made");
        assert_eq!(name.as_pathname(), Some(&*path));
        let refused = SockRef::of(&listener).local_addr().expect("it has a name").ip();
        assert_eq!(refused.map_err(|error| error.kind()), Err(io::ErrorKind::InvalidData));
        for wrong in ["x".repeat(108), "a\0b".to_owned()] {
            let refused = SockAddr::unix(Path::new(&wrong)).err().map(|error| error.kind());
            assert_eq!(refused, Some(io::ErrorKind::InvalidInput));
            let std = UnixListener::bind(wrong).expect_err("std refuses it as well");
            assert_eq!(refused, Some(std.kind()));
        }
    }

    #[test]
    fn what_is_no_socket_is_refused() {
        let file = std::fs::File::open("/dev/null").expect("every system has it");
        assert_eq!(SockRef::of(&file).is_stream(), Err(Errno::ENOTSOCK));
    }
}
