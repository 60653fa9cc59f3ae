//! The last packets of one source, decrypted, for whoever lost one: one cache for all receivers.
//!
//! A ring by packet number whose buffers are used again, so that a packet costs a copy and no allocation.

use crate::bits::low16;

/// A packet that may be asked for again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cached {
    index: Option<u64>,
    pub(crate) timestamp: u32,
    pub(crate) marker: bool,
    pub(crate) orientation: Option<u8>,
    pub(crate) payload: Vec<u8>,
}

/// The ring.
#[derive(Debug)]
pub(crate) struct Cache {
    entries: Vec<Cached>,
    len_max: u16,
}

impl Cache {
    /// Keeps the last `len_max` packets; takes memory as they come.
    pub(crate) const fn new(len_max: u16) -> Self {
        Self {
            entries: Vec::new(),
            len_max,
        }
    }

    fn place(&self, index: u64) -> usize {
        usize::from(low16(index % u64::from(self.len_max)))
    }

    /// Keeps a packet in the place of an older one.
    pub(crate) fn insert(
        &mut self,
        index: u64,
        (timestamp, marker): (u32, bool),
        orientation: Option<u8>,
        payload: &[u8],
    ) {
        let place = self.place(index);
        if self.entries.len() <= place {
            self.entries.resize_with(place + 1, Cached::default);
        }
        let entry = &mut self.entries[place];
        if entry.index.is_some_and(|kept| kept > index) {
            return;
        }
        entry.index = Some(index);
        entry.timestamp = timestamp;
        entry.marker = marker;
        entry.orientation = orientation;
        entry.payload.clear();
        entry.payload.extend_from_slice(payload);
    }

    /// The packet with this number, if it is still here.
    pub(crate) fn get(&self, index: u64) -> Option<&Cached> {
        self.entries
            .get(self.place(index))
            .filter(|entry| entry.index == Some(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_gives_back_what_it_kept_and_nothing_else() {
        let mut cache = Cache::new(8);
        for index in 100..120_u64 {
            cache.insert(index, (0, false), None, &index.to_be_bytes());
        }
        cache.insert(105, (0, false), None, b"late");
        for index in 90..130_u64 {
            let expected = (112..120)
                .contains(&index)
                .then(|| index.to_be_bytes().to_vec());
            assert_eq!(
                cache.get(index).map(|kept| kept.payload.clone()),
                expected,
                "{index}"
            );
        }
    }
}
