//! In which order a queue gives back what was put into it: all in which the three queues differ.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// What a queue keeps its items in, and so the order in which it gives them back.
///
/// Implemented for what the three queues are made of; an order of your own makes a queue of its own. It keeps each
/// item until it gives it back, once, and it does not use its queue: that is borrowed meanwhile.
///
/// ```
/// use ringloop::sync::{QueueOf, Storage};
/// /// Negative numbers overtake the others.
/// #[derive(Default)]
/// struct Lanes {
///     fast: Vec<i32>,
///     slow: Vec<i32>,
/// }
/// impl Storage for Lanes {
///     type Item = i32;
///     fn push(&mut self, item: i32) {
///         if item < 0 { self.fast.push(item) } else { self.slow.push(item) }
///     }
///     fn pop(&mut self) -> Option<i32> {
///         self.fast.pop().or_else(|| self.slow.pop())
///     }
///     fn len(&self) -> usize {
///         self.fast.len() + self.slow.len()
///     }
/// }
/// let queue = QueueOf::<Lanes>::bounded(10);
/// for item in [1, -2, 3] {
///     queue.try_put(item).expect("there is room");
/// }
/// assert_eq!((queue.try_get(), queue.try_get()), (Ok(-2), Ok(3)));
/// ```
pub trait Storage: Default {
    /// What it keeps.
    type Item;

    /// Keeps an item.
    fn push(&mut self, item: Self::Item);

    /// Gives back the item whose turn it is.
    fn pop(&mut self) -> Option<Self::Item>;

    /// How many it keeps.
    fn len(&self) -> usize;

    /// Whether it keeps none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// First in, first out.
impl<T> Storage for VecDeque<T> {
    type Item = T;

    fn push(&mut self, item: T) {
        self.push_back(item);
    }

    fn pop(&mut self) -> Option<T> {
        self.pop_front()
    }

    fn len(&self) -> usize {
        self.len()
    }
}

/// Last in, first out.
impl<T> Storage for Vec<T> {
    type Item = T;

    fn push(&mut self, item: T) {
        self.push(item);
    }

    fn pop(&mut self) -> Option<T> {
        self.pop()
    }

    fn len(&self) -> usize {
        self.len()
    }
}

/// The smallest first; of equals the first in, first out: the storage of a
/// [`PriorityQueue`](super::PriorityQueue).
pub struct Smallest<T> {
    /// The items, each with its number.
    heap: BinaryHeap<Reverse<(T, u64)>>,
    /// How many were ever put in: the number of the next.
    count: u64,
}

impl<T: Ord> Default for Smallest<T> {
    fn default() -> Self {
        Smallest { heap: BinaryHeap::new(), count: 0 }
    }
}

impl<T: Ord> Storage for Smallest<T> {
    type Item = T;

    fn push(&mut self, item: T) {
        self.heap.push(Reverse((item, self.count)));
        self.count += 1;
    }

    fn pop(&mut self) -> Option<T> {
        self.heap.pop().map(|Reverse((item, _))| item)
    }

    fn len(&self) -> usize {
        self.heap.len()
    }
}
