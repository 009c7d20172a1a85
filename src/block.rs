//! Memory for what comes and goes all the time: task cells, and operations that the kernel may hold.
//!
//! A block that is given back goes into a free list of the thread that gave it back, one list per size in steps of
//! [`STEP`], and is taken from there again: in steady state nothing is allocated, and the block is still in the cache. Sizes
//! end a word below a step: the allocator of glibc keeps a word of its own with each, and rounds up to a step.
//! What is larger than [`LARGEST`], more aligned than [`STEP`], or too much to keep, goes straight to the allocator, as
//! everything does while the thread ends.
//!
//! # Invariants, cited by SAFETY comments
//!
//! * **F1 block**: a block is in use or in one free list; while it is there nobody else refers to it, and its first word
//!   leads to the next. The class tells its layout, in the list as in use.

#![allow(unsafe_code)]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::Cell;
use std::ptr::NonNull;

/// Sizes are [`WORD`] more than a multiple of this, which is also the alignment.
const STEP: usize = 16;
const WORD: usize = 8;
/// The largest size that is kept.
const LARGEST: usize = 1024 + WORD;
/// Bytes kept per size.
const KEPT: usize = 512 * 1024;

/// The layout of the block for a value of this layout.
pub(crate) const fn class(of: Layout) -> Layout {
    let of = of.pad_to_align();
    // Of no class is empty: a block has an address of its own.
    let size = if of.size() == 0 { 1 } else { of.size() };
    let (size, align) = match size <= LARGEST && of.align() <= STEP {
        true => (size.saturating_sub(WORD).next_multiple_of(STEP) + WORD, STEP),
        false => (size, of.align()),
    };
    match Layout::from_size_align(size, align) {
        Ok(class) => class,
        Err(_) => panic!("a value's layout, rounded up, is a layout"),
    }
}

/// The blocks of one size.
struct FreeList {
    /// The block that came last.
    first: Cell<Option<NonNull<u8>>>,
    /// The bytes of all.
    bytes: Cell<usize>,
}

struct FreeLists([FreeList; LISTS]);

const LISTS: usize = LARGEST / STEP + 1;

thread_local! {
    static FREE: FreeLists =
        const { FreeLists([const { FreeList { first: Cell::new(None), bytes: Cell::new(0) } }; LISTS]) };
}

impl FreeLists {
    /// The list of this class, unless its blocks are not kept.
    fn of(&self, class: Layout) -> Option<&FreeList> {
        if class.align() != STEP {
            return None;
        }
        self.0.get(class.size() / STEP)
    }
}

impl FreeList {
    fn pop(&self, size: usize) -> Option<NonNull<u8>> {
        let block = self.first.get()?;
        // SAFETY: F1: the first word of a block in the list leads to the next.
        self.first.set(unsafe { block.cast::<Option<NonNull<u8>>>().read() });
        self.bytes.set(self.bytes.get() - size);
        Some(block)
    }

    /// Keeps the block if there is room.
    ///
    /// # Safety
    /// F1: nobody uses the block, which is of this size.
    unsafe fn push(&self, block: NonNull<u8>, size: usize) -> bool {
        let bytes = self.bytes.get() + size;
        let room = bytes <= KEPT;
        if room {
            // SAFETY: F1: it is nobody's, and at least a word long.
            unsafe { block.cast::<Option<NonNull<u8>>>().write(self.first.get()) };
            self.first.set(Some(block));
            self.bytes.set(bytes);
        }
        room
    }
}

impl Drop for FreeLists {
    fn drop(&mut self) {
        for (list, steps) in self.0.iter().zip(0..) {
            let size = steps * STEP + WORD;
            while let Some(block) = list.pop(size) {
                // SAFETY: F1: it has left its list, and the list's place tells its class.
                unsafe { dealloc(block.as_ptr(), Layout::from_size_align_unchecked(size, STEP)) };
            }
        }
    }
}

/// A block of this class, not initialised.
pub(crate) fn reserve(class: Layout) -> NonNull<u8> {
    let kept = FREE.try_with(|free| free.of(class).and_then(|list| list.pop(class.size())));
    kept.ok().flatten().unwrap_or_else(|| allocate(class))
}

#[cold]
fn allocate(class: Layout) -> NonNull<u8> {
    // SAFETY: F1: the class is what the block will be freed with, and no class is empty.
    NonNull::new(unsafe { alloc(class) }).unwrap_or_else(|| handle_alloc_error(class))
}

/// Gives a block back, on any thread.
///
/// # Safety
/// F1: `reserve` gave it for this class, and nobody uses it any more.
pub(crate) unsafe fn free(block: NonNull<u8>, class: Layout) {
    // SAFETY: F1 as the caller says.
    let kept =
        FREE.try_with(|free| free.of(class).is_some_and(|list| unsafe { list.push(block, class.size()) }));
    if kept != Ok(true) {
        // SAFETY: F1 as the caller says; it is in no list.
        unsafe { dealloc(block.as_ptr(), class) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).expect("a layout")
    }

    #[test]
    fn a_class_covers_its_layout_with_less_than_a_step_to_spare() {
        for size in 0..=2 * LARGEST {
            for align in [1, 8, 16, 64] {
                let of = layout(size, align).pad_to_align();
                let class = class(of);
                assert!(class.size() >= of.size().max(1) && class.align() >= of.align(), "{of:?}: {class:?}");
                assert!(class.size() - of.size() <= STEP.max(align), "{of:?}: {class:?}");
            }
        }
    }

    #[test]
    fn the_block_given_back_last_is_taken_first() {
        let class = class(layout(100, 8));
        let blocks = [reserve(class), reserve(class)];
        // SAFETY: F1: nobody uses them.
        blocks.iter().for_each(|&block| unsafe { free(block, class) });
        assert_eq!([reserve(class), reserve(class)], [blocks[1], blocks[0]]);
        // SAFETY: F1 as above.
        blocks.iter().for_each(|&block| unsafe { free(block, class) });
    }

    #[test]
    fn a_list_keeps_so_many_bytes_and_no_more() {
        let class = class(layout(LARGEST, WORD));
        let blocks: Vec<_> = (0..=KEPT / LARGEST).map(|_| reserve(class)).collect();
        for block in blocks {
            // SAFETY: F1: nobody uses it.
            unsafe { free(block, class) };
        }
        let kept = FREE.with(|free| free.of(class).map(|list| list.bytes.get()));
        assert_eq!(kept, Some(KEPT / LARGEST * LARGEST));
    }

    #[test]
    fn large_and_odd_layouts_go_to_the_allocator() {
        for of in [layout(LARGEST + 1, 16), layout(64, 64), layout(0, 64)] {
            let class = class(of);
            let block = reserve(class);
            assert!(block.addr().get().is_multiple_of(of.align()));
            assert!(FREE.with(|free| free.of(class).is_none()), "{class:?}");
            // SAFETY: F1: nobody uses it.
            unsafe { free(block, class) };
        }
    }

    #[test]
    fn a_block_may_be_given_back_by_another_thread() {
        let class = class(layout(100, 8));
        let block = std::sync::atomic::AtomicPtr::new(reserve(class).as_ptr());
        let other = std::thread::spawn(move || {
            let block = NonNull::new(block.into_inner()).expect("a block");
            // SAFETY: F1: the other thread has forgotten it.
            unsafe { free(block, class) };
            assert_eq!(reserve(class), block);
            // SAFETY: F1 as above.
            unsafe { free(block, class) };
        });
        other.join().expect("nothing panics");
    }
}
