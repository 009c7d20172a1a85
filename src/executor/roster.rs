//! What a loop's list of tasks is: each that has not ended stands in a place that it keeps.
//!
//! A place that is given back waits to be used again. If the last task moved into it, the list would have no gaps; but then
//! each end would write to another task, which among many lies in memory that is not at hand. Nor is this a slab, which keeps its
//! free places in themselves: that takes a second word for each task.

pub(super) struct Roster<T> {
    places: Vec<Option<T>>,
    /// The empty ones, and some that are no more.
    free: Vec<u32>,
    count: usize,
}

impl<T> Default for Roster<T> {
    fn default() -> Self {
        Roster { places: Vec::new(), free: Vec::new(), count: 0 }
    }
}

impl<T> Roster<T> {
    /// Takes one in; says where it stands.
    pub(super) fn insert(&mut self, one: T) -> u32 {
        self.count += 1;
        while let Some(place) = self.free.pop() {
            if let Some(empty @ None) = self.places.get_mut(place as usize) {
                *empty = Some(one);
                return place;
            }
        }
        self.places.push(Some(one));
        (self.places.len() - 1) as u32
    }

    /// Gives back the one that stands there.
    pub(super) fn remove(&mut self, place: u32) -> Option<T> {
        let one = self.places.get_mut(place as usize)?.take()?;
        self.count -= 1;
        self.free.push(place);
        Some(one)
    }

    /// The one that stands there.
    pub(super) fn get(&self, place: u32) -> Option<&T> {
        self.places.get(place as usize)?.as_ref()
    }

    /// The one in the last place. Empty ones behind it go.
    pub(super) fn last(&mut self) -> Option<&T> {
        while let Some(None) = self.places.last() {
            self.places.pop();
        }
        self.places.last()?.as_ref()
    }

    /// All, in no particular order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.places.iter().flatten()
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_keeps_its_place_until_it_leaves() {
        let mut roster = Roster::default();
        let places: Vec<_> = ('a'..='d').map(|one| roster.insert(one)).collect();
        assert_eq!(places, [0, 1, 2, 3]);
        assert_eq!((roster.remove(1), roster.remove(1)), (Some('b'), None), "once");
        assert_eq!((roster.get(1), roster.get(3), roster.get(4)), (None, Some(&'d'), None));
        assert_eq!(roster.iter().collect::<String>(), "acd");
        assert_eq!((roster.len(), roster.last()), (3, Some(&'d')));
        assert!(roster.remove(3).is_some() && roster.remove(2).is_some());
        assert_eq!(roster.last().copied(), Some('a'));
        assert_eq!(roster.places.len(), 1);
        // Of the three that were given back none is there any more.
        assert_eq!((roster.insert('e'), roster.insert('f'), roster.len()), (1, 2, 3));
    }

    #[test]
    fn places_are_used_again_before_there_are_more() {
        let mut roster = Roster::default();
        for round in 0..10 {
            let places: Vec<_> = (0..5).map(|one| roster.insert(one)).collect();
            assert!(places.iter().all(|place| *place < 5), "round {round}: {places:?}");
            assert!(places.iter().all(|place| roster.remove(*place).is_some()));
            assert_eq!((roster.len(), roster.iter().count(), roster.remove(u32::MAX)), (0, 0, None));
        }
    }
}
