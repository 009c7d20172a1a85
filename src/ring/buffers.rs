//! Provided buffers: memory that the kernel picks from when data arrives, so that an idle connection holds
//! none.
//!
//! One mapping holds the ring of descriptions (16 bytes a buffer) and, behind it, the buffers. A buffer is in
//! one of three hands: the *kernel's*, from its publication until a completion names it; *delivered*, between
//! that completion and the call of [`Buffers::take`]; *lent*, until the [`Loan`] is dropped, which publishes
//! it again. `take` and `Loan` check the hand. Invariant, cited by SAFETY comments:
//!
//! * **H1 one hand**: a buffer is in one hand at a time, and nobody else reads or writes it.
//!
//! A loan may outlive the ring: the mapping is owned by count, of loans and of the ring until the kernel has given the group
//! up (K3), and after `close` nothing is published any more. If the ring ends while a receive may still hold a
//! buffer, the count is leaked, and the mapping with it.
//!
//! Not here: buffers that are consumed in parts, bundles of several buffers, more than one group.

#![allow(unsafe_code)]

use std::cell::Cell;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};

use super::mapping::Mapping;

/// The group that entries name to have a buffer picked from here.
pub(super) const GROUP: u16 = 0;

/// So many buffers the kernel gets at first.
const FIRST: u16 = 16;

/// The kernel's `io_uring_buf`: where one buffer is.
#[repr(C)]
struct Description {
    /// Address of the buffer.
    address: u64,
    /// Bytes of it.
    len: u32,
    /// The name by which a completion calls it.
    id: u16,
    /// In the first description: the tail of the ring. In the others nothing.
    tail: u16,
}

/// Who has a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hand {
    /// The kernel: published, or not yet named by a completion. Or it is kept for the kernel.
    Kernel,
    /// A completion has named it and `take` was not called yet.
    Delivered,
    /// A loan has it.
    Lent,
}

/// The buffer ring of one loop.
pub(crate) struct Buffers {
    /// Descriptions, then buffers.
    memory: Mapping,
    /// Offset of the first buffer.
    data: usize,
    /// Bytes of one buffer.
    size: u32,
    /// Who has each buffer.
    hands: Box<[Cell<Hand>]>,
    /// Buffers that are neither delivered nor lent.
    free: Cell<usize>,
    /// Whether the kernel has been given only the [`FIRST`] ones.
    keeps: Cell<bool>,
    /// The tail that was last published.
    tail: Cell<u16>,
    /// Whether the ring has ended: nothing is published any more.
    closed: Cell<bool>,
}

impl Buffers {
    /// Maps the memory. None if there is none, or the number is not one that the kernel takes: a power of two
    /// up to 32768.
    pub(super) fn new(count: u16, size: u32) -> Option<Buffers> {
        if !count.is_power_of_two() || size == 0 {
            return None;
        }
        let data = (usize::from(count) * size_of::<Description>()).next_multiple_of(4096);
        let memory = Mapping::new(data.checked_add(usize::from(count).checked_mul(size as usize)?)?).ok()?;
        let hands = (0..count).map(|_| Cell::new(Hand::Kernel)).collect();
        let (free, keeps) = (Cell::new(usize::from(count)), Cell::new(count > FIRST));
        let (tail, closed) = (Cell::new(0), Cell::new(false));
        Some(Buffers { memory, data, size, hands, free, keeps, tail, closed })
    }

    /// Where the descriptions are, for the registration.
    pub(super) fn address(&self) -> u64 {
        self.memory.start().as_ptr() as u64
    }

    /// Gives the kernel the first buffers, once, after the registration.
    pub(super) fn open(&self) {
        (0..self.count().min(FIRST)).for_each(|id| self.publish(id));
    }

    /// Gives the kernel the rest, because it has found none. False: it had all.
    pub(crate) fn give_rest(&self) -> bool {
        let kept = self.keeps.replace(false);
        if kept {
            (FIRST..self.count()).for_each(|id| self.publish(id));
        }
        kept
    }

    /// The group to name in an entry that wants a buffer from here.
    pub(crate) fn group(&self) -> u16 {
        GROUP
    }

    /// How many buffers there are.
    pub(crate) fn count(&self) -> u16 {
        self.hands.len() as u16
    }

    /// Bytes of one buffer.
    pub(crate) fn size(&self) -> usize {
        self.size as usize
    }

    /// How many buffers the kernel has to pick from, or can be given; those that it has picked and not yet told about
    /// count as its own.
    pub(crate) fn free(&self) -> usize {
        self.free.get()
    }

