//! What every writer asked and what it was told: the truth that reads, scans and streams are held against.
//!
//! A writer has one request under way at a time and partitions of its own, so that what it knows is in order. A row is
//! inserted once and deleted at most once, and only after its insert was acknowledged. So the memory of a row is a few
//! flags, and each check is one pass.

use crate::messages::Seeded;
use parking_lot::Mutex;
use std::collections::BTreeSet;

/// Rows of one partition, before the writer begins the next.
pub(crate) const PARTITION_ROWS: u32 = 64;
/// Counters of one writer.
pub(crate) const COUNTERS: u32 = 4;

/// What a write does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Insert {
        part: u32,
        row: u32,
    },
    /// `IF NOT EXISTS`, of a row that is new.
    InsertNew {
        part: u32,
        row: u32,
    },
    /// `IF NOT EXISTS`, of a row that is there: nothing may happen.
    InsertAgain {
        part: u32,
        row: u32,
    },
    Delete {
        part: u32,
        row: u32,
    },
    /// The rows from the first up to, not including, the second.
    DeleteRange {
        part: u32,
        from: u32,
        to: u32,
    },
    Add {
        counter: u32,
        amount: i64,
    },
}

/// Where a write took its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    pub(crate) group: u64,
    pub(crate) index: u64,
    pub(crate) op: u16,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Still under way.
    Open,
    /// Acknowledged at a place. A request that was repeated may have its effect at an earlier one.
    Done { place: Option<Place> },
    /// It did nothing: a condition did not hold, or the database refused it.
    Nothing,
    /// Nobody knows.
    Unknown,
}

/// One write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Write {
    pub(crate) action: Action,
    pub(crate) outcome: Outcome,
}

/// What is known of a row, as flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Row(u8);

impl Row {
    /// Its insert was sent.
    pub(crate) const SENT: u8 = 1;
    /// Its insert was acknowledged.
    pub(crate) const STORED: u8 = 2;
    /// Its delete was sent.
    pub(crate) const LEAVING: u8 = 4;
    /// Its delete was acknowledged, after its insert.
    pub(crate) const DELETED: u8 = 8;
    /// A strong read has seen it.
    pub(crate) const SEEN: u8 = 16;
    /// A strong read has seen that it is deleted.
    pub(crate) const GONE: u8 = 32;

    pub(crate) fn is(self, flags: u8) -> bool {
        self.0 & flags != 0
    }

    fn set(&mut self, flags: u8) {
        self.0 |= flags;
    }

    /// Whether the row must be there, must not, or may be either.
    pub(crate) fn expected(self) -> Expected {
        if self.is(Self::DELETED | Self::GONE) || !self.is(Self::SENT) {
            Expected::Absent
        } else if self.is(Self::STORED | Self::SEEN) && !self.is(Self::LEAVING) {
            Expected::Present
        } else {
            Expected::Either
        }
    }
}

/// What a row must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    Present,
    Absent,
    Either,
}

/// What one writer knows.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) writes: Vec<Write>,
    /// Rows of each partition.
    pub(crate) parts: Vec<Vec<Row>>,
    /// For each counter: sum of what was acknowledged, and of what may have counted, up and down.
    pub(crate) counters: [Sum; COUNTERS as usize],
}

/// What a counter must be between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) sure: i64,
    pub(crate) up: i64,
    pub(crate) down: i64,
}

impl Sum {
    pub(crate) fn allows(self, value: i64) -> bool {
        (self.sure - self.down..=self.sure + self.up).contains(&value)
    }
}

/// All writers of a run.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) seed: u64,
    writers: Vec<Mutex<Known>>,
}

impl Ledger {
    pub(crate) fn new(seed: u64, writers: usize) -> Self {
        Self {
            seed,
            writers: (0..writers).map(|_| Mutex::new(Known::default())).collect(),
        }
    }

    pub(crate) fn writers(&self) -> usize {
        self.writers.len()
    }

    /// What the writer knows.
    pub(crate) fn of(&self, writer: usize) -> &Mutex<Known> {
        &self.writers[writer]
    }

