//! Where an operation lies while the kernel may touch it: a block of raw memory, reached by pointer only.
//!
//! `Lent<T>` owns a block with an operation of output `T` in it, before submission and after the final completion. In
//! between the table holds the block as a [`Raw`], which has no destructor: what nobody takes back is leaked, never freed
//! early (**K3**). No reference to the operation exists while it is `Raw` (**K1**): `Lent` hands it over by value, and
//! only [`Raw::reclaim`] and [`Raw::discard`], which the table allows after the final completion (**K2**), make it a
//! value again.
//!
//! Blocks come from the thread's free lists (`block.rs`), so in steady state nothing is allocated.

#![allow(unsafe_code)]

use std::alloc::Layout;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;

use super::{Company, Next, Operation, Policy};
use crate::block;
use crate::pool::Job;
use crate::ring::{Entry, Outcome};

/// What can be done with an operation whose type is forgotten.
pub(crate) struct Common {
    /// The operation's name.
    pub(crate) name: &'static str,
    /// Whether it has a plain call.
    has_call: bool,
    /// Whether a thread may be asked to do it.
    has_job: bool,
    /// Whether it tells of one event after the other.
    pub(crate) repeats: bool,
    /// The block it lies in.
    layout: Layout,
    prepare: unsafe fn(NonNull<u8>) -> Policy,
    entry: unsafe fn(NonNull<u8>) -> Entry,
    job: unsafe fn(NonNull<u8>) -> Option<Job>,
    advance: unsafe fn(NonNull<u8>, Outcome) -> Next,
    discard: unsafe fn(NonNull<u8>, Outcome),
}

/// What can be done with an operation of output `T`.
pub(crate) struct Methods<T: 'static> {
    common: Common,
    call: unsafe fn(NonNull<u8>, Company) -> Option<Outcome>,
    finish: unsafe fn(NonNull<u8>, Outcome) -> T,
}

impl<T> Methods<T> {
    pub(crate) fn name(&self) -> &'static str {
        self.common.name
    }
}

struct Of<O>(O);

impl<O: Operation> Of<O> {
    const METHODS: &'static Methods<O::Output> = &Methods {
        common: Common {
            name: O::NAME,
            has_call: O::HAS_CALL,
            has_job: O::HAS_JOB,
            repeats: O::REPEATS,
            layout: block::class(Layout::new::<O>()),
            // SAFETY (all): K1: the block holds an `O`, and by the contract of `Lent` and `Raw` nobody else refers to it.
            prepare: |block| prepare(unsafe { block.cast::<O>().as_mut() }),
            // SAFETY: K1 as above.
            entry: |block| unsafe { block.cast::<O>().as_mut().entry() },
            // SAFETY: K1 as above.
            job: |block| unsafe { block.cast::<O>().as_mut().job() },
            // SAFETY: K1 as above.
            advance: |block, outcome| unsafe { block.cast::<O>().as_mut().advance(outcome) },
            // SAFETY: K1 as above.
            discard: |block, outcome| unsafe { drop(take::<O>(block).finish(outcome)) },
        },
        // SAFETY: K1 as above.
        call: |block, company| unsafe { block.cast::<O>().as_mut().call(company) },
        // SAFETY: K1 as above.
        finish: |block, outcome| unsafe { take::<O>(block).finish(outcome) },
    };
}

/// Decides on the next step and tells how it ends.
#[inline]
fn prepare<O: Operation>(operation: &mut O) -> Policy {
    operation.prepare();
    operation.policy()
}

/// Moves the operation out and gives its block back, before anything of the operation runs.
///
/// # Safety
/// K1: the block holds an `O` that nobody refers to; afterwards it is gone.
#[inline(always)]
unsafe fn take<O: Operation>(block: NonNull<u8>) -> O {
    // SAFETY: K1: passed on to the caller. As in `Lent::new`, it need not be in one piece.
    let operation = ManuallyDrop::new(unsafe { block.cast::<O>().read() });
    // SAFETY: F1: `Lent::new` reserved it with this class, and it is empty now.
    unsafe { block::free(block, block::class(Layout::new::<O>())) };
    ManuallyDrop::into_inner(operation)
}

/// An operation in its block, owned: not yet lent to the kernel, or given back by it.
pub(crate) struct Lent<T: 'static> {
    block: NonNull<u8>,
    methods: &'static Methods<T>,
}