    /// Takes a buffer that a completion named, with the first `len` bytes as its content. Called once for
    /// each such completion, also when nobody wants the data: the loan's drop gives the buffer back.
    ///
    /// # Panics
    ///
    /// If no completion that was reaped named this buffer, or it was taken already, or it is shorter than
    /// `len`.
    pub(crate) fn take(self: &Rc<Self>, id: u16, len: usize) -> Loan {
        let hand = &self.hands[usize::from(id)];
        assert_eq!(
            hand.get(),
            Hand::Delivered,
            "a buffer is taken once for each completion that names it: buffer {id}"
        );
        assert!(len <= self.size(), "a completion names at most one buffer: {len} bytes in buffer {id}");
        hand.set(Hand::Lent);
        Loan { buffers: Rc::clone(self), id, len: len as u32 }
    }

    /// A completion named this buffer.
    pub(super) fn delivered(&self, id: u16) {
        self.hands[usize::from(id)].set(Hand::Delivered);
        self.free.set(self.free.get() - 1);
    }

    /// The ring has ended: loans that come back stay.
    pub(super) fn close(&self) {
        self.closed.set(true);
    }

    /// Keeps the memory for ever: the kernel may still write into a buffer.
    pub(crate) fn leak(self: &Rc<Self>) {
        std::mem::forget(Rc::clone(self));
    }

    /// The first byte of a buffer.
    fn buffer(&self, id: u16) -> *mut u8 {
        // SAFETY: M1: every id is below `count`, so the offset is inside the mapping.
        unsafe { self.memory.start().as_ptr().add(self.data + usize::from(id) * self.size()) }
    }

    /// A loan of this buffer is over.
    fn give_back(&self, id: u16) {
        self.hands[usize::from(id)].set(Hand::Kernel);
        if !self.closed.get() {
            self.free.set(self.free.get() + 1);
            self.publish(id);
        }
    }

    /// Gives one buffer to the kernel.
    fn publish(&self, id: u16) {
        let ring = self.memory.start().cast::<Description>().as_ptr();
        let place = usize::from(self.tail.get() & (self.count() - 1));
        let tail = self.tail.get().wrapping_add(1);
        // SAFETY: M1: `place` is below `count`, so the description is inside the mapping; H1: the kernel does
        // not read it before the tail has passed it. Each field is written by itself: the first description's
        // last field is the tail.
        unsafe {
            let description = ring.add(place);
            (&raw mut (*description).address).write(self.buffer(id) as u64);
            (&raw mut (*description).len).write(self.size);
            (&raw mut (*description).id).write(id);
            // Release: the kernel sees the description before the tail that covers it.
            AtomicU16::from_ptr(&raw mut (*ring).tail).store(tail, Ordering::Release);
        }
        self.tail.set(tail);
    }
}

impl fmt::Debug for Buffers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffers({} of {} free, {} bytes each)", self.free(), self.count(), self.size)
    }
}

/// One buffer, lent out with its content. Dropping it gives the buffer back.
pub(crate) struct Loan {
    /// Where it belongs.
    buffers: Rc<Buffers>,
    /// Which buffer.
    id: u16,
    /// Bytes of content.
    len: u32,
}

impl Deref for Loan {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: H1: the buffer is in this loan's hand, so the kernel does not write to it; M1: its memory was
        // zeroed when it was mapped and stays mapped while the loan counts.
        unsafe { std::slice::from_raw_parts(self.buffers.buffer(self.id), self.len as usize) }
    }
}

impl DerefMut for Loan {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: H1 and M1 as in `deref`; `&mut self` makes this the only reference.
        unsafe { std::slice::from_raw_parts_mut(self.buffers.buffer(self.id), self.len as usize) }
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.buffers.give_back(self.id);
    }
}

