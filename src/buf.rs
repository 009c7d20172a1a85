//! Buffers that can be lent to the kernel: [`IoBuf`] to write from, [`IoBufMut`] to read into, [`Slice`] for
//! a part of one.
//!
//! An owned-buffer call takes its buffer by value and gives it back with the result. In between the buffer
//! stands in the operation's payload, at one address, and nobody refers to it (K1). It is moved there
//! *first*, and only then is its pointer taken. So a pointer need not survive a move of the buffer, and a
//! plain array on the stack is as good a buffer as a `Vec`: it is copied in, filled where it stands, and
//! copied out.
//!
//! A read fills a buffer from byte 0 up to its capacity and then sets its length: what was in it is replaced.
//! To append, or to fill a part, read into a [`Slice`]. Buffers of a fixed size are always full; the count
//! that a read returns says how much of them is new.
//!
//! The traits are `unsafe` because the kernel believes their pointers and `as_slice` their lengths. Their
//! invariant, cited by SAFETY comments:
//!
//! * **B1 buffer**: as long as a buffer is neither moved nor touched, its pointer, length and capacity are the
//!   same; the pointer is good for all of the capacity, and every byte below the length is initialised.
//!
//! Not here: [`RegisteredBuf`](crate::fs::RegisteredBuf), which the kernel keeps ready.
#![allow(unsafe_code)]

use bytes::{Bytes, BytesMut};
use std::ops::{Bound, Deref, RangeBounds};

/// A buffer that the kernel may read from.
///
/// ```
/// use ringloop::buf::IoBuf;
/// let rest = String::from("half written").slice(5..);
/// assert_eq!(rest.as_slice(), b"written");
/// ```
///
/// # Safety
/// From any moment on, for as long as the value is neither moved nor touched:
/// * [`as_ptr`](Self::as_ptr) gives the same pointer each time: not null, and valid for reads of
///   [`len`](Self::len) bytes;
/// * `len` gives the same number each time;
/// * those bytes are initialised, and nobody else writes to them.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a buffer that the kernel may read from",
    label = "an owned buffer is expected here",
    note = "the kernel works on the buffer after the call has returned: give a `Vec<u8>`, `String`, `Bytes`, array or \
            `Box<[u8]>` by value, it comes back with the result",
    note = "calls without `_owned` or `_at` in their names take slices"
)]
pub unsafe trait IoBuf: Unpin + 'static {
    /// Where the bytes begin. Good until the buffer is moved or changed.
    fn as_ptr(&self) -> *const u8;

    /// How many initialised bytes there are: what a write writes.
    fn len(&self) -> usize;

    /// The index under which a ring keeps the memory ready, if one does: that of a
    /// [`RegisteredBuf`](crate::fs::RegisteredBuf), or of what a buffer made of one asks it. It is looked up before it is used, so a
    /// wrong one costs time and nothing else.
    fn registered(&self) -> Option<u16> {
        None
    }

    /// Whether there is nothing to write.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The initialised bytes.
    fn as_slice(&self) -> &[u8] {
        // SAFETY: B1: the pointer is good for `len` initialised bytes while the borrow lasts.
        unsafe { std::slice::from_raw_parts(self.as_ptr(), self.len()) }
    }

    /// A part of this buffer as a buffer: to write the rest of it, to fill the middle of it, or, with a range
    /// that begins at its length and has no end, to append to it.
    ///
    /// # Panics
    /// If the range is not within the bytes that the buffer has, as when slicing a slice.
    fn slice(self, range: impl RangeBounds<usize>) -> Slice<Self>
    where
        Self: Sized,
    {
        let len = self.len();
        let begin = match range.start_bound() {
            Bound::Included(&first) => first,
            Bound::Excluded(&before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(&last) => Some(last.saturating_add(1)),
            Bound::Excluded(&end) => Some(end),
            Bound::Unbounded => None,
        };
        let last = end.unwrap_or(len);
        assert!(begin <= last && last <= len, "range {begin}..{last} is not within a buffer of {len} bytes");
        Slice { buf: self, begin, end: end.unwrap_or(usize::MAX) }
    }
}

