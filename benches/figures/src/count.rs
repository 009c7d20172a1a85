//! A global allocator that counts: how often a stretch of code allocates on its thread, how much, and where.
//!
//! A program that counts declares it: `#[global_allocator] static COUNTING: Counting = Counting;`. Only the thread that
//! counts is counted, so the other end of a socket may live on another thread. A growing `realloc` is an allocation.

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::cell::{Cell, RefCell};

/// The system's allocator with a look at what passes.
pub struct Counting;

/// What was allocated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allocations {
    pub count: u64,
    pub bytes: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Off,
    Count,
    /// Count, and note where the first ones are.
    Trace,
}

/// So many allocations are looked at; each look takes milliseconds.
const TRACED: u64 = 30;

thread_local! {
    static MODE: Cell<Mode> = const { Cell::new(Mode::Off) };
    static SEEN: Cell<Allocations> = const { Cell::new(Allocations { count: 0, bytes: 0 }) };
    static PLACES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(block, layout) }
    }
}

fn note(bytes: usize) {
    // A thread that is ending is not one that counts.
    let Ok(mode) = MODE.try_with(Cell::get) else { return };
    if mode == Mode::Off {
        return;
    }
    let seen = SEEN.get();
    SEEN.set(Allocations { count: seen.count + 1, bytes: seen.bytes + bytes as u64 });
    if mode == Mode::Trace && seen.count < TRACED {
        // To look at the stack allocates.
        MODE.set(Mode::Off);
        let place = place(&Backtrace::force_capture().to_string());
        PLACES.with_borrow_mut(|places| places.push(place));
        MODE.set(Mode::Trace);
    }
}

/// Counts from here on, on this thread.
pub fn start() {
    SEEN.set(Allocations::default());
    MODE.set(Mode::Count);
}

/// The same, and notes the places of the first.
pub fn start_tracing() {
    SEEN.set(Allocations::default());
    PLACES.take();
    MODE.set(Mode::Trace);
}

/// Ends counting.
pub fn stop() -> Allocations {
    MODE.set(Mode::Off);
    SEEN.get()
}

/// The places of the allocations that were traced last, most frequent first, each with its number.
pub fn places() -> Vec<(String, usize)> {
    let mut places = PLACES.take();
    places.sort();
    let mut counted: Vec<(String, usize)> = Vec::new();
    for place in places {
        match counted.last_mut() {
            Some((last, count)) if *last == place => *count += 1,
            _ => counted.push((place, 1)),
        }
    }
    counted.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counted
}

/// The innermost line of ringloop's own sources in a backtrace, as `src/path.rs:line`.
fn place(trace: &str) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let sources = ringloop_benches::machine::repository().join("src");
    let mut places = trace.lines().filter_map(|line| {
        // What lies below the current folder is told from there.
        let place = here.join(line.trim().strip_prefix("at ")?.trim_start_matches("./"));
        let below = place.strip_prefix(&sources).ok()?.to_string_lossy().into_owned();
        // The column says nothing to a reader.
        below.rsplit_once(':').map(|(line, _)| format!("src/{line}"))
    });
    places.next().unwrap_or_else(|| "outside of ringloop".to_owned())
}
