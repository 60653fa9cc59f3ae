//! Things by number: found without hashing, walked in order, and a number is never used for a second thing.

use crate::bits::low32;

/// Places of one slab; the limits of a core are far below.
const PLACE_BITS: u32 = 24;

/// Entries by a number: the upper half counts the uses of a place, then come 8 bits of the worker, then the place. So a
/// number also says which worker of a node to ask.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    worker: u8,
    entries: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
    len: usize,
}

/// The worker that gave a number.
pub(crate) const fn worker_of(id: u64) -> u8 {
    crate::bits::low8(id >> PLACE_BITS)
}

impl<T> Slab<T> {
    pub(crate) const fn new(worker: u8) -> Self {
        Self {
            worker,
            entries: Vec::new(),
            free: Vec::new(),
            len: 0,
        }
    }

    fn split(&self, id: u64) -> (u32, usize) {
        let place = low32(id) & ((1 << PLACE_BITS) - 1);
        let ours = worker_of(id) == self.worker;
        (
            low32(id >> 32),
            if ours { place as usize } else { usize::MAX },
        )
    }

    fn join(&self, uses: u32, place: u32) -> u64 {
        u64::from(uses) << 32 | u64::from(self.worker) << PLACE_BITS | u64::from(place)
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Adds what `make` gives for its number.
    pub(crate) fn insert_with(&mut self, make: impl FnOnce(u64) -> T) -> u64 {
        let place = self.free.pop().unwrap_or_else(|| {
            self.entries.push((0, None));
            u32::try_from(self.entries.len() - 1).unwrap_or(u32::MAX)
        });
        let entry = &mut self.entries[place as usize];
        entry.0 = entry.0.wrapping_add(1).max(1);
        let uses = entry.0;
        let id = self.join(uses, place);
        self.entries[place as usize].1 = Some(make(id));
        self.len += 1;
        id
    }

    pub(crate) fn get(&self, id: u64) -> Option<&T> {
        let (uses, place) = self.split(id);
        let entry = self.entries.get(place)?;
        entry.1.as_ref().filter(|_| entry.0 == uses)
    }

    pub(crate) fn get_mut(&mut self, id: u64) -> Option<&mut T> {
        let (uses, place) = self.split(id);
        let entry = self.entries.get_mut(place)?;
        entry.1.as_mut().filter(|_| entry.0 == uses)
    }

    pub(crate) fn remove(&mut self, id: u64) -> Option<T> {
        let (uses, place) = self.split(id);
        let entry = self
            .entries
            .get_mut(place)
            .filter(|entry| entry.0 == uses)?;
        let removed = entry.1.take()?;
        self.free.push(low32(id) & ((1 << PLACE_BITS) - 1));
        self.len -= 1;
        Some(removed)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().filter_map(|(_, value)| value.as_ref())
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.entries
            .iter_mut()
            .filter_map(|(_, value)| value.as_mut())
    }

    /// Every number, as they are now.
    pub(crate) fn ids(&self) -> Vec<u64> {
        let taken = (0_u32..)
            .zip(&self.entries)
            .filter(|(_, (_, value))| value.is_some());
        taken
            .map(|(place, (uses, _))| self.join(*uses, place))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Slab;

    #[test]
    fn a_number_never_means_a_second_thing() {
        let mut slab = Slab::new(3);
        let first = slab.insert_with(|_| 'a');
        assert_eq!(slab.remove(first), Some('a'));
        let second = slab.insert_with(|_| 'b');
        assert_ne!(first, second);
        assert_eq!(
            (slab.get(first), slab.get(second), slab.len()),
            (None, Some(&'b'), 1)
        );
        assert_eq!(super::worker_of(second), 3);
        assert_eq!(Slab::<char>::new(4).get(second), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.ids(), [second]);
    }
}
