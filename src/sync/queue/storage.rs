//! In which order a queue gives back what was put into it: all in which the three queues differ.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// What a queue keeps its items in.
pub trait Storage: Default {
    /// What it keeps.
    type Item;

    /// Keeps an item.
    fn push(&mut self, item: Self::Item);

    /// Gives back the item whose turn it is.
    fn pop(&mut self) -> Option<Self::Item>;

    /// How many it keeps.
    fn len(&self) -> usize;
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

/// The smallest first; of equals the first in, first out.
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