/// A buffer that the kernel may write into: a read fills it from byte 0 up to its capacity and sets its
/// length.
///
/// A buffer without capacity, such as `Vec::new()`, can be given 0 bytes only, which looks like the end of
/// the file.
///
/// ```
/// use ringloop::buf::IoBufMut;
/// fn room(buf: &impl IoBufMut) -> usize {
///     buf.capacity()
/// }
/// assert_eq!(room(&[0; 64]), 64);
/// assert!(room(&Vec::with_capacity(4096)) >= 4096);
/// ```
///
/// # Safety
/// As for [`IoBuf`], and from any moment on, for as long as the value is neither moved nor otherwise touched:
/// * [`as_mut_ptr`](Self::as_mut_ptr) points where `as_ptr` does, and is valid for writes of
///   [`capacity`](Self::capacity) bytes; any bytes may be written there;
/// * `capacity` gives the same number each time, and it is at least `len`;
/// * `set_len` does what it says and neither moves the bytes nor panics.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a buffer that the kernel may write into",
    label = "an owned buffer with room is expected here",
    note = "the kernel works on the buffer after the call has returned: give a `Vec<u8>`, `BytesMut`, array or \
            `Box<[u8]>` by value, it comes back with the result",
    note = "calls without `_owned` or `_at` in their names take slices"
)]
pub unsafe trait IoBufMut: IoBuf {
    /// How many bytes there is room for, the initialised ones included.
    fn capacity(&self) -> usize;

    /// Where the room begins. Good until the buffer is moved or otherwise touched.
    fn as_mut_ptr(&mut self) -> *mut u8;

    /// Makes `len` the length; a buffer of a fixed size ignores it.
    ///
    /// # Safety
    /// `len` is at most the capacity, and that many bytes are initialised.
    unsafe fn set_len(&mut self, len: usize);
}

