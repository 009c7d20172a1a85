//! Entries that found the submission queue full, in the order in which they were queued.
//!
//! A ticket is the sequence number of its place, so an entry is taken back in constant time: a tombstone
//! stays in its place and is skipped when the backlog is fed through. A chain is one place: it is fed and
//! taken back whole.

use std::collections::VecDeque;

use super::Entry;

/// What waits in one place.
#[derive(Debug)]
enum Place {
    /// One entry.
    Single(Entry),
    /// Entries that must reach the kernel in one submission.
    Chain(Box<[Entry]>),
    /// Taken back.
    Tombstone,
}

/// The queue behind the submission queue.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// The places, oldest first.
    places: VecDeque<Place>,
    /// The ticket of the first place.
    first: u64,
    /// Places that are not tombstones.
    waiting: usize,
}

impl Backlog {
    /// Whether nothing waits.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// Appends entries that belong together and gives their ticket.
    pub(super) fn push(&mut self, entries: &[Entry]) -> u64 {
        let ticket = self.first + self.places.len() as u64;
        self.places.push_back(match entries {
            [entry] => Place::Single(entry.clone()),
            chain => Place::Chain(chain.into()),
        });
        self.waiting += 1;
        ticket
    }

    /// Takes a place back; `each` sees the entries that now never leave. False if they have left already, or
    /// were taken back before.
    pub(super) fn retract(&mut self, ticket: u64, each: impl FnMut(&Entry)) -> bool {
        let place = ticket.checked_sub(self.first).and_then(|index| self.places.get_mut(index as usize));
        let Some(place) = place else { return false };
        match std::mem::replace(place, Place::Tombstone) {
            Place::Single(entry) => std::iter::once(&entry).for_each(each),
            Place::Chain(chain) => chain.iter().for_each(each),
            Place::Tombstone => return false,
        }
        self.waiting -= 1;
        true
    }

    /// Offers the oldest places, one by one, to `take` until it says that one does not fit.
    pub(super) fn feed(&mut self, mut take: impl FnMut(&[Entry]) -> bool) {
        while let Some(place) = self.places.front() {
            let taken = match place {
                Place::Single(entry) => take(std::slice::from_ref(entry)),
                Place::Chain(chain) => take(chain),
                Place::Tombstone => {
                    self.leave();
                    continue;
                }
            };
            if !taken {
                return;
            }
            self.waiting -= 1;
            self.leave();
        }
    }

    /// The first place is done with.
    fn leave(&mut self) {
        self.places.pop_front();
        self.first += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use io_uring::opcode::Nop;

    fn nop(user_data: u64) -> Entry {
        Nop::new().build().user_data(user_data)
    }

    /// Feeds into a queue with so much room, and gives what arrived.
    fn feed(backlog: &mut Backlog, room: usize) -> Vec<u64> {
        let mut arrived = Vec::new();
        backlog.feed(|entries| {
            let fits = arrived.len() + entries.len() <= room;
            if fits {
                arrived.extend(entries.iter().map(Entry::get_user_data));
            }
            fits
        });
        arrived
    }

    #[test]
    fn entries_leave_in_order_and_as_room_allows() {
        let mut backlog = Backlog::default();
        for number in 0..5 {
            assert_eq!(backlog.push(&[nop(number)]), number);
        }
        assert_eq!(feed(&mut backlog, 3), [0, 1, 2]);
        assert!(!backlog.is_empty());
        assert_eq!(backlog.push(&[nop(5)]), 5);
        assert_eq!(feed(&mut backlog, 9), [3, 4, 5]);
        assert!(backlog.is_empty());
    }

    #[test]
    fn what_is_taken_back_never_leaves() {
        let mut backlog = Backlog::default();
        let tickets: Vec<u64> = (0..4).map(|number| backlog.push(&[nop(number)])).collect();
        assert_eq!(feed(&mut backlog, 1), [0]);
        assert!(!backlog.retract(tickets[0], |_| ()), "it has left");
        assert!(backlog.retract(tickets[2], |_| ()));
        assert!(!backlog.retract(tickets[2], |_| ()), "it was taken back before");
        assert!(!backlog.retract(99, |_| ()), "there is no such ticket");
        assert_eq!(feed(&mut backlog, 9), [1, 3]);
    }

    #[test]
    fn a_backlog_of_tombstones_is_empty() {
        let mut backlog = Backlog::default();
        let ticket = backlog.push(&[nop(1)]);
        assert!(backlog.retract(ticket, |_| ()));
        assert!(backlog.is_empty());
        let next = backlog.push(&[nop(2)]);
        assert_ne!(next, ticket);
        assert_eq!(feed(&mut backlog, 9), [2]);
    }

    #[test]
    fn a_chain_is_one_place() {
        let mut backlog = Backlog::default();
        backlog.push(&[nop(1)]);
        let chain = backlog.push(&[nop(2), nop(3), nop(4)]);
        backlog.push(&[nop(5)]);
        assert_eq!(feed(&mut backlog, 3), [1], "half a chain is not fed, nor what comes after it");
        let mut seen = Vec::new();
        assert!(backlog.retract(chain, |entry| seen.push(entry.get_user_data())));
        assert_eq!(seen, [2, 3, 4]);
        assert_eq!(feed(&mut backlog, 3), [5]);
    }
}
