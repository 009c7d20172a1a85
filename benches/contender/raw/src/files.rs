//! Files on the bare ring: deferred task work, a registered ring, registered files and buffers, and chains of entries that
//! open, use and close a file without a descriptor of the process.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use io_uring::squeue::{Entry, Flags};
use io_uring::types::{DestinationSlot, Fd, Fixed};
use io_uring::{CompletionQueue, IoUring, SubmissionQueue, Submitter, opcode};
use ringloop_benches::contender::cannot;
use ringloop_benches::files::blocks::{
    BLOCK, Cache, LARGE, Places, SIZE, check, fill, pages, verify_and_remove, written,
};
use ringloop_benches::files::tree::{AT_ONCE, Deed, Tree, Trees, check_content};
use ringloop_benches::files::{O_DIRECT, Pages, Work};
use ringloop_benches::meter::Meter;

pub fn perform(work: Work, scratch: &Path, meter: &'static Meter) -> io::Result<()> {
    match work {
        Work::Random { cache, depth } => read_randomly(cache, depth, scratch, meter),
        Work::ReadThrough => read_through(scratch, meter),
        Work::WriteThrough => write_through(scratch, meter),
        Work::Tree(deed, medium) => {
            let trees = Trees::new(deed, medium, scratch, deed.files(meter))?;
            deed.begin(meter);
            match deed {
                Deed::Create => create_each(&trees.from, meter)?,
                Deed::Read => read_each(&trees.from, meter)?,
                Deed::Stat => stat_each(&trees.from, meter)?,
                Deed::Copy => {
                    copy_each(&trees.from, trees.to.as_ref().expect("a copy has a place to go to"), meter)?
                }
            }
            deed.end(meter);
            trees.verify()
        }
        Work::Stall(..) => Err(cannot("it has no timers")),
    }
}

/// A ring whose parts are at hand, and which the kernel knows without a look-up.
struct Ring<'a> {
    submitter: Submitter<'a>,
    entries: SubmissionQueue<'a>,
    completions: CompletionQueue<'a>,
}

fn make_ring(entries: usize) -> io::Result<IoUring> {
    IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_submit_all()
        .build(entries.next_power_of_two() as u32)
}

impl<'a> Ring<'a> {
    fn new(ring: &'a mut IoUring) -> io::Result<Ring<'a>> {
        let (mut submitter, entries, completions) = ring.split();
        submitter.register_ring_fd()?;
        Ok(Ring { submitter, entries, completions })
    }

    /// Queues entries that belong together.
    fn push(&mut self, entries: &[Entry]) {
        // SAFETY: the callers keep what the entries point to until their completions have come.
        unsafe { self.entries.push_multiple(entries) }.expect("the ring is as long as what is at work");
    }

    /// Submits what is queued, and waits for a completion.
    fn wait(&mut self) -> io::Result<()> {
        self.entries.sync();
        // A wait ends early where the kernel makes a worker for what was submitted.
        loop {
            self.submitter.submit_and_wait(1)?;
            self.entries.sync();
            self.completions.sync();
            if !self.completions.is_empty() {
                return Ok(());
            }
        }
    }

    /// What has come: user data and result.
    fn take(&mut self) -> Option<(usize, i32)> {
        self.completions.next().map(|completion| (completion.user_data() as usize, completion.result()))
    }

    /// Does so many things, `AT_ONCE` at a time: `begin` queues one at this place, `end` is told of it. Each has one completion,
    /// with its place as user data.
    fn each(
        &mut self,
        mut next: impl FnMut() -> Option<usize>,
        mut begin: impl FnMut(&mut Self, usize, usize),
        mut end: impl FnMut(usize, usize, i32),
    ) -> io::Result<()> {
        let mut at_work = [0; AT_ONCE];
        let mut free: Vec<usize> = (0..AT_ONCE).collect();
        loop {
            while let Some(place) = free.pop() {
                let Some(file) = next() else {
                    free.push(place);
                    break;
                };
                at_work[place] = file;
                begin(self, place, file);
            }
            if free.len() == AT_ONCE {
                return Ok(());
            }
            self.wait()?;
            while let Some((place, result)) = self.take() {
                end(place, at_work[place], result);
                free.push(place);
            }
        }
    }
}

/// What has no completion unless it fails, and is done before what follows.
const QUIET_LINK: Flags = Flags::IO_LINK.union(Flags::SKIP_SUCCESS);

fn register_buffers(submitter: &Submitter<'_>, buffers: &mut [Pages]) -> io::Result<()> {
    let vectors: Vec<libc::iovec> = buffers
        .iter_mut()
        .map(|buffer| libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() })
        .collect();
    // SAFETY: the callers keep the buffers as long as the ring.
    unsafe { submitter.register_buffers(&vectors) }
}

