//! What a receive gives: bytes in the buffer into which the kernel put them.

use std::fmt;
use std::ops::Deref;

use crate::buf::IoBuf;
use crate::ring::Loan;

/// Bytes that a connection has received, in the buffer into which the kernel put them.
///
/// It derefs to `[u8]`, and it is itself a buffer that can be sent: a proxy or an echo moves bytes without a copy. The
/// buffer goes back to its loop when the chunk is dropped; it may outlive the loop. Holding many chunks for long takes
/// buffers away from other connections: when less than a quarter is left, `read_chunk` copies.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use ringloop::net::{TcpListener, TcpStream};
/// ringloop::run(async {
///     let listener = TcpListener::bind("127.0.0.1:0").await?;
///     let address = listener.local_addr()?;
///     let server = ringloop::create_task(async move {
///         let (peer, _) = listener.accept().await?;
///         while let Some(chunk) = peer.read_chunk().await? {
///             peer.write_owned(chunk).await?;
///         }
///         std::io::Result::Ok(())
///     });
///     let stream = TcpStream::connect(address).await?;
///     stream.write_all(b"hello").await?;
///     stream.shutdown_write().await?;
///     let mut answer = [0; 5];
///     stream.read_exact(&mut answer).await?;
///     assert_eq!(&answer, b"hello");
///     server.await?
/// })??;
/// # Ok(()) }
/// ```
pub struct Chunk {
    data: Data,
    /// How much of the data is consumed.
    start: usize,
}

/// Where the bytes are.
enum Data {
    /// In a buffer of the loop's ring.
    Lent(Loan),
    /// In memory of their own.
    Own(Vec<u8>),
}

impl Chunk {
    /// Drops the first `count` bytes (at most all) from the front.
    pub fn advance(&mut self, count: usize) {
        self.start = self.start.saturating_add(count).min(self.data().len());
    }

    /// Moves what is left into memory of its own: a buffer of the loop goes back to it.
    pub(crate) fn release(&mut self) {
        if let Data::Lent(_) = self.data {
            *self = Chunk::from(self.to_vec());
        }
    }

    fn data(&self) -> &[u8] {
        match &self.data {
            Data::Lent(loan) => loan,
            Data::Own(bytes) => bytes,
        }
    }
}

impl From<Loan> for Chunk {
    fn from(loan: Loan) -> Self {
        Chunk { data: Data::Lent(loan), start: 0 }
    }
}

impl From<Vec<u8>> for Chunk {
    fn from(bytes: Vec<u8>) -> Self {
        Chunk { data: Data::Own(bytes), start: 0 }
    }
}

// SAFETY: H1: a provided buffer is in the hand of the chunk's loan, whose count keeps it mapped; bytes of the chunk's own
// are changed by nobody else. Neither moves with the chunk.
unsafe impl IoBuf for Chunk {
    fn as_ptr(&self) -> *const u8 {
        self[..].as_ptr()
    }

    fn len(&self) -> usize {
        self[..].len()
    }
}

impl Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.data()[self.start..]
    }
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chunk({} bytes)", self[..].len())
    }
}
