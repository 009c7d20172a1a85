//! An item of any type with a priority beside it.

use std::cmp::Ordering;

/// An item for a [`PriorityQueue`](super::PriorityQueue) that has no order itself: only the priority is compared, the
/// smallest comes first, and equals come in the order of coming. (In asyncio: a dataclass with `order=True` and an item that
/// is not compared.)
///
/// ```
/// use ringloop::sync::{Prioritized, PriorityQueue};
/// let calls = PriorityQueue::unbounded();
/// let call = |text: &'static str| move || text; // closures have no order
/// assert!(calls.try_put(Prioritized(2, call("later"))).is_ok());
/// assert!(calls.try_put(Prioritized(1, call("first"))).is_ok());
/// let Ok(Prioritized(priority, call)) = calls.try_get() else { unreachable!("two are in it") };
/// assert_eq!((priority, call()), (1, "first"));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Prioritized<P, T>(pub P, pub T);

impl<P: Ord, T> Ord for Prioritized<P, T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}

impl<P: Ord, T> PartialOrd for Prioritized<P, T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<P: Ord, T> PartialEq for Prioritized<P, T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<P: Ord, T> Eq for Prioritized<P, T> {}