impl<T> Lent<T> {
    /// Inlined into who makes the operation, it is made in its block, and not moved there.
    #[inline(always)]
    pub(crate) fn new<O: Operation<Output = T>>(operation: O) -> Self {
        let methods = Of::<O>::METHODS;
        // That it would be dropped if there were no memory is all that would keep it in one piece until then.
        let operation = ManuallyDrop::new(operation);
        let block = block::reserve(methods.common.layout);
        // SAFETY: M1: the block is at least as large and as aligned as its class, which covers `O`.
        unsafe { block.cast::<O>().write(ManuallyDrop::into_inner(operation)) };
        Lent { block, methods }
    }

    pub(crate) fn methods(&self) -> &'static Methods<T> {
        self.methods
    }

    pub(crate) fn name(&self) -> &'static str {
        self.methods.name()
    }

    /// The next step as a plain call, if there is one.
    pub(crate) fn call(&mut self, company: Company) -> Option<Outcome> {
        // SAFETY: K1: not lent, and the block holds the operation of these methods.
        unsafe { (self.methods.call)(self.block, company) }
    }

    /// Decides on the next step, of which the entry is to be built next, and tells how it ends.
    pub(crate) fn prepare(&mut self) -> Policy {
        // SAFETY: K1 as in `call`.
        unsafe { (self.methods.common.prepare)(self.block) }
    }

    /// The entry, built at the operation's final address. By itself: what is returned along with something else is copied.
    pub(crate) fn entry(&mut self) -> Entry {
        // SAFETY: K1 as in `call`.
        unsafe { (self.methods.common.entry)(self.block) }
    }

    /// What a thread is to do in the place of an entry.
    #[inline]
    pub(crate) fn job(&mut self) -> Option<Job> {
        // SAFETY: K1 as in `call`.
        self.methods.common.has_job.then(|| unsafe { (self.methods.common.job)(self.block) })?
    }

    /// Whether it is worth asking for a plain call.
    pub(crate) fn has_call(&self) -> bool {
        self.methods.common.has_call
    }

    pub(crate) fn advance(&mut self, outcome: Outcome) -> Next {
        // SAFETY: K1 as in `call`.
        unsafe { (self.methods.common.advance)(self.block, outcome) }
    }

    pub(crate) fn finish(self, outcome: Outcome) -> T {
        let lent = ManuallyDrop::new(self);
        // SAFETY: K1 as in `call`; ManuallyDrop hands the block over once.
        unsafe { (lent.methods.finish)(lent.block, outcome) }
    }

    /// Hands the block over to the table.
    pub(crate) fn lend(self) -> Raw {
        let lent = ManuallyDrop::new(self);
        Raw { block: lent.block, common: &lent.methods.common }
    }
}

impl<T> Drop for Lent<T> {
    fn drop(&mut self) {
        // SAFETY: K1: not lent; this is the end of it.
        unsafe { (self.methods.common.discard)(self.block, Outcome::NOT_BEGUN) }
    }
}

/// An operation that the kernel may be using. Dropping this leaks it, on purpose.
#[must_use = "dropping it leaks the operation"]
pub(crate) struct Raw {
    block: NonNull<u8>,
    pub(crate) common: &'static Common,
}

impl Raw {
    /// The operation comes back to the future that submitted it. Only after its final completion (K2).
    pub(crate) fn reclaim<T>(self, methods: &'static Methods<T>) -> Lent<T> {
        assert!(std::ptr::eq(self.common, &methods.common), "a key led to another operation's block");
        Lent { block: self.block, methods }
    }

    /// The operation ends with nobody listening. Only after its final completion (K2).
    pub(crate) fn discard(self, outcome: Outcome) {
        // SAFETY: K2: the kernel is done with it, and this value was the only way to it.
        unsafe { (self.common.discard)(self.block, outcome) }
    }

    /// What follows an outcome. Only after its final completion (K2).
    pub(crate) fn advance(&mut self, outcome: Outcome) -> Next {
        // SAFETY: K2: the kernel is done with it, and this value is the only way to it.
        unsafe { (self.common.advance)(self.block, outcome) }
    }

    /// Decides on the next step, after `advance`.
    pub(crate) fn prepare(&mut self) -> Policy {
        // SAFETY: K2 as in `advance`.
        unsafe { (self.common.prepare)(self.block) }
    }

    /// What a thread is to do in the place of the next entry.
    pub(crate) fn job(&mut self) -> Option<Job> {
        // SAFETY: K2 as in `advance`.
        self.common.has_job.then(|| unsafe { (self.common.job)(self.block) })?
    }