    /// The text of a row: nobody else could have written it.
    pub(crate) fn body(&self, writer: usize, part: u32, row: u32) -> String {
        let place = (u64::from(part) << 32) | u64::from(row);
        let mut random = Seeded::new(self.seed ^ (writer as u64) << 48 ^ place);
        let words = 1 + random.below(8);
        let words: Vec<String> = (0..words)
            .map(|_| format!("{:016x}", random.next()))
            .collect();
        words.concat()
    }

    /// Under which the database knows a writer.
    pub(crate) fn client(&self, writer: usize) -> u64 {
        (self.seed | 1) << 20 | writer as u64
    }
}

impl Known {
    /// Notes that a write is sent; returns its number.
    pub(crate) fn begin(&mut self, action: Action) -> usize {
        match action {
            Action::Insert { part, row } | Action::InsertNew { part, row } => {
                self.row(part, row).set(Row::SENT);
            }
            Action::Delete { part, row } => self.row(part, row).set(Row::LEAVING),
            Action::DeleteRange { part, from, to } => {
                for row in from..to {
                    self.row(part, row).set(Row::LEAVING);
                }
            }
            Action::InsertAgain { .. } | Action::Add { .. } => {}
        }
        let outcome = Outcome::Open;
        self.writes.push(Write { action, outcome });
        self.writes.len() - 1
    }

    /// Notes what became of it.
    pub(crate) fn end(&mut self, number: usize, outcome: Outcome) {
        let write = &mut self.writes[number];
        write.outcome = outcome;
        let action = write.action;
        let is_done = matches!(outcome, Outcome::Done { .. });
        match action {
            Action::Insert { part, row } | Action::InsertNew { part, row } if is_done => {
                self.row(part, row).set(Row::STORED);
            }
            Action::Delete { part, row } if is_done => self.deleted(part, row..row + 1),
            Action::DeleteRange { part, from, to } if is_done => self.deleted(part, from..to),
            Action::Add { counter, amount } => {
                let sum = &mut self.counters[counter as usize];
                match outcome {
                    Outcome::Done { .. } => sum.sure += amount,
                    Outcome::Unknown if amount > 0 => sum.up += amount,
                    Outcome::Unknown => sum.down -= amount,
                    Outcome::Open | Outcome::Nothing => {}
                }
            }
            _ => {}
        }
    }

    /// An insert whose outcome is not known may still come, after the delete of its range.
    fn deleted(&mut self, part: u32, rows: std::ops::Range<u32>) {
        for row in rows {
            let row = self.row(part, row);
            if row.is(Row::STORED) {
                row.set(Row::DELETED);
            }
        }
    }

    fn row(&mut self, part: u32, row: u32) -> &mut Row {
        let part = part as usize;
        if self.parts.len() <= part {
            self.parts.resize_with(part + 1, Vec::new);
        }
        let rows = &mut self.parts[part];
        let row = row as usize;
        if rows.len() <= row {
            rows.resize(row + 1, Row::default());
        }
        &mut rows[row]
    }

    /// The rows of a partition as they are known now.
    pub(crate) fn rows(&self, part: u32) -> Vec<Row> {
        self.parts.get(part as usize).cloned().unwrap_or_default()
    }

    /// Keeps what a strong read has shown, for the reads that begin after it.
    pub(crate) fn remember(&mut self, part: u32, before: &[Row], found: &BTreeSet<u32>) {
        for (at, was) in (0_u32..).zip(before) {
            let row = self.row(part, at);
            if found.contains(&at) {
                row.set(Row::SEEN);
            } else if was.is(Row::STORED | Row::SEEN) && row.is(Row::LEAVING) {
                row.set(Row::GONE);
            }
        }
    }
}

