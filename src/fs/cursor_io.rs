//! The cursor's calls: by name, as futures-io's traits, and [`Lines`].

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::Stream;
use futures_util::io::{AsyncBufRead, AsyncRead, AsyncSeek, AsyncWrite};

use super::File;
use crate::error::not_utf8;

impl File {
    /// Reads some bytes at the position; 0 means the end of the file, or an empty slice.
    ///
    /// Reads ahead, so that small reads cost no more than a copy.
    ///
    /// # Errors
    /// Those of read(2), and of writing what the cursor had gathered before.
    ///
    /// # Cancellation
    /// Nothing is lost: what comes after a drop is there for the next call.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// ringloop::run(async {
    ///     let mut file = ringloop::fs::File::open("/proc/version").await?;
    ///     let mut first = [0; 5];
    ///     file.read_exact(&mut first).await?;
    ///     assert_eq!(&first, b"Linux");
    ///     std::io::Result::Ok(())
    /// })??;
    /// # Ok(()) }
    /// ```
    pub async fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        poll_fn(|cx| self.poll_read_some(cx, buf)).await
    }

    fn poll_read_some(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        ready!(self.cursor.poll_fill(&self.descriptor, cx, buf.len().min(1)))?;
        let unread = self.cursor.unread();
        let count = unread.len().min(buf.len());
        buf[..count].copy_from_slice(&unread[..count]);
        self.cursor.consume(count);
        Poll::Ready(Ok(count))
    }

    /// Reads exactly as many bytes as the slice has. For large ones prefer [`read_exact_at`](Self::read_exact_at), which
    /// copies nothing.
    ///
    /// # Errors
    /// `UnexpectedEof` if the file ends before; then nothing was read. Otherwise as [`read`](Self::read).
    ///
    /// # Cancellation
    /// Nothing is lost: all of it is read, or nothing.
    pub async fn read_exact(&mut self, buf: &mut [u8]) -> io::Result<()> {
        let len = buf.len();
        poll_fn(|cx| self.cursor.poll_fill(&self.descriptor, cx, len)).await?;
        let unread = self.cursor.unread().get(..len).ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.copy_from_slice(unread);
        self.cursor.consume(len);
        Ok(())
    }

    /// Reads the rest of the file, appends it, and says how much it was.
    ///
    /// # Errors
    /// As [`read`](Self::read), and `OutOfMemory`; then nothing was read.
    ///
    /// # Cancellation
    /// Nothing is lost: all of it is read, or nothing.
    pub async fn read_to_end(&mut self, bytes: &mut Vec<u8>) -> io::Result<usize> {
        poll_fn(|cx| self.cursor.poll_fill(&self.descriptor, cx, usize::MAX)).await?;
        let rest = self.cursor.take_unread();
        let count = rest.len();
        match bytes.is_empty() {
            true => *bytes = rest,
            false => bytes.extend_from_slice(&rest),
        }
        Ok(count)
    }

    /// Reads the rest of the file, which must be UTF-8, appends it, and says how many bytes it was.
    ///
    /// # Errors
    /// `InvalidData` if it is not UTF-8; then nothing was read. Otherwise as [`read_to_end`](Self::read_to_end).
    ///
    /// # Cancellation
    /// Nothing is lost: all of it is read, or nothing.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut text = String::new();
    /// ringloop::run(async {
    ///     let mut file = ringloop::fs::File::open("/proc/version").await?;
    ///     file.read_to_string(&mut text).await
    /// })??;
    /// assert!(text.starts_with("Linux"));
    /// # Ok(()) }
    /// ```
    pub async fn read_to_string(&mut self, text: &mut String) -> io::Result<usize> {
        poll_fn(|cx| self.cursor.poll_fill(&self.descriptor, cx, usize::MAX)).await?;
        let rest = std::str::from_utf8(self.cursor.unread()).map_err(|_| not_utf8())?;
        let count = rest.len();
        text.push_str(rest);
        self.cursor.consume(count);
        Ok(count)
    }

    /// Writes some of the bytes at the position, and says how many. They are gathered and reach the file later: with the next
    /// 64 KiB, a flush, a seek, a read, a positional call, a close or a drop.
    ///
    /// # Errors
    /// `EBADF` if the file is not open for writing. Those of an earlier write(2) that was gathered, such as `StorageFull`; nothing of
    /// these bytes is written then, and what could not be is kept for the next attempt (see [`flush`](Self::flush)).
    ///
    /// # Cancellation
    /// Nothing is written, or as many as it would have said.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        poll_fn(|cx| self.cursor.poll_write(&self.descriptor, cx, bytes)).await
    }

    /// Writes all of the bytes at the position, as [`write`](Self::write) does.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    ///
    /// # Cancellation
    /// Some of the bytes are written, from the first on, each once.
    pub async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let count = self.write(bytes).await?;
            bytes = &bytes[count..];
        }
        Ok(())
    }

    /// Has everything written that was gathered. It is then with the kernel; [`sync_all`](Self::sync_all) brings it to the medium.
    ///
    /// # Errors
    /// As [`write`](Self::write). What a full disk, a quota or an I/O error kept from being written is kept: the next flush tries
    /// again. After an error that cannot pass, such as `EINVAL` at a place that no file has, the bytes are given up, and the
    /// position is where they began. Each error is told once.
    ///
    /// # Cancellation
    /// The writing goes on.
    pub async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.descriptor.poll_flush(cx)).await
    }

    /// Moves the position, and says where it is. Flushes first. A position behind the end is fine: writing there leaves a hole.
    ///
    /// # Errors
    /// `InvalidInput` for a position before the beginning; `ESPIPE` (`NotSeekable`) for a pipe; those of [`flush`](Self::flush).
    ///
    /// # Cancellation
    /// The position stays where it was.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let path = std::env::temp_dir().join(format!("ringloop-seek-{}", std::process::id()));
    /// use std::io::SeekFrom;
    /// ringloop::run(async {
    ///     let mut file = ringloop::fs::File::create_new(&path).await?;
    ///     file.write_all(b"the first word").await?;
    ///     assert_eq!(file.seek(SeekFrom::End(-4)).await?, 10);
    ///     file.write_all(b"line").await?;
    ///     file.close().await
    /// })??;
    /// assert_eq!(std::fs::read(&path)?, b"the first line");
    /// # std::fs::remove_file(path)?;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "lseek")]
    pub async fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        self.cursor.measure_anew();
        poll_fn(|cx| self.cursor.poll_seek(&self.descriptor, cx, to)).await
    }

    /// Where the position is. A file opened to append asks the file system after it has written.
    ///
    /// # Errors
    /// `ESPIPE` (`NotSeekable`) for a pipe.
    ///
    /// # Cancellation
    /// Nothing to lose.
    pub async fn stream_position(&mut self) -> io::Result<u64> {
        poll_fn(|cx| self.cursor.poll_position(&self.descriptor, cx)).await
    }

    /// Moves the position to the beginning.
    ///
    /// # Errors
    /// As [`seek`](Self::seek).
    ///
    /// # Cancellation
    /// As [`seek`](Self::seek).
    pub async fn rewind(&mut self) -> io::Result<()> {
        self.seek(io::SeekFrom::Start(0)).await.map(drop)
    }

    /// The lines from the position on.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// ringloop::run(async {
    ///     let mut file = ringloop::fs::File::open("/proc/self/status").await?;
    ///     let mut lines = file.lines();
    ///     assert!(lines.next().await.unwrap()?.starts_with("Name:"));
    ///     std::io::Result::Ok(())
    /// })??;
    /// # Ok(()) }
    /// ```
    pub fn lines(&mut self) -> Lines<'_> {
        Lines { file: self, searched: 0 }
    }
}

