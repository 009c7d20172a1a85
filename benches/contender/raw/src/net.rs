//! A server on the bare ring: accepts and receives are multishot, sockets are direct descriptors, what arrives in a buffer
//! of the buffer ring is sent from there, and a turn enters the kernel once.

use std::alloc::{Layout, alloc_zeroed, handle_alloc_error};
use std::collections::VecDeque;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::{BufRingEntry, Fd, Fixed};
use io_uring::{CompletionQueue, IoUring, SubmissionQueue, Submitter, cqueue, opcode, squeue};
use ringloop_benches::contender::Listen;
use ringloop_benches::meter::Meter;
use ringloop_benches::net::{Progress, Work};

/// The group of the buffer ring.
const GROUP: u16 = 0;
/// Entries of the submission queue.
const ENTRIES: u32 = 1024;

pub fn perform(work: Work, listen: Listen, meter: &'static Meter) -> io::Result<()> {
    work.raise_limit()?;
    let mut ring = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_submit_all()
        .setup_cqsize(4 * ENTRIES)
        .build(ENTRIES)?;
    let listener = listen()?;
    let progress = Progress::begin(work, meter)?;
    let (mut submitter, queue, completions) = ring.split();
    submitter.register_ring_fd()?;
    submitter.register_files_sparse(work.connections() as u32 + 100)?;
    let buffers = Buffers::register(&submitter, work)?;
    let mut server =
        Server { submitter, queue, completions, buffers, connections: Vec::new(), starved: Vec::new() };
    server.accept(listener.as_raw_fd());
    while !progress.is_over() {
        server.buffers.publish();
        server.queue.sync();
        server.submitter.submit_and_wait(1)?;
        server.completions.sync();
        while let Some(completion) = server.completions.next() {
            server.complete(completion, &listener, &progress)?;
        }
        while let Some(slot) = server.starved.pop() {
            server.receive(slot);
        }
    }
    Ok(())
}

/// What a completion belongs to: the operation, a connection's slot and the id of a buffer, in one word.
#[derive(Clone, Copy)]
enum Kind {
    Accept,
    Receive,
    Send,
    Close,
}

fn tag(kind: Kind, slot: u32, buffer: u16) -> u64 {
    (kind as u64) << 56 | u64::from(buffer) << 32 | u64::from(slot)
}

/// Data in a buffer, to be sent.
#[derive(Clone, Copy)]
struct Segment {
    buffer: u16,
    length: u32,
}

/// A connection, in the slot of its direct descriptor.
#[derive(Default)]
struct Connection {
    /// A send is in flight.
    sending: bool,
    /// What waits behind it: two sends at once could mix their bytes.
    waiting: VecDeque<Segment>,
    /// Bytes passed back of the present message.
    partial: usize,
}

struct Server<'a> {
    submitter: Submitter<'a>,
    queue: SubmissionQueue<'a>,
    completions: CompletionQueue<'a>,
    buffers: Buffers,
    connections: Vec<Connection>,
    /// Connections whose receive found no buffer.
    starved: Vec<u32>,
}