fn read_randomly(cache: Cache, depth: usize, scratch: &Path, meter: &Meter) -> io::Result<()> {
    let flags = if cache == Cache::None { O_DIRECT } else { 0 };
    let file = File::options().read(true).custom_flags(flags).open(cache.path(scratch))?;
    let mut buffers = vec![pages(BLOCK); depth];
    let mut ring = make_ring(depth)?;
    let mut ring = Ring::new(&mut ring)?;
    ring.submitter.register_files(&[file.as_raw_fd()])?;
    register_buffers(&ring.submitter, &mut buffers)?;
    let mut places: Vec<Places> = (0..depth).map(Places::new).collect();
    let mut blocks = vec![0; depth];
    let mut read = |ring: &mut Ring<'_>, buffers: &mut [Pages], task: usize| {
        let block = places[task].draw();
        let entry = opcode::ReadFixed::new(Fixed(0), buffers[task].as_mut_ptr(), BLOCK as u32, task as u16)
            .offset(block * BLOCK as u64)
            .build();
        ring.push(&[entry.user_data(task as u64)]);
        block
    };
    for (task, block) in blocks.iter_mut().enumerate() {
        *block = read(&mut ring, &mut buffers, task);
    }
    let mut at_work = depth;
    while at_work > 0 {
        ring.wait()?;
        while let Some((task, result)) = ring.take() {
            assert_eq!(result, BLOCK as i32, "a whole block is read");
            check(&buffers[task], blocks[task], meter.done());
            meter.add();
            match meter.is_over() {
                true => at_work -= 1,
                false => blocks[task] = read(&mut ring, &mut buffers, task),
            }
        }
    }
    Ok(())
}

fn read_through(scratch: &Path, meter: &Meter) -> io::Result<()> {
    let file = File::open(Cache::Hot.path(scratch))?;
    let mut buffers = [pages(LARGE)];
    let mut ring = make_ring(1)?;
    let mut ring = Ring::new(&mut ring)?;
    ring.submitter.register_files(&[file.as_raw_fd()])?;
    register_buffers(&ring.submitter, &mut buffers)?;
    let mut offset = 0;
    while !meter.is_over() {
        let entry = opcode::ReadFixed::new(Fixed(0), buffers[0].as_mut_ptr(), LARGE as u32, 0);
        ring.push(&[entry.offset(offset).build()]);
        ring.wait()?;
        assert_eq!(ring.take(), Some((0, LARGE as i32)), "a whole block is read");
        check(&buffers[0], offset / BLOCK as u64, meter.done());
        offset = (offset + LARGE as u64) % SIZE;
        meter.add();
    }
    Ok(())
}

fn write_through(scratch: &Path, meter: &Meter) -> io::Result<()> {
    let path = scratch.join("written");
    let file = File::create(&path)?;
    let mut buffers = [written()];
    let mut ring = make_ring(1)?;
    let mut ring = Ring::new(&mut ring)?;
    ring.submitter.register_files(&[file.as_raw_fd()])?;
    register_buffers(&ring.submitter, &mut buffers)?;
    meter.begin();
    for block in 0..meter.operations() {
        let entry = opcode::WriteFixed::new(Fixed(0), buffers[0].as_ptr(), LARGE as u32, 0);
        ring.push(&[entry.offset(block * LARGE as u64).build()]);
        ring.wait()?;
        assert_eq!(ring.take(), Some((0, LARGE as i32)), "a whole block is written");
        meter.add();
    }
    ring.push(&[opcode::Fsync::new(Fixed(0)).build()]);
    ring.wait()?;
    assert_eq!(ring.take(), Some((0, 0)), "it is brought to the medium");
    meter.end();
    verify_and_remove(&path, meter.operations())
}

/// Paths as the kernel wants them.
fn c_paths(paths: &[PathBuf]) -> Vec<CString> {
    paths.iter().map(|path| CString::new(path.as_os_str().as_bytes()).expect("no NUL")).collect()
}

/// A number after the other: up to `count`, or round and round as long as it counts.
fn numbers(count: usize, deed: Deed, meter: &Meter) -> impl FnMut() -> Option<usize> {
    let mut next = 0;
    move || {
        let ended = if deed.is_once() { next == count } else { meter.is_over() };
        (!ended).then(|| {
            next += 1;
            (next - 1) % count
        })
    }
}

/// The chain that opens a file at this place of the table of files and reads it into the buffer of this number.
fn open_and_read(path: &CString, place: u32, buffer: *mut u8, number: usize) -> [Entry; 2] {
    let slot = DestinationSlot::try_from_slot_target(place).expect("a place of the table");
    let open = opcode::OpenAt::new(Fd(libc::AT_FDCWD), path.as_ptr()).file_index(Some(slot)).build();
    let read = opcode::ReadFixed::new(Fixed(place), buffer, BLOCK as u32, number as u16).build();
    [open.flags(QUIET_LINK), read.flags(QUIET_LINK)]
}