impl fmt::Debug for Loan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Loan({} bytes in buffer {})", self.len, self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::super::submit::tests::{finish, queue};
    use super::super::{Config, Outcome, Ring};
    use super::*;
    use io_uring::opcode::Recv;
    use io_uring::squeue::Flags;
    use io_uring::types::Fd;
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;
    use std::ptr;

    /// A ring with so many buffers of 64 bytes, and two ends of a socket: one to write to, one to receive
    /// from.
    fn start(count: u16) -> (Ring, UnixStream, UnixStream) {
        let ring = Ring::new(&Config { buffers: count, buffer_size: 64, ..Config::with_entries(8) });
        let (near, far) = UnixStream::pair().expect("sockets can be made");
        (ring.expect("the tests run where io_uring is allowed"), near, far)
    }

    /// Receives into a picked buffer.
    fn receive(ring: &mut Ring, socket: &UnixStream) -> Outcome {
        let group = ring.buffers().expect("there is memory for a few buffers").group();
        let entry = Recv::new(Fd(socket.as_raw_fd()), ptr::null_mut(), 0).buf_group(group).build();
        queue(ring, entry.flags(Flags::BUFFER_SELECT).user_data(1));
        match finish(ring)[..] {
            [completion] => completion.outcome,
            ref other => panic!("one receive, one completion: {other:?}"),
        }
    }

    /// Receives and takes the buffer.
    fn take(ring: &mut Ring, socket: &UnixStream) -> Loan {
        let outcome = receive(ring, socket);
        let id = outcome.buffer_id().expect("the kernel picked a buffer");
        ring.buffers().expect("they are there").take(id, outcome.count().expect("data was there"))
    }

    #[test]
    fn data_arrives_in_a_picked_buffer_which_goes_back() {
        let (mut ring, mut near, far) = start(4);
        near.write_all(b"hello").expect("the socket takes it");
        let mut loan = take(&mut ring, &far);
        assert_eq!(&*loan, b"hello");
        loan.make_ascii_uppercase();
        assert_eq!(&*loan, b"HELLO");
        let buffers = ring.buffers().expect("they are there");
        assert_eq!((buffers.free(), buffers.count(), buffers.size()), (3, 4, 64));
        drop(loan);
        assert_eq!(buffers.free(), 4);
    }

    #[test]
    fn an_empty_ring_says_so_and_loses_nothing() {
        let (mut ring, mut near, far) = start(2);
        near.write_all(&[b'x'; 150]).expect("the socket takes it");
        let (first, second) = (take(&mut ring, &far), take(&mut ring, &far));
        assert_eq!((first.len(), second.len()), (64, 64));
        let empty = receive(&mut ring, &far);
        assert_eq!(empty.result, -libc::ENOBUFS);
        drop(first);
        assert_eq!(take(&mut ring, &far).len(), 22);
    }

    #[test]
    fn the_kernel_gets_few_at_first_and_all_when_they_do_not_suffice() {
        let count = 2 * FIRST;
        let (mut ring, mut near, far) = start(count);
        near.write_all(&vec![b'x'; 64 * usize::from(count)]).expect("the socket takes it");
        let mut loans: Vec<_> = (0..FIRST).map(|_| take(&mut ring, &far)).collect();
        let buffers = ring.buffers().expect("they are there");
        assert_eq!(buffers.free(), usize::from(count - FIRST), "those that are kept can be had");
        assert_eq!(receive(&mut ring, &far).result, -libc::ENOBUFS);
        assert!(buffers.give_rest());
        loans.extend((FIRST..count).map(|_| take(&mut ring, &far)));
        assert_eq!((loans.len(), buffers.free()), (usize::from(count), 0));
        assert_eq!(receive(&mut ring, &far).result, -libc::ENOBUFS);
        assert!(!buffers.give_rest(), "it has had all");
    }

    #[test]
    fn the_tail_goes_round_its_sixteen_bits() {
        let (mut ring, mut near, far) = start(2);
        for round in 0..66_000u32 {
            near.write_all(&round.to_ne_bytes()).expect("the socket takes it");
            assert_eq!(*take(&mut ring, &far), round.to_ne_bytes());
        }
    }

    #[test]
    fn a_loan_outlives_its_ring() {
        let (mut ring, mut near, far) = start(2);
        near.write_all(b"kept").expect("the socket takes it");
        let loan = take(&mut ring, &far);
        let buffers = ring.buffers().expect("they are there");
        drop(ring);
        assert_eq!(&*loan, b"kept");
        drop(loan);
        assert_eq!(buffers.free(), 1, "nothing is given to a kernel that has left");
    }

    #[test]
    fn a_ring_with_a_buffer_away_is_not_parked() {
        let (mut ring, mut near, far) = start(2);
        near.write_all(b"kept").expect("the socket takes it");
        let loan = take(&mut ring, &far);
        ring.park();
        assert!(loan.buffers.closed.get());
        assert_eq!(&*loan, b"kept");
    }

    #[test]
    #[should_panic(expected = "taken once")]
    fn a_buffer_has_one_user() {
        let (mut ring, mut near, far) = start(2);
        near.write_all(b"mine").expect("the socket takes it");
        let loan = take(&mut ring, &far);
        loan.buffers.take(loan.id, 4);
    }

    #[test]
    fn impossible_sizes_give_no_buffers() {
        assert!(Buffers::new(0, 64).is_none());
        assert!(Buffers::new(3, 64).is_none());
        assert!(Buffers::new(4, 0).is_none());
    }
}
