//! A place that changes with every row: its key is copied into the same buffer each time.

use crate::row::range::{Edge, Place, Side};

/// A [`Place`] that keeps its buffer.
#[derive(Debug)]
pub(super) struct Mark {
    key: Vec<u8>,
    /// `None`: after every key.
    side: Option<Side>,
}

impl Default for Mark {
    /// Before every key.
    fn default() -> Self {
        Self {
            key: Vec::new(),
            side: Some(Side::Before),
        }
    }
}

impl Mark {
    /// Moves it.
    pub(super) fn set(&mut self, place: Place<'_>) {
        self.key.clear();
        self.side = match place {
            Place::At(key, side) => {
                self.key.extend_from_slice(key);
                Some(side)
            }
            Place::End => None,
        };
    }

    /// The place where it is.
    pub(super) fn to_edge(&self) -> Edge {
        let place = self.side.map(|side| Place::At(&self.key, side));
        place.unwrap_or(Place::End).to_edge()
    }
}
