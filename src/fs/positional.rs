//! The positional side of a [`File`]: transfers of owned buffers at an offset, any number at once.

use std::rc::Rc;

use super::File;
use super::descriptor::Descriptor;
use crate::buf::{IoBuf, IoBufMut};
use crate::error::BufResult;
use crate::op::Operation;
use crate::op::fs::ReadToEnd;
use crate::op::io::{
    At, Effect, Extent, Ordered, Read, ReadByThread, ReadVectored, Routed, Want, Write, WriteVectored, fill,
    fill_all,
};
use crate::reactor::Op;
use crate::sys::Errno;

impl File {
    /// The future of a transfer at an offset. A pipe has none: ESPIPE, as from pread(2).
    #[inline(always)]
    fn transfer<O: Operation>(
        &self,
        effect: Effect,
        operation: impl FnOnce(Rc<Descriptor>) -> O,
    ) -> Op<O::Output> {
        let refusal = self.descriptor.is_stream().then_some(Errno::ESPIPE as i32);
        let file = self.descriptor.clone();
        Op::new(Ordered::new(file.clone(), effect, refusal, operation(file)))
    }

    #[inline]
    fn reads_by_thread(&self) -> bool {
        self.descriptor.facts().reads_by_thread()
    }

    #[cold]
    fn read_by_thread<B: 'static>(
        &self,
        buf: B,
        offset: u64,
        want: Want,
        fill: fn(&mut B, Vec<u8>),
    ) -> Op<BufResult<B>> {
        self.transfer(Effect::None, |file| ReadByThread::new(&*file, buf, offset, want, fill))
    }

    /// Reads into the front of `buf`, up to its capacity, and sets its length. pread(2).
    ///
    /// Of a regular file fewer bytes come only at its end, or when a signal or an error cut the read short. 0 is the end, or a
    /// buffer without capacity.
    ///
    /// # Errors
    /// Those of pread(2); `ESPIPE` for a pipe, which only the cursor reads. The buffer comes back with the error.
    ///
    /// # Cancellation
    /// Nothing is lost but the buffer; `.timeout(d)` and `.cancellable()` give that back too.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// ringloop::run(async {
    ///     let file = ringloop::fs::File::open("/proc/version").await?;
    ///     let (n, bytes) = file.read_at(Vec::with_capacity(5), 0).await?;
    ///     assert_eq!((n, &bytes[..]), (5, &b"Linux"[..]));
    ///     std::io::Result::Ok(())
    /// })??;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "pread")]
    pub fn read_at<B: IoBufMut>(&self, buf: B, offset: u64) -> Op<BufResult<B>> {
        let len = buf.capacity();
        if self.reads_by_thread() {
            return self.read_by_thread(buf, offset, Want::Once(len), fill);
        }
        self.transfer(Effect::None, |file| Read::new(file, buf, At(offset), len, Extent::Once))
    }

    /// Writes the bytes of `buf`, or as many of them as one call of the kernel takes. pwrite(2).
    ///
    /// # Errors
    /// Those of pwrite(2): `StorageFull`, `PermissionDenied`.. The buffer comes back with the error.
    ///
    /// # Cancellation
    /// The bytes may be written all the same. `.timeout(d)` and `.cancellable()` tell.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let path = std::env::temp_dir().join(format!("ringloop-write-at-{}", std::process::id()));
    /// ringloop::run(async {
    ///     let file = ringloop::fs::File::create(&path).await?;
    ///     let (n, _buf) = file.write_at("behind a hole", 4096).await?;
    ///     assert_eq!(file.metadata().await?.len(), 4096 + n as u64);
    ///     std::io::Result::Ok(())
    /// })??;
    /// # std::fs::remove_file(path)?;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "pwrite")]
    pub fn write_at<B: IoBuf>(&self, buf: B, offset: u64) -> Op<BufResult<B>> {
        self.transfer(Effect::Changes, |file| Write::new(file, buf, offset, Extent::Once))
    }

    /// Reads exactly `len` bytes into the front of `buf`.
    ///
    /// # Errors
    /// `UnexpectedEof` if the file ends before; otherwise as [`read_at`](Self::read_at). `BufError::done` says how many bytes are
    /// in the buffer.
    ///
    /// # Cancellation
    /// As [`read_at`](Self::read_at).
    ///
    /// # Panics
    /// If the buffer has room for less than `len` bytes.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let path = std::env::temp_dir().join(format!("ringloop-exact-{}", std::process::id()));
    /// # std::fs::write(&path, "some more text")?;
    /// ringloop::run(async {
    ///     let file = ringloop::fs::File::open(&path).await?;
    ///     let (n, word) = file.read_exact_at([0; 4], 5, 4).await?;
    ///     assert_eq!((n, &word), (4, b"more"));
    ///     // An array has no other length than its own; a vector is as long as what was read.
    ///     let error = file.read_exact_at(Vec::with_capacity(64), 10, 64).await.unwrap_err();
    ///     assert_eq!((error.done, &error.buf[..]), (4, &b"text"[..]));
    ///     std::io::Result::Ok(())
    /// })??;
    /// # std::fs::remove_file(path)?;
    /// # Ok(()) }
    /// ```
    #[track_caller]
    pub fn read_exact_at<B: IoBufMut>(&self, buf: B, offset: u64, len: usize) -> Op<BufResult<B>> {
        let room = buf.capacity();
        assert!(
            len <= room,
            "read_exact_at of {len} bytes into a buffer with room for {room}: give it the capacity"
        );
        if self.reads_by_thread() {
            return self.read_by_thread(buf, offset, Want::Exactly(len), fill);
        }
        self.transfer(Effect::None, |file| Read::new(file, buf, At(offset), len, Extent::All))
    }

    /// Writes all the bytes of `buf`.
    ///
    /// # Errors
    /// As [`write_at`](Self::write_at); `BufError::done` says how many bytes were written before the error, exactly.
    ///
    /// # Cancellation
    /// As [`write_at`](Self::write_at).
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let path = std::env::temp_dir().join(format!("ringloop-all-{}", std::process::id()));
    /// ringloop::run(async {
    ///     let file = ringloop::fs::File::create(&path).await?;
    ///     let (n, text) = file.write_all_at(String::from("comes back"), 0).await?;
    ///     assert_eq!((n, &text[..]), (10, "comes back"));
    ///     std::io::Result::Ok(())
    /// })??;
    /// # std::fs::remove_file(path)?;
    /// # Ok(()) }
    /// ```
    pub fn write_all_at<B: IoBuf>(&self, buf: B, offset: u64) -> Op<BufResult<B>> {
        self.transfer(Effect::Changes, |file| Write::new(file, buf, offset, Extent::All))
    }

    /// Reads from `offset` to the end of the file, into a vector that grows as needed; what was in it is replaced.
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at), and `OutOfMemory`. `BufError::done` says how many bytes were read before the error.
    ///
    /// # Cancellation
    /// As [`read_at`](Self::read_at).
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// ringloop::run(async {
    ///     let file = ringloop::fs::File::open("/proc/self/status").await?;
    ///     let (n, rest) = file.read_to_end_at(Vec::new(), 5).await?;
    ///     assert!(n > 100 && rest.len() == n);
    ///     std::io::Result::Ok(())
    /// })??;
    /// # Ok(()) }
    /// ```
    pub fn read_to_end_at(&self, buf: Vec<u8>, offset: u64) -> Op<BufResult<Vec<u8>>> {
        if self.reads_by_thread() {
            return self.read_by_thread(buf, offset, Want::ToEnd, |buf, bytes| *buf = bytes);
        }
        self.transfer(Effect::None, |file| ReadToEnd::new(file, buf, offset))
    }

    /// Reads into one buffer after the other, each up to its capacity, by one call; at most the first 1024 buffers are used.
    /// preadv(2).
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at).
    ///
    /// # Cancellation
    /// As [`read_at`](Self::read_at).
    #[doc(alias = "preadv")]
    pub fn read_vectored_at<B: IoBufMut>(&self, bufs: Vec<B>, offset: u64) -> Op<BufResult<Vec<B>>> {
        if self.reads_by_thread() {
            let len = bufs.iter().map(IoBufMut::capacity).sum();
            return self.read_by_thread(bufs, offset, Want::Once(len), fill_all);
        }
        self.transfer(Effect::None, |file| ReadVectored::new(file, bufs, offset))
    }

    /// Writes one buffer after the other by one call, as much as that takes; at most the first 1024 buffers. pwritev(2).
    ///
    /// # Errors
    /// As [`write_at`](Self::write_at).
    ///
    /// # Cancellation
    /// As [`write_at`](Self::write_at).
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let path = std::env::temp_dir().join(format!("ringloop-vectors-{}", std::process::id()));
    /// ringloop::run(async {
    ///     let file = ringloop::fs::File::create_new(&path).await?;
    ///     file.write_vectored_at(vec!["head", ", ", "body"], 0).await?;
    ///     let (n, parts) = file.read_vectored_at(vec![Vec::with_capacity(6), Vec::with_capacity(100)], 0).await?;
    ///     assert_eq!((n, &parts[1][..]), (10, &b"body"[..]));
    ///     std::io::Result::Ok(())
    /// })??;
    /// # std::fs::remove_file(path)?;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "pwritev")]
    pub fn write_vectored_at<B: IoBuf>(&self, bufs: Vec<B>, offset: u64) -> Op<BufResult<Vec<B>>> {
        self.transfer(Effect::Changes, |file| WriteVectored::new(file, bufs, offset))
    }
}