/// The lines of a file; see [`File::lines`]. Also a `Stream`.
#[derive(Debug)]
#[must_use = "lines are read when they are asked for"]
pub struct Lines<'a> {
    /// Whose lines they are.
    file: &'a mut File,
    /// How much of the unread bytes is known to have no line's end.
    searched: usize,
}

impl Lines<'_> {
    /// The next line, without its end (`\n` or `\r\n`); None at the end of the file.
    ///
    /// # Errors
    /// `InvalidData` for a line that is not UTF-8, which is skipped; otherwise as [`File::read`].
    ///
    /// # Cancellation
    /// Nothing is lost: part of a line stays unread.
    pub async fn next(&mut self) -> Option<io::Result<String>> {
        poll_fn(|cx| self.poll_line(cx)).await
    }

    fn poll_line(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<String>>> {
        let File { cursor, descriptor } = &mut *self.file;
        // A dropped call leaves at least these.
        let mut known = self.searched;
        loop {
            if let Err(error) = ready!(cursor.poll_fill(descriptor, cx, known + 1)) {
                return Poll::Ready(Some(Err(error)));
            }
            let unread = cursor.unread();
            let found = unread.iter().skip(self.searched).position(|&byte| byte == b'\n');
            let (line, count) = match found {
                Some(at) => (&unread[..self.searched + at], self.searched + at + 1),
                None if unread.is_empty() => return Poll::Ready(None),
                None if unread.len() == known => (unread, known),
                None => {
                    (self.searched, known) = (unread.len(), unread.len());
                    continue;
                }
            };
            let line = if found.is_some() { line.strip_suffix(b"\r").unwrap_or(line) } else { line };
            let line = std::str::from_utf8(line).map(str::to_owned).map_err(|_| not_utf8());
            cursor.consume(count);
            self.searched = 0;
            return Poll::Ready(Some(line));
        }
    }
}

impl Stream for Lines<'_> {
    type Item = io::Result<String>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_line(cx)
    }
}

impl AsyncRead for File {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.poll_read_some(cx, buf)
    }
}

impl AsyncBufRead for File {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let File { cursor, descriptor } = self.get_mut();
        ready!(cursor.poll_fill(descriptor, cx, 1))?;
        Poll::Ready(Ok(cursor.unread()))
    }

    fn consume(mut self: Pin<&mut Self>, count: usize) {
        self.cursor.consume(count);
    }
}

impl AsyncWrite for File {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let File { cursor, descriptor } = &mut *self;
        cursor.poll_write(descriptor, cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.descriptor.poll_flush(cx)
    }

    /// Flushes. The descriptor is closed when the `File` is dropped; [`File::close`] reports the error of that, too.
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.descriptor.poll_flush(cx)
    }
}

impl AsyncSeek for File {
    fn poll_seek(mut self: Pin<&mut Self>, cx: &mut Context<'_>, to: io::SeekFrom) -> Poll<io::Result<u64>> {
        let File { cursor, descriptor } = &mut *self;
        cursor.poll_seek(descriptor, cx, to)
    }
}