/// The chain that makes a file at this place of the table of files and writes the buffer of this number.
fn create_and_write(path: &CString, place: u32, buffer: *const u8, number: usize) -> [Entry; 2] {
    let slot = DestinationSlot::try_from_slot_target(place).expect("a place of the table");
    let open = opcode::OpenAt::new(Fd(libc::AT_FDCWD), path.as_ptr())
        .flags(libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC)
        .mode(0o666)
        .file_index(Some(slot))
        .build();
    let write = opcode::WriteFixed::new(Fixed(place), buffer, BLOCK as u32, number as u16).build();
    [open.flags(QUIET_LINK), write.flags(QUIET_LINK)]
}

fn close(place: u32) -> Entry {
    opcode::Close::new(Fixed(place)).build()
}

fn read_each(tree: &Tree, meter: &Meter) -> io::Result<()> {
    let paths = c_paths(tree.files());
    let mut buffers = vec![pages(BLOCK); AT_ONCE];
    let starts: Vec<*mut u8> = buffers.iter_mut().map(|buffer| buffer.as_mut_ptr()).collect();
    let mut ring = make_ring(AT_ONCE * 3)?;
    let mut ring = Ring::new(&mut ring)?;
    ring.submitter.register_files_sparse(AT_ONCE as u32)?;
    register_buffers(&ring.submitter, &mut buffers)?;
    ring.each(
        numbers(paths.len(), Deed::Read, meter),
        |ring, place, file| {
            let [open, read] = open_and_read(&paths[file], place as u32, starts[place], place);
            let chain = [open, read, close(place as u32)].map(|entry| entry.user_data(place as u64));
            ring.push(&chain);
        },
        |place, file, result| {
            assert_eq!(result, 0, "the last of a chain succeeds if all have");
            check_content(&buffers[place], file);
            meter.add();
        },
    )
}

fn create_each(tree: &Tree, meter: &Meter) -> io::Result<()> {
    let paths = c_paths(tree.files());
    let mut buffers = vec![pages(BLOCK); AT_ONCE];
    let mut ring = make_ring(AT_ONCE * 3)?;
    let mut ring = Ring::new(&mut ring)?;
    ring.submitter.register_files_sparse(AT_ONCE as u32)?;
    register_buffers(&ring.submitter, &mut buffers)?;
    ring.each(
        numbers(paths.len(), Deed::Create, meter),
        |ring, place, file| {
            fill(&mut buffers[place], file as u64);
            let [open, write] = create_and_write(&paths[file], place as u32, buffers[place].as_ptr(), place);
            let chain = [open, write, close(place as u32)].map(|entry| entry.user_data(place as u64));
            ring.push(&chain);
        },
        |_, _, result| {
            assert_eq!(result, 0, "the last of a chain succeeds if all have");
            meter.add();
        },
    )
}

fn copy_each(from: &Tree, to: &Tree, meter: &Meter) -> io::Result<()> {
    let (from, to) = (c_paths(from.files()), c_paths(to.files()));
    let mut buffers = vec![pages(BLOCK); AT_ONCE];
    let starts: Vec<*mut u8> = buffers.iter_mut().map(|buffer| buffer.as_mut_ptr()).collect();
    let mut ring = make_ring(AT_ONCE * 6)?;
    let mut ring = Ring::new(&mut ring)?;
    ring.submitter.register_files_sparse(2 * AT_ONCE as u32)?;
    register_buffers(&ring.submitter, &mut buffers)?;
    ring.each(
        numbers(from.len(), Deed::Copy, meter),
        |ring, place, file| {
            let (source, sink) = (place as u32, (AT_ONCE + place) as u32);
            let [open, read] = open_and_read(&from[file], source, starts[place], place);
            let [create, write] = create_and_write(&to[file], sink, starts[place], place);
            let chain = [open, read, close(source).flags(QUIET_LINK), create, write, close(sink)];
            ring.push(&chain.map(|entry| entry.user_data(place as u64)));
        },
        |_, _, result| {
            assert_eq!(result, 0, "the last of a chain succeeds if all have");
            meter.add();
        },
    )
}

fn stat_each(tree: &Tree, meter: &Meter) -> io::Result<()> {
    let paths = c_paths(tree.files());
    let mut found = vec![MaybeUninit::<libc::statx>::zeroed(); AT_ONCE];
    let mut ring = make_ring(AT_ONCE)?;
    let mut ring = Ring::new(&mut ring)?;
    let starts: Vec<*mut libc::statx> = found.iter_mut().map(MaybeUninit::as_mut_ptr).collect();
    ring.each(
        numbers(paths.len(), Deed::Stat, meter),
        |ring, place, file| {
            let (path, status) = (paths[file].as_ptr(), starts[place].cast());
            let entry = opcode::Statx::new(Fd(libc::AT_FDCWD), path, status).mask(libc::STATX_BASIC_STATS);
            ring.push(&[entry.build().user_data(place as u64)]);
        },
        |place, _, result| {
            assert_eq!(result, 0, "a file that is there has a status");
            // SAFETY: the kernel has filled it, and all bits are valid.
            let length = unsafe { (*starts[place]).stx_size };
            assert_eq!(length, BLOCK as u64);
            meter.add();
        },
    )
}