/// The reading side of every buffer is that of its slice of bytes.
macro_rules! readable {
    ($buf:ty $(, $($generics:tt)*)?) => {
        // SAFETY: B1: the bytes are the buffer's own, or static, or shared by owners who can only read them.
        // None of these types can change or free them without being touched, and safe Rust has no other way
        // to a slice of them.
        unsafe impl $(<$($generics)*>)? IoBuf for $buf {
            fn as_ptr(&self) -> *const u8 {
                AsRef::<[u8]>::as_ref(self).as_ptr()
            }

            fn len(&self) -> usize {
                AsRef::<[u8]>::as_ref(self).len()
            }
        }
    };
}
readable!(Vec<u8>);
readable!(String);
readable!(Bytes);
readable!(BytesMut);
readable!(&'static [u8]);
readable!(&'static str);
readable!(Box<[u8]>);
readable!([u8; N], const N: usize);

// SAFETY: B1: `Vec::as_mut_ptr` is good for the whole capacity, and `Vec::set_len` only stores the length.
unsafe impl IoBufMut for Vec<u8> {
    fn capacity(&self) -> usize {
        Vec::capacity(self)
    }

    fn as_mut_ptr(&mut self) -> *mut u8 {
        Vec::as_mut_ptr(self)
    }

    unsafe fn set_len(&mut self, len: usize) {
        // SAFETY: B1: what the caller promises is what the vector asks.
        unsafe { Vec::set_len(self, len) }
    }
}

// SAFETY: B1: see `as_mut_ptr`; `BytesMut::set_len` only stores the length.
unsafe impl IoBufMut for BytesMut {
    fn capacity(&self) -> usize {
        BytesMut::capacity(self)
    }

    /// A pointer from the slice of bytes would be good for the length only, and the spare room begins behind
    /// the length. So the length is 0 for as long as it takes to ask.
    fn as_mut_ptr(&mut self) -> *mut u8 {
        let len = BytesMut::len(self);
        // SAFETY: B1: no byte has to be initialised for a length of 0.
        unsafe { BytesMut::set_len(self, 0) };
        let room = self.spare_capacity_mut().as_mut_ptr();
        // SAFETY: B1: the bytes below the old length are as they were.
        unsafe { BytesMut::set_len(self, len) };
        room.cast()
    }

    unsafe fn set_len(&mut self, len: usize) {
        // SAFETY: B1: what the caller promises is what `BytesMut` asks.
        unsafe { BytesMut::set_len(self, len) }
    }
}

/// The writing side of the buffers that are always full.
macro_rules! fixed {
    ($buf:ty $(, $($generics:tt)*)?) => {
        // SAFETY: B1: capacity and length are both the size, which never changes, and the slice is good for
        // all of it.
        unsafe impl $(<$($generics)*>)? IoBufMut for $buf {
            fn capacity(&self) -> usize {
                IoBuf::len(self)
            }

            fn as_mut_ptr(&mut self) -> *mut u8 {
                AsMut::<[u8]>::as_mut(self).as_mut_ptr()
            }

            unsafe fn set_len(&mut self, _: usize) {}
        }
    };
}
fixed!(Box<[u8]>);
fixed!([u8; N], const N: usize);

/// A part of a buffer, as a buffer; made by [`IoBuf::slice`].
///
/// A write writes the bytes of the range. A read replaces them and nothing else: what stands before the range
/// stays, and so does what stands behind it. Where nothing stands behind it, the whole buffer ends with what
/// was read. A range without an end reaches to the buffer's length in a write and to its capacity in a read.
///
/// ```
/// use ringloop::buf::IoBuf;
/// let line = b"GET /index.html".to_vec();
/// let path = line.slice(4..);
/// assert_eq!(&path[..], b"/index.html");
/// assert_eq!(path.into_buf(), b"GET /index.html");
/// ```
#[derive(Clone, Debug)]
pub struct Slice<B> {
    /// The whole buffer.
    buf: B,
    /// Where the range begins: never beyond the buffer's length, or the bytes between might not be
    /// initialised.
    begin: usize,
    /// Where the range ends, not beyond the length at the time of slicing; `usize::MAX`: it has no end.
    end: usize,
}

impl<B> Slice<B> {
    /// The whole buffer again.
    pub fn into_buf(self) -> B {
        self.buf
    }
}

// SAFETY: B1: the range is cut to the buffer's length, and the buffer keeps it for all of that. A buffer that
// has become shorter than `begin` leaves a range of 0 bytes, at whatever address.
unsafe impl<B: IoBuf> IoBuf for Slice<B> {
    fn as_ptr(&self) -> *const u8 {
        self.buf.as_ptr().wrapping_add(self.begin)
    }

    fn len(&self) -> usize {
        self.buf.len().min(self.end).saturating_sub(self.begin)
    }

    fn registered(&self) -> Option<u16> {
        self.buf.registered()
    }
}

// SAFETY: B1: the range is cut to the buffer's capacity, and the buffer keeps it for all of that.
unsafe impl<B: IoBufMut> IoBufMut for Slice<B> {
    fn capacity(&self) -> usize {
        self.buf.capacity().min(self.end).saturating_sub(self.begin)
    }

    fn as_mut_ptr(&mut self) -> *mut u8 {
        self.buf.as_mut_ptr().wrapping_add(self.begin)
    }

    unsafe fn set_len(&mut self, len: usize) {
        if self.buf.len() <= self.end {
            // SAFETY: B1: the bytes below `begin` are initialised because it is not beyond the length; of
            // those from there on the caller says so.
            unsafe { self.buf.set_len(self.begin + len) }
        }
    }
}

impl<B: IoBuf> Deref for Slice<B> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::MaybeUninit;
    use std::ops::Range;
    use std::ptr;

    /// A read as the loop does it: the buffer moves to its final address, lends its pointer, is filled
    /// through that pointer by somebody who knows nothing of Rust, moves out again and is told its length.
    fn read<B: IoBufMut>(buf: B, bytes: &[u8]) -> (usize, B) {
        let payload = Box::into_raw(Box::new(MaybeUninit::<B>::uninit())).cast::<B>();
        // SAFETY: K1: `payload` is a place for one `B`; between taking the pointer and moving out nobody
        // refers to it.
        unsafe {
            payload.write(buf);
            let room = (*payload).capacity();
            let start = (*payload).as_mut_ptr();
            let n = room.min(bytes.len());
            ptr::copy_nonoverlapping(bytes.as_ptr(), start, n);
            let mut buf = payload.read();
            drop(Box::from_raw(payload.cast::<MaybeUninit<B>>()));
            buf.set_len(n);
            (n, buf)
        }
    }

    /// A write, the same way: what the kernel sees.
    fn written<B: IoBuf>(buf: B) -> Vec<u8> {
        let payload = Box::into_raw(Box::new(buf));
        // SAFETY: K1 as in `read`.
        unsafe {
            let (start, len) = ((*payload).as_ptr(), (*payload).len());
            let mut seen = vec![0; len];
            ptr::copy_nonoverlapping(start, seen.as_mut_ptr(), len);
            drop(Box::from_raw(payload));
            seen
        }
    }

    #[test]
    fn a_write_sees_the_bytes_of_every_kind_of_buffer() {
        assert_eq!(written(b"abc".to_vec()), b"abc");
        assert_eq!(written(String::from("abc")), b"abc");
        assert_eq!(written(Bytes::from(b"abc".to_vec())), b"abc");
        assert_eq!(written(BytesMut::from(&b"abc"[..])), b"abc");
        assert_eq!(written(&b"abc"[..]), b"abc");
        assert_eq!(written("abc"), b"abc");
        assert_eq!(written(*b"abc"), b"abc");
        assert_eq!(written(Box::<[u8]>::from(*b"abc")), b"abc");
        assert!(written(Vec::new()).is_empty() && IoBuf::is_empty(&[0; 0]));
    }

    #[test]
    fn a_read_fills_growing_buffers_from_byte_0_to_their_capacity_and_sets_the_length() {
        let mut vec = Vec::with_capacity(8);
        vec.extend(b"old");
        let (n, vec) = read(vec, b"0123456789");
        assert_eq!((n, &vec[..]), (8, &b"01234567"[..]));
        let (n, vec) = read(vec, b"xy");
        assert_eq!((n, &vec[..]), (2, &b"xy"[..]));
        assert_eq!(read(Vec::new(), b"xy"), (0, Vec::new()));

        let mut bytes = BytesMut::with_capacity(8);
        bytes.extend(b"old");
        let (n, bytes) = read(bytes, b"0123456789");
        assert_eq!((n, &bytes[..]), (8, &b"01234567"[..]));
        let (n, bytes) = read(bytes, b"xy");
        assert_eq!((n, &bytes[..]), (2, &b"xy"[..]));
    }

    #[test]
    fn asking_for_the_pointer_changes_nothing() {
        let mut bytes = BytesMut::with_capacity(64);
        bytes.extend(b"kept");
        let room = bytes.capacity();
        let start = IoBufMut::as_mut_ptr(&mut bytes);
        assert_eq!(start.cast_const(), IoBuf::as_ptr(&bytes));
        assert_eq!((&bytes[..], bytes.capacity()), (&b"kept"[..], room));
    }

    #[test]
    fn a_read_leaves_fixed_buffers_full() {
        assert_eq!(read(*b"......", b"ab"), (2, *b"ab...."));
        assert_eq!(read(*b"..", b"abc"), (2, *b"ab"));
        let (n, boxed) = read(Box::<[u8]>::from(*b"......"), b"ab");
        assert_eq!((n, &boxed[..]), (2, &b"ab...."[..]));
    }

    #[test]
    fn a_write_of_a_slice_writes_its_range() {
        assert_eq!(written(String::from("0123456789").slice(7..)), b"789");
        assert_eq!(written((*b"0123456789").slice(..=2)), b"012");
        assert_eq!(written(b"0123456789".to_vec().slice(2..8).slice(3..)), b"567");
        assert_eq!(written("01234".slice((Bound::Excluded(3), Bound::Unbounded))), b"4");
        assert_eq!(written("0123".slice(4..)), b"");
    }

    #[test]
    fn a_read_into_a_slice_without_an_end_keeps_what_stands_before_and_appends() {
        let mut vec = Vec::with_capacity(16);
        vec.extend(b"head");
        let (n, slice) = read(vec.slice(4..), b"+tail");
        assert_eq!((n, &slice[..]), (5, &b"+tail"[..]));
        assert_eq!(slice.into_buf(), b"head+tail");

        let (_, slice) = read(b"head and more".to_vec().slice(4..), b"!");
        assert_eq!(slice.into_buf(), b"head!");
    }

    #[test]
    fn a_read_into_a_slice_never_touches_what_stands_behind_it() {
        let (n, slice) = read(b"0123456789".to_vec().slice(2..6), b"abcdefgh");
        assert_eq!((n, slice.into_buf()), (4, b"01abcd6789".to_vec()));
        let (n, slice) = read(b"0123456789".to_vec().slice(2..6), b"a");
        assert_eq!((n, slice.into_buf()), (1, b"01a3456789".to_vec()));
        let (n, slice) = read((*b"0123456789").slice(8..), b"abcdefgh");
        assert_eq!((n, slice.into_buf()), (2, *b"01234567ab"));

        // Nothing stands behind this one, so the buffer ends with what was read; the slice's room stays what
        // it was.
        let mut vec = Vec::with_capacity(32);
        vec.extend(b"0123456789");
        let (_, slice) = read(vec.slice(2..10), b"a");
        assert_eq!((&slice[..], slice.capacity()), (&b"a"[..], 8));
        let (n, slice) = read(slice, b"abcdefghij");
        assert_eq!((n, slice.into_buf()), (8, b"01abcdefgh".to_vec()));
    }

    #[test]
    fn a_slice_of_a_slice_fills_its_own_range() {
        let (n, slice) = read(b"0123456789".to_vec().slice(2..8).slice(1..3), b"abc");
        assert_eq!((n, slice.into_buf().into_buf()), (2, b"012ab56789".to_vec()));
    }

    #[test]
    #[should_panic(expected = "range 2..11 is not within a buffer of 10 bytes")]
    fn a_range_beyond_the_bytes_is_refused_even_where_there_is_room() {
        let mut vec = Vec::with_capacity(64);
        vec.extend(b"0123456789");
        vec.slice(2..11);
    }

    #[test]
    #[should_panic(expected = "range 2..1 is not within a buffer of 3 bytes")]
    fn a_range_that_ends_before_it_begins_is_refused() {
        "abc".slice(Range { start: 2, end: 1 });
    }

    #[test]
    #[should_panic(expected = "is not within a buffer of 3 bytes")]
    fn a_range_up_to_the_last_number_is_refused() {
        "abc".slice(..=usize::MAX);
    }
}