/// What is wrong with the rows that a read of one partition found, given what was known before it began and after it
/// ended. A weak read may be behind; it never shows what nobody wrote.
pub(crate) fn judge_read(
    before: &[Row],
    after: &[Row],
    found: &BTreeSet<u32>,
    is_strong: bool,
) -> Option<String> {
    for row in found {
        let known = after.get(*row as usize).copied().unwrap_or_default();
        if !known.is(Row::SENT) {
            return Some(format!("row {row} was found, which nobody wrote"));
        }
    }
    if !is_strong {
        return None;
    }
    for (at, (was, is)) in (0_u32..).zip(before.iter().zip(after)) {
        let is_there = found.contains(&at);
        if !is_there && was.is(Row::STORED | Row::SEEN) && !is.is(Row::LEAVING) {
            let why = if was.is(Row::STORED) {
                "acknowledged"
            } else {
                "seen by a read"
            };
            return Some(format!("row {at} is missing, which was {why} before"));
        }
        if is_there && was.is(Row::DELETED | Row::GONE) {
            let why = if was.is(Row::DELETED) {
                "acknowledged"
            } else {
                "seen by a read"
            };
            return Some(format!("row {at} is back; its delete was {why} before"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done() -> Outcome {
        Outcome::Done { place: None }
    }

    fn with(actions: &[(Action, Outcome)]) -> Known {
        let mut known = Known::default();
        for (action, outcome) in actions {
            let number = known.begin(*action);
            known.end(number, *outcome);
        }
        known
    }

    #[test]
    fn a_read_must_show_what_was_acknowledged_and_nothing_else() {
        let known = with(&[
            (Action::Insert { part: 0, row: 0 }, done()),
            (Action::Insert { part: 0, row: 1 }, Outcome::Unknown),
            (Action::InsertNew { part: 0, row: 2 }, done()),
            (Action::Delete { part: 0, row: 2 }, done()),
        ]);
        let rows = known.rows(0);
        let judge =
            |found: &[u32]| judge_read(&rows, &rows, &found.iter().copied().collect(), true);
        assert_eq!(judge(&[0]), None);
        assert_eq!(judge(&[0, 1]), None);
        assert!(judge(&[1]).expect("a row is lost").contains("missing"));
        assert!(judge(&[0, 2]).expect("a row is back").contains("back"));
        assert!(judge(&[0, 9]).expect("a row too many").contains("nobody"));
    }

    #[test]
    fn what_one_read_showed_the_next_must_show() {
        let mut known = with(&[
            (Action::Insert { part: 0, row: 0 }, Outcome::Unknown),
            (Action::Insert { part: 0, row: 1 }, done()),
            (Action::Delete { part: 0, row: 1 }, Outcome::Unknown),
        ]);
        let before = known.rows(0);
        let found = BTreeSet::from([0]);
        assert_eq!(judge_read(&before, &before, &found, true), None);
        known.remember(0, &before, &found);
        let rows = known.rows(0);
        assert_eq!(judge_read(&rows, &rows, &found, true), None);
        let lost = judge_read(&rows, &rows, &BTreeSet::new(), true);
        assert!(lost.expect("it was seen").contains("missing"));
        let back = judge_read(&rows, &rows, &BTreeSet::from([0, 1]), true);
        assert!(back.expect("it was gone").contains("back"));
        let behind = judge_read(&rows, &rows, &BTreeSet::new(), false);
        assert_eq!(behind, None, "a weak read may be behind");
    }

    #[test]
    fn an_unknown_insert_may_come_after_the_delete_of_its_range() {
        let known = with(&[
            (Action::Insert { part: 0, row: 0 }, Outcome::Unknown),
            (Action::Insert { part: 0, row: 1 }, done()),
            (
                Action::DeleteRange {
                    part: 0,
                    from: 0,
                    to: 2,
                },
                done(),
            ),
        ]);
        assert_eq!(known.rows(0)[0].expected(), Expected::Either);
        assert_eq!(known.rows(0)[1].expected(), Expected::Absent);
    }

    #[test]
    fn a_counter_is_between_what_surely_and_what_perhaps_counted() {
        let add = |amount| Action::Add { counter: 1, amount };
        let known = with(&[
            (add(5), done()),
            (add(3), Outcome::Unknown),
            (add(-2), Outcome::Unknown),
            (add(100), Outcome::Nothing),
        ]);
        let sum = known.counters[1];
        let allowed: Vec<i64> = (0..12).filter(|value| sum.allows(*value)).collect();
        assert_eq!(allowed, [3, 4, 5, 6, 7, 8]);
    }
}
