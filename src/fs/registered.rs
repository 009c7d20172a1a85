//! How a buffer is registered with the loop that runs.

use std::io;

use crate::reactor::expect_current;
use crate::ring::RegisteredBuf;

impl RegisteredBuf {
    /// A buffer of so many bytes, all zero.
    ///
    /// # Errors
    /// `InvalidInput` for 0 bytes, `OutOfMemory` where the process may not map so much. That it cannot be registered is none.
    ///
    /// # Panics
    /// Outside of an event loop.
    #[track_caller]
    pub fn new(len: usize) -> io::Result<RegisteredBuf> {
        Ok(expect_current("RegisteredBuf::new").registered_buffer(len)?)
    }
}
