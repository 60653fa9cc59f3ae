//! A timer wheel of whole seconds: heartbeat deadlines and session expiry for all connections.
//!
//! Sans-IO: the owner says which second it is. One tick looks only at one slot, and an entry whose
//! deadline has moved meanwhile is put back by the owner, so that a heartbeat costs one store.
//!
//! Cost: insert O(1); a tick O(entries of its slot).

/// Slots; deadlines further away go round.
const SLOTS: usize = 128;

/// Entries by the second in which they are due.
#[derive(Debug)]
pub(super) struct Wheel<T> {
    slots: Vec<Vec<(u64, T)>>,
    now_s: u64,
}

impl<T> Wheel<T> {
    /// An empty wheel at second `now_s`.
    pub(super) fn new(now_s: u64) -> Self {
        Self {
            slots: (0..SLOTS).map(|_| Vec::new()).collect(),
            now_s,
        }
    }

    /// Adds an entry that is due at `deadline_s`, at the next tick at the earliest.
    pub(super) fn insert(&mut self, deadline_s: u64, entry: T) {
        let deadline_s = deadline_s.max(self.now_s + 1);
        self.slot(deadline_s).push((deadline_s, entry));
    }

    /// Moves to `now_s` and takes out what is due.
    pub(super) fn advance(&mut self, now_s: u64) -> Vec<T> {
        let mut due = Vec::new();
        while self.now_s < now_s {
            self.now_s += 1;
            let second = self.now_s;
            let entries = std::mem::take(self.slot(second));
            for (deadline_s, entry) in entries {
                if deadline_s <= second {
                    due.push(entry);
                } else {
                    self.slot(deadline_s).push((deadline_s, entry));
                }
            }
        }
        due
    }

    fn slot(&mut self, second: u64) -> &mut Vec<(u64, T)> {
        let index = usize::try_from(second % SLOTS as u64).unwrap_or_default();
        &mut self.slots[index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_due_once_at_its_second() {
        let mut wheel = Wheel::new(10);
        for deadline in [5, 11, 12, 12, 400] {
            wheel.insert(deadline, deadline);
        }
        assert_eq!(wheel.advance(10), Vec::<u64>::new());
        assert_eq!(wheel.advance(11), [5, 11]);
        assert_eq!(wheel.advance(399), [12, 12]);
        assert_eq!(wheel.advance(500), [400]);
    }
}
