//! A writer: one write after the other into partitions of its own. Half of them send a write again, with the same
//! request id, until they know; the others leave it open when the answer is lost.

use super::super::Shared;
use super::super::doors::{did_nothing, is_final};
use super::super::ledger::{Action, COUNTERS, Outcome, PARTITION_ROWS, Place, Row};
use super::{TOPIC, int};
use crate::messages::Seeded;
use chatdb::{ErrorKind, Statement, Value};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a writer sends the same request again.
const INSIST: Duration = Duration::from_secs(20);
const WAIT_MIN_MS: u64 = 20;
const WAIT_MAX_MS: u64 = 400;

struct Writer {
    shared: Arc<Shared>,
    number: usize,
    random: Seeded,
    part: u32,
    /// Rows of the partition that were begun.
    rows: u32,
    insists: bool,
    node: usize,
}

/// Writes until told to stop.
pub(super) async fn run(shared: Arc<Shared>, number: usize) {
    let seed = shared
        .ledger
        .seed
        .wrapping_mul(31)
        .wrapping_add(number as u64);
    let mut writer = Writer {
        number,
        random: Seeded::new(seed),
        part: 0,
        rows: 0,
        insists: number.is_multiple_of(2),
        node: number,
        shared,
    };
    while !writer.shared.is_stopped() {
        let begun = Instant::now();
        let action = writer.choose();
        writer.write(action).await;
        let pause = writer.shared.options.pace().saturating_sub(begun.elapsed());
        tokio::time::sleep(pause).await;
    }
}

impl Writer {
    fn choose(&mut self) -> Action {
        if self.rows == PARTITION_ROWS {
            (self.part, self.rows) = (self.part + 1, 0);
        }
        let stored = self.stored();
        let (part, row) = (self.part, self.rows);
        let one = stored.get(self.random.below(stored.len().max(1))).copied();
        match (self.random.next() % 100, one) {
            (0..8, Some(row)) => return Action::Delete { part, row },
            (8..10, Some(from)) => {
                let to = self.rows.min(from + 4);
                return Action::DeleteRange { part, from, to };
            }
            (10..14, Some(row)) => return Action::InsertAgain { part, row },
            (14..26, _) => {
                let counter = u32::try_from(self.random.below(COUNTERS as usize)).unwrap_or(0);
                let amount = i64::try_from(self.random.below(9)).unwrap_or(0) - 2;
                return Action::Add { counter, amount };
            }
            _ => {}
        }
        self.rows += 1;
        if self.random.next().is_multiple_of(8) {
            Action::InsertNew { part, row }
        } else {
            Action::Insert { part, row }
        }
    }

    /// Rows of the partition that are there for sure.
    fn stored(&self) -> Vec<u32> {
        let rows = self.shared.ledger.of(self.number).lock().rows(self.part);
        let is_there = |row: &Row| row.is(Row::STORED) && !row.is(Row::LEAVING);
        (0..)
            .zip(&rows)
            .filter(|(_, row)| is_there(row))
            .map(|(at, _)| at)
            .collect()
    }

    fn statement(&self, action: Action, number: usize) -> Statement {
        let writer = Value::Int(i32::try_from(self.number).unwrap_or(i32::MAX));
        let body = |part, row| Value::from(self.shared.ledger.body(self.number, part, row));
        let (text, values) = match action {
            Action::Insert { part, row } => (
                "INSERT INTO chaos.rows (writer, part, row, body) VALUES (?, ?, ?, ?)",
                vec![writer, int(part), int(row), body(part, row)],
            ),
            Action::InsertNew { part, row } | Action::InsertAgain { part, row } => (
                "INSERT INTO chaos.rows (writer, part, row, body) VALUES (?, ?, ?, ?) IF NOT EXISTS",
                vec![writer, int(part), int(row), body(part, row)],
            ),
            Action::Delete { part, row } => (
                "DELETE FROM chaos.rows WHERE writer = ? AND part = ? AND row = ?",
                vec![writer, int(part), int(row)],
            ),
            Action::DeleteRange { part, from, to } => (
                "DELETE FROM chaos.rows WHERE writer = ? AND part = ? AND row >= ? AND row < ?",
                vec![writer, int(part), int(from), int(to)],
            ),
            Action::Add { counter, amount } => (
                "UPDATE chaos.sums SET total = total + ? WHERE writer = ? AND counter = ?",
                vec![Value::BigInt(amount), writer, int(counter)],
            ),
        };
        let mut note = Vec::with_capacity(8);
        note.extend(u32::try_from(self.number).unwrap_or(u32::MAX).to_le_bytes());
        note.extend(u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
        // One at a time: what came before was answered or given up.
        let client = self.shared.ledger.client(self.number);
        Statement::new(text)
            .bind(values)
            .topic(TOPIC)
            .note(note)
            .numbered(client, number as u64, number as u64)
    }

    async fn write(&mut self, action: Action) {
        let number = self.shared.ledger.of(self.number).lock().begin(action);
        let statement = self.statement(action, number);
        let outcome = self.send(action, &statement).await;
        self.shared
            .ledger
            .of(self.number)
            .lock()
            .end(number, outcome);
        // What is still on its way must not meet a row that is deleted meanwhile.
        if matches!(action, Action::InsertAgain { .. }) && outcome == Outcome::Unknown {
            self.rows = PARTITION_ROWS;
        }
    }

    async fn send(&mut self, action: Action, statement: &Statement) -> Outcome {
        let begun = Instant::now();
        let (mut wait, mut may_have_acted) = (WAIT_MIN_MS, false);
        loop {
            let sent = Instant::now();
            match self
                .shared
                .doors
                .execute(self.node, statement.clone())
                .await
            {
                Ok(result) => {
                    let place = result.position.map(|position| Place {
                        group: position.group,
                        index: position.index,
                        op: position.op,
                    });
                    self.shared
                        .timeline
                        .acknowledged(place.map(|it| it.group), sent);
                    return self.judge(action, result.applied, place);
                }
                Err(error) => {
                    self.shared.findings.error(&error);
                    if is_final(&error) || error.kind() == ErrorKind::Conflict {
                        let text = format!("writer {}: {action:?}: {error}", self.number);
                        self.shared.findings.violation(text);
                        return Outcome::Unknown;
                    }
                    may_have_acted |= !did_nothing(&error);
                    let is_over = begun.elapsed() > INSIST;
                    match (is_over, may_have_acted) {
                        (true, false) => return Outcome::Nothing,
                        (true, true) => return Outcome::Unknown,
                        (false, true) if !self.insists => return Outcome::Unknown,
                        (false, _) => {}
                    }
                }
            }
            self.node += 1;
            let jitter = self.random.next() % wait;
            tokio::time::sleep(Duration::from_millis(wait / 2 + jitter)).await;
            wait = (wait * 2).min(WAIT_MAX_MS);
        }
    }

    fn judge(&self, action: Action, applied: Option<bool>, place: Option<Place>) -> Outcome {
        let done = Outcome::Done { place };
        let wrong = match (action, applied) {
            (Action::InsertNew { .. }, Some(true)) => return done,
            (Action::InsertNew { .. }, _) => "a row that nobody else writes was there before",
            (Action::InsertAgain { .. }, Some(false)) => return Outcome::Nothing,
            (Action::InsertAgain { .. }, _) => "an acknowledged row was not there",
            (_, Some(false)) => "a write without condition says that it was not applied",
            _ => return done,
        };
        let text = format!("writer {}: {action:?}: {wrong}", self.number);
        self.shared.findings.violation(text);
        done
    }
}