    /// The entry of the next step.
    pub(crate) fn entry(&mut self) -> Entry {
        // SAFETY: K2 as in `advance`.
        unsafe { (self.common.entry)(self.block) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::Entry;
    use std::cell::Cell;
    use std::rc::Rc;

    /// A read into memory of its own, and of a field: as the kernel would, the model writes through the entry's pointers.
    struct Model {
        bytes: Box<[u8; 16]>,
        field: u64,
        _alive: Rc<()>,
        _wide: [u64; 12],
    }

    /// Where the entry of the model points to; an `Entry` does not tell.
    #[derive(Clone, Copy)]
    struct Pointers(*mut [u8; 16], *mut u64);

    thread_local! {
        static POINTERS: Cell<Option<Pointers>> = const { Cell::new(None) };
    }

    // SAFETY: O1: the pointers lead into the operation and into what it owns.
    unsafe impl Operation for Model {
        type Output = (Box<[u8; 16]>, u64, i32);
        const NAME: &'static str = "model";

        fn policy(&self) -> Policy {
            Policy::WAITS
        }

        fn entry(&mut self) -> Entry {
            POINTERS.set(Some(Pointers(&raw mut *self.bytes, &raw mut self.field)));
            io_uring::opcode::Nop::new().build()
        }

        fn finish(self, outcome: Outcome) -> Self::Output {
            (self.bytes, self.field, outcome.result)
        }
    }

    fn model(alive: &Rc<()>) -> Lent<(Box<[u8; 16]>, u64, i32)> {
        Lent::new(Model { bytes: Box::new([0; 16]), field: 0, _alive: alive.clone(), _wide: [0; 12] })
    }

    /// The kernel writes, at any time between `entry` and the final completion.
    fn kernel_writes(byte: u8) {
        let Pointers(bytes, field) = POINTERS.get().expect("an entry was built");
        // SAFETY: K1: the operation lies where it lay when the entry was built, and nobody refers to it.
        unsafe {
            (*bytes)[15] = byte;
            *field = u64::from(byte);
        }
    }

    #[test]
    fn the_kernel_writes_into_a_lent_operation_and_the_future_gets_it_back() {
        let alive = Rc::new(());
        let mut lent = model(&alive);
        let methods = lent.methods();
        let _ = lent.entry();
        let raw = lent.lend();
        kernel_writes(1);
        let mut holders = [Some(raw)];
        kernel_writes(2);
        let raw = holders[0].take().expect("it was put there");
        kernel_writes(3);
        let lent = raw.reclaim(methods);
        let (bytes, field, result) = lent.finish(Outcome { result: 9, flags: 0 });
        assert_eq!((bytes[15], field, result), (3, 3, 9));
        assert_eq!(Rc::strong_count(&alive), 1);
    }

    #[test]
    fn an_abandoned_operation_is_finished_and_its_block_used_again() {
        let alive = Rc::new(());
        let mut blocks = Vec::new();
        for _ in 0..3 {
            let mut lent = model(&alive);
            blocks.push(lent.block);
            let _ = lent.entry();
            let raw = lent.lend();
            kernel_writes(7);
            raw.discard(Outcome { result: 0, flags: 0 });
            assert_eq!(Rc::strong_count(&alive), 1);
        }
        assert!(blocks.windows(2).all(|pair| pair[0] == pair[1]), "the free list gives the block back");
    }

    #[test]
    fn an_operation_may_be_dropped_at_each_end_of_its_life() {
        let alive = Rc::new(());
        drop(model(&alive));
        let mut submitted = model(&alive);
        let methods = submitted.methods();
        let _ = submitted.entry();
        submitted.lend().discard(Outcome::NOT_BEGUN);
        let mut completed = model(&alive);
        let _ = completed.entry();
        let raw = completed.lend();
        kernel_writes(1);
        drop(raw.reclaim(methods));
        assert_eq!(Rc::strong_count(&alive), 1);
    }

    #[test]
    #[should_panic(expected = "another operation's block")]
    #[cfg_attr(miri, ignore = "it leaks the block, as a dropped `Raw` does")]
    fn a_block_is_not_taken_for_another_operation() {
        struct Other;
        // SAFETY: O1: it points to nothing.
        unsafe impl Operation for Other {
            type Output = (Box<[u8; 16]>, u64, i32);
            const NAME: &'static str = "other";
            fn policy(&self) -> Policy {
                Policy::WAITS
            }
            fn entry(&mut self) -> Entry {
                io_uring::opcode::Nop::new().build()
            }
            fn finish(self, _: Outcome) -> Self::Output {
                (Box::new([0; 16]), 0, 0)
            }
        }
        let methods = Lent::new(Other).methods();
        let raw = model(&Rc::new(())).lend();
        let _ = raw.reclaim(methods);
    }
}
