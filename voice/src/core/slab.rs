//! Things by number: found without hashing, walked in order, and a number is never used for a second thing.

/// Entries by a number whose low half is a place and whose high half counts the place's uses.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    entries: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
    len: usize,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            free: Vec::new(),
            len: 0,
        }
    }
}

fn split(id: u64) -> (u32, usize) {
    (
        crate::bits::low32(id >> 32),
        crate::bits::low32(id) as usize,
    )
}

impl<T> Slab<T> {
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
        let id = u64::from(entry.0) << 32 | u64::from(place);
        entry.1 = Some(make(id));
        self.len += 1;
        id
    }

    pub(crate) fn get(&self, id: u64) -> Option<&T> {
        let (uses, place) = split(id);
        let entry = self.entries.get(place)?;
        entry.1.as_ref().filter(|_| entry.0 == uses)
    }

    pub(crate) fn get_mut(&mut self, id: u64) -> Option<&mut T> {
        let (uses, place) = split(id);
        let entry = self.entries.get_mut(place)?;
        entry.1.as_mut().filter(|_| entry.0 == uses)
    }

    pub(crate) fn remove(&mut self, id: u64) -> Option<T> {
        let (uses, place) = split(id);
        let entry = self
            .entries
            .get_mut(place)
            .filter(|entry| entry.0 == uses)?;
        let removed = entry.1.take()?;
        self.free.push(crate::bits::low32(id));
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
        let taken = (0_u64..)
            .zip(&self.entries)
            .filter(|(_, (_, value))| value.is_some());
        taken
            .map(|(place, (uses, _))| u64::from(*uses) << 32 | place)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Slab;

    #[test]
    fn a_number_never_means_a_second_thing() {
        let mut slab = Slab::default();
        let first = slab.insert_with(|_| 'a');
        assert_eq!(slab.remove(first), Some('a'));
        let second = slab.insert_with(|_| 'b');
        assert_ne!(first, second);
        assert_eq!(
            (slab.get(first), slab.get(second), slab.len()),
            (None, Some(&'b'), 1)
        );
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.ids(), [second]);
    }
}
