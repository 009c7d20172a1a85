//! Which loop this thread is inside of. This is the only place that knows.
//!
//! A loop has three layers that are asked for from anywhere: its executor, its reactor and the event loop above them. One
//! guard, [`Entered`], sets all of them together with the loop's number, and puts back what was there before when it is
//! dropped, so they cannot disagree, however runs and ends of several loops are nested on a thread. No layer may know the
//! type of a higher one, so the slots are type-erased; each layer asks for its own type.
//!
//! The thread-local has no destructor: a wake asks for the number at the price of a load, at any time, also late in a
//! thread's end. Nothing is left in it: whoever enters leaves.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::mem::ManuallyDrop;
use std::rc::Rc;

/// A layer of a loop.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Layer {
    Executor,
    Reactor,
    EventLoop,
}

/// The layers of one loop, by [`Layer`]. In tests some may be missing.
pub(crate) type Layers = [Option<Rc<dyn Any>>; 3];

struct Current {
    /// The loop's number in this process; zero outside of a loop.
    number: Cell<u32>,
    layers: RefCell<Layers>,
}

thread_local! {
    static CURRENT: ManuallyDrop<Current> =
        const { ManuallyDrop::new(Current { number: Cell::new(0), layers: RefCell::new([None, None, None]) }) };
}

#[cfg(all(test, loom))]
loom::thread_local! {
    /// The threads of a model are not threads to std.
    static NUMBER: Cell<u32> = Cell::new(0);
}

fn with_number<R>(f: impl FnOnce(&Cell<u32>) -> R) -> R {
    #[cfg(not(all(test, loom)))]
    return CURRENT.with(|current| f(&current.number));
    #[cfg(all(test, loom))]
    return NUMBER.with(f);
}

/// The number of the loop that this thread is inside of; zero for none.
#[inline]
pub(crate) fn number() -> u32 {
    with_number(Cell::get)
}

/// A layer of the loop that this thread is inside of.
#[inline]
pub(crate) fn get<T: 'static>(layer: Layer) -> Option<Rc<T>> {
    let found = CURRENT.with(|current| current.layers.borrow()[layer as usize].clone())?;
    found.downcast().ok()
}

/// As [`get`], for the time of one call, which must not enter or leave a loop.
#[inline]
pub(crate) fn peek<T: 'static, R>(layer: Layer, f: impl FnOnce(&T) -> R) -> Option<R> {
    CURRENT.with(|current| current.layers.borrow()[layer as usize].as_ref()?.downcast_ref().map(f))
}

/// From now on the thread counts as a foreign one to the loop `number`, which has closed its inbox.
pub(crate) fn disown(number: u32) {
    with_number(|own| {
        if own.get() == number {
            own.set(0);
        }
    });
}

/// This layer of the loop has ended: until the loop is left nobody finds it here.
pub(crate) fn remove<T: 'static>(layer: Layer, ended: &T) {
    if peek(layer, |current: &T| std::ptr::eq(current, ended)) == Some(true) {
        let removed = CURRENT.with(|current| current.layers.borrow_mut()[layer as usize].take());
        drop(removed);
    }
}

/// While it lives, the thread is inside of a loop.
pub(crate) struct Entered {
    number: u32,
    layers: Layers,
}

/// Has the thread be inside of the loop `number` with these layers.
pub(crate) fn enter(number: u32, layers: Layers) -> Entered {
    Entered {
        number: with_number(|own| own.replace(number)),
        layers: CURRENT.with(|current| current.layers.replace(layers)),
    }
}

impl Entered {
    /// The loop that the thread was inside of before; zero for none.
    pub(crate) fn before(&self) -> u32 {
        self.number
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        with_number(|own| own.set(self.number));
        let before = std::mem::take(&mut self.layers);
        // The references that go may be the last: they are dropped outside of the borrow.
        let left = CURRENT.with(|current| current.layers.replace(before));
        drop(left);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn layers(of: u32) -> Layers {
        let executor: Rc<dyn Any> = Rc::new(of);
        [Some(executor), None, None]
    }

    #[test]
    fn what_was_there_before_is_there_again() {
        let executor = || get::<u32>(Layer::Executor).as_deref().copied();
        assert_eq!((number(), executor()), (0, None));
        let outer = enter(7, layers(70));
        {
            let inner = enter(8, layers(80));
            assert_eq!((number(), executor(), inner.before()), (8, Some(80), 7));
            disown(7);
            assert_eq!(number(), 8, "the thread is inside of another loop");
            disown(8);
            assert_eq!((number(), executor()), (0, Some(80)));
        }
        assert_eq!((number(), executor()), (7, Some(70)));
        assert_eq!(peek(Layer::Executor, |of: &u32| *of), Some(70));
        assert_eq!(peek(Layer::Reactor, |of: &u32| *of), None);
        remove(Layer::Executor, &70);
        assert_eq!(executor(), Some(70), "another of the same value has ended");
        let own = get::<u32>(Layer::Executor).expect("it is there");
        remove(Layer::Executor, &*own);
        assert_eq!((number(), executor()), (7, None));
        drop(outer);
        assert_eq!((number(), executor()), (0, None));
    }
}
