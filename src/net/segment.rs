//! Memory for bytes on their way: segments of one size, kept by the thread and used again, so that in steady state nothing is
//! allocated.

use std::cell::RefCell;

/// The bytes of a segment.
pub(super) const SEGMENT: usize = 16 << 10;
/// Segments kept, per thread.
const SPARE: usize = 64;

thread_local! {
    static SPARES: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// An empty one.
pub(super) fn spare() -> Vec<u8> {
    let spare = SPARES.try_with(|spares| spares.borrow_mut().pop()).ok().flatten();
    spare.unwrap_or_else(|| Vec::with_capacity(SEGMENT))
}

/// Keeps it, if it is one and there is room.
pub(super) fn recycle(mut segment: Vec<u8>) {
    if segment.capacity() == SEGMENT {
        segment.clear();
        let _ = SPARES.try_with(|spares| {
            let mut spares = spares.borrow_mut();
            if spares.len() < SPARE {
                spares.push(segment);
            }
        });
    }
}