impl Server<'_> {
    fn complete(
        &mut self,
        completion: cqueue::Entry,
        listener: &impl AsRawFd,
        progress: &Progress,
    ) -> io::Result<()> {
        let (word, result) = (completion.user_data(), completion.result());
        let (slot, buffer) = (word as u32, (word >> 32) as u16);
        let more = cqueue::more(completion.flags());
        match word >> 56 {
            kind if kind == Kind::Accept as u64 => {
                let slot = check(result)?;
                if self.connections.len() <= slot as usize {
                    self.connections.resize_with(slot as usize + 1, Connection::default);
                }
                self.connections[slot as usize] = Connection::default();
                self.receive(slot);
                if !more {
                    self.accept(listener.as_raw_fd());
                }
            }
            kind if kind == Kind::Receive as u64 => {
                let picked = cqueue::buffer_select(completion.flags());
                match (result, picked) {
                    (1.., Some(buffer)) => {
                        self.pass_back(slot, Segment { buffer, length: result as u32 });
                        if !more {
                            self.receive(slot);
                        }
                    }
                    (result, _) if result == -libc::ENOBUFS => self.starved.push(slot),
                    _ => {
                        let close = opcode::Close::new(Fixed(slot)).build();
                        self.push(close.flags(squeue::Flags::SKIP_SUCCESS).user_data(tag(
                            Kind::Close,
                            slot,
                            0,
                        )));
                        progress.closed();
                    }
                }
            }
            kind if kind == Kind::Send as u64 => {
                self.buffers.give_back(buffer);
                let connection = &mut self.connections[slot as usize];
                progress.passed_back(&mut connection.partial, result.max(0) as usize);
                connection.sending = false;
                if let Some(next) = connection.waiting.pop_front() {
                    self.pass_back(slot, next);
                }
            }
            _ => {
                check(result)?;
            }
        }
        Ok(())
    }

    fn accept(&mut self, listener: i32) {
        let accept = opcode::AcceptMulti::new(Fd(listener)).allocate_file_index(true).build();
        self.push(accept.user_data(tag(Kind::Accept, 0, 0)));
    }

    fn receive(&mut self, slot: u32) {
        let receive = opcode::RecvMulti::new(Fixed(slot), GROUP).build();
        self.push(receive.user_data(tag(Kind::Receive, slot, 0)));
    }

    fn pass_back(&mut self, slot: u32, segment: Segment) {
        let connection = &mut self.connections[slot as usize];
        if connection.sending {
            connection.waiting.push_back(segment);
            return;
        }
        connection.sending = true;
        let bytes = self.buffers.address(segment.buffer);
        let send = opcode::Send::new(Fixed(slot), bytes, segment.length);
        let send = send.flags(libc::MSG_WAITALL | libc::MSG_NOSIGNAL).build();
        self.push(send.user_data(tag(Kind::Send, slot, segment.buffer)));
    }

    fn push(&mut self, entry: squeue::Entry) {
        // SAFETY: entries point only to the buffers, which stay for as long as the process.
        while unsafe { self.queue.push(&entry) }.is_err() {
            self.queue.sync();
            self.submitter.submit().expect("the kernel takes entries");
            self.queue.sync();
        }
    }
}

fn check(result: i32) -> io::Result<u32> {
    u32::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
}

/// The buffer ring: the kernel picks from it when data arrives.
struct Buffers {
    ring: *mut BufRingEntry,
    memory: *mut u8,
    size: usize,
    count: u16,
    tail: u16,
}

impl Buffers {
    fn register(submitter: &Submitter, work: Work) -> io::Result<Buffers> {
        // At most one message of each connection is under way, but for the paced load, and next to none where they rest.
        let most = if let Work::Idle(_) = work { 128 } else { 1024 };
        let count = work.connections().next_power_of_two().clamp(128, most) as u16;
        let size = work.size().next_multiple_of(4096);
        let ring = zeroed(usize::from(count) * size_of::<BufRingEntry>()).cast();
        let memory = zeroed(usize::from(count) * size);
        // SAFETY: the memory stays for as long as the process.
        unsafe { submitter.register_buf_ring_with_flags(ring as u64, count, GROUP, 0)? };
        let mut buffers = Buffers { ring, memory, size, count, tail: 0 };
        (0..count).for_each(|id| buffers.give_back(id));
        Ok(buffers)
    }

    fn address(&self, id: u16) -> *mut u8 {
        self.memory.wrapping_add(usize::from(id) * self.size)
    }

    /// Nobody uses the buffer any more.
    fn give_back(&mut self, id: u16) {
        let address = self.address(id);
        // SAFETY: the place lies in the ring, and the kernel does not read it before the tail has passed it.
        let entry = unsafe { &mut *self.ring.add(usize::from(self.tail & (self.count - 1))) };
        entry.set_addr(address as u64);
        entry.set_len(self.size as u32);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Tells the kernel of what was given back.
    fn publish(&self) {
        // SAFETY: the tail lies in the ring's first entry.
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(self.ring).cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }
}

/// Pages that stay for as long as the process.
fn zeroed(bytes: usize) -> *mut u8 {
    let layout = Layout::from_size_align(bytes, 4096).expect("this is no great number");
    // SAFETY: there is more than nothing of it.
    let memory = unsafe { alloc_zeroed(layout) };
    if memory.is_null() { handle_alloc_error(layout) } else { memory }
}
