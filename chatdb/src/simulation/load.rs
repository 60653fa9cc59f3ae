//! The clients of a run, and what they know for certain.
//!
//! A writer has partitions of its own and does one thing after the other, so that it knows what a strong read must
//! tell: for each row the one value that was acknowledged, or one of several after an outcome that is not known.

use super::listener::{Heard, Write, note_of};
use super::registers::Registers;
use super::system::split_mix;
use crate::db::Db;
use crate::db::options::ConnectOptions;
use crate::node::network::Network;
use crate::{Consistency, ErrorKind, Position, ResultSet, Statement, Value};
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// The topic of every write.
pub(super) const TOPIC: &str = "all";
/// Partitions of a writer, and rows of each.
const PARTITIONS: u64 = 4;
const ROWS: u64 = 12;
/// How long a client waits for one request with all its attempts.
const DEADLINE: Duration = Duration::from_secs(8);
/// Pause between the requests of a client, at most.
pub(super) const PAUSE_MS: u64 = 60;
/// How often one row is asked for again before that is a finding.
const INSIST: Duration = Duration::from_mins(1);

const SCHEMA: [&str; 4] = [
    "CREATE KEYSPACE sim",
    "CREATE TABLE sim.rows (writer bigint, part bigint, row bigint, body bigint, pad text, PRIMARY KEY ((writer, part), row))",
    "CREATE TABLE sim.sums (writer bigint, total counter, PRIMARY KEY (writer))",
    "CREATE TABLE sim.registers (name bigint PRIMARY KEY, value bigint)",
];

/// A row of random numbers.
#[derive(Clone, Debug)]
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, end: u64) -> u64 {
        let (mixed, state) = split_mix(self.0);
        self.0 = state;
        mixed % end
    }
}

/// Writer, partition, row.
type Key = (u64, u64, u64);

/// What is known of all rows.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// The values that a row may have; `None` is no row.
    rows: BTreeMap<Key, BTreeSet<Option<i64>>>,
    /// Whether each write was acknowledged.
    writes: BTreeMap<Write, bool>,
    /// By writer, the least and the most that a counter may be.
    sums: BTreeMap<u64, (i64, i64)>,
    pub(super) acknowledged: u64,
    pub(super) unknown: u64,
    pub(super) reads: u64,
    pub(super) refused: BTreeMap<String, u64>,
}

/// What all clients share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) network: Arc<dyn Network>,
    pub(super) nodes: Vec<String>,
    pub(super) ledger: Mutex<Ledger>,
    pub(super) registers: Registers,
    pub(super) heard: Vec<Mutex<Heard>>,
    /// Decisions that were asked for.
    pub(super) changes: AtomicU64,
    /// Nobody begins anything any more.
    pub(super) stop: AtomicBool,
    /// Nobody listens any more either.
    pub(super) checked: AtomicBool,
}

/// What a writer does next.
#[derive(Clone, Copy, Debug)]
enum Action {
    Put(Key, i64),
    Delete(Key),
    Add(i64),
    Read(u64),
}

/// A write's number, which partition it is of, and what it does.
#[derive(Debug)]
struct Step {
    writer: u64,
    number: u64,
    action: Action,
}

/// One writer.
struct Writer {
    db: Db,
    random: Random,
    /// The last acknowledged write of each partition.
    positions: BTreeMap<u64, Position>,
}

impl Shared {
    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    pub(super) fn is_checked(&self) -> bool {
        self.checked.load(Ordering::Relaxed)
    }

    /// A listener that has not heard of everything that was acknowledged, and has been told of no gap.
    pub(super) fn unheard(&self) -> Option<String> {
        let ledger = self.ledger.lock();
        let mut listeners = self.heard.iter().enumerate();
        listeners.find_map(|(number, heard)| {
            let heard = heard.lock();
            for write in heard.writes.keys() {
                assert!(
                    ledger.writes.contains_key(write),
                    "nobody made write {write:?}"
                );
            }
            let mut acknowledged = ledger.writes.iter().filter(|(_, is_known)| **is_known);
            let missed = acknowledged.find(|(write, _)| !heard.writes.contains_key(*write));
            let (missed, _) = missed.filter(|_| heard.gaps == 0)?;
            Some(format!("listener {number} has not heard of {missed:?}"))
        })
    }

    /// A client with connections of its own.
    pub(super) async fn connect(&self) -> Db {
        let mut options = ConnectOptions::new(self.nodes.clone());
        options.deadline = DEADLINE;
        loop {
            if let Ok(db) = Db::connect_over(&options, &self.network).await {
                return db;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Runs what may be run twice until it has an answer.
    pub(super) async fn insist(&self, db: &Db, statement: &Statement) -> ResultSet {
        let end = Instant::now() + INSIST;
        loop {
            match db.execute(statement.clone()).await {
                Ok(result) => return result,
                Err(error) => {
                    let late = Instant::now() > end;
                    assert!(
                        !late,
                        "no answer within {INSIST:?}: {error:?}, {statement:?}"
                    );
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Makes the tables.
pub(super) async fn make_tables(shared: &Shared, db: &Db) {
    for text in SCHEMA {
        let end = Instant::now() + INSIST;
        loop {
            match db.execute(Statement::new(text)).await {
                Ok(_) => break,
                Err(error) if error.message().contains("exists") => break,
                Err(error) => assert!(Instant::now() < end, "no schema: {error:?}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    shared.ledger.lock().acknowledged += 1;
}

/// One writer, until told to stop.
pub(super) async fn write(shared: Arc<Shared>, writer: u64, seed: u64) {
    let mut own = Writer {
        db: shared.connect().await,
        random: Random(seed ^ (writer << 40)),
        positions: BTreeMap::new(),
    };
    let mut number = 0;
    while !shared.is_stopped() {
        number += 1;
        let random = &mut own.random;
        let key = (writer, random.below(PARTITIONS), random.below(ROWS));
        let action = match random.below(10) {
            0..5 => Action::Put(key, number),
            5 => Action::Delete(key),
            6 | 7 => Action::Add(1 << random.below(8)),
            _ => Action::Read(key.1),
        };
        let step = Step {
            writer,
            number: number.cast_unsigned(),
            action,
        };
        own.act(&shared, step).await;
        let pause = own.random.below(PAUSE_MS);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}

fn int(number: u64) -> Value {
    Value::BigInt(number.cast_signed())
}

impl Writer {
    async fn act(&mut self, shared: &Shared, step: Step) {
        let random = &mut self.random;
        let statement = match step.action {
            Action::Put((writer, part, row), body) => {
                // So large that tablets flush and merge in a short life.
                let pad = "x".repeat(usize::try_from(random.below(900)).unwrap_or(0));
                let text =
                    "INSERT INTO sim.rows (writer, part, row, body, pad) VALUES (?, ?, ?, ?, ?)";
                let key = [writer, part, row].map(int).into_iter();
                let values = key.chain([Value::BigInt(body), Value::from(pad)]);
                Statement::new(text).bind(values.collect())
            }
            Action::Delete((writer, part, row)) => {
                let text = "DELETE FROM sim.rows WHERE writer = ? AND part = ? AND row = ?";
                Statement::new(text).bind([writer, part, row].map(int).to_vec())
            }
            Action::Add(amount) => {
                let text = "UPDATE sim.sums SET total = total + ? WHERE writer = ?";
                Statement::new(text).bind(vec![Value::BigInt(amount), int(step.writer)])
            }
            Action::Read(part) => return self.read(shared, (step.writer, part)).await,
        };
        let part = step.action.part();
        let note = note_of((step.writer, step.number), part.unwrap_or(u64::MAX));
        let outcome = self.db.execute(statement.topic(TOPIC).note(note)).await;
        if let (Some(part), Ok(Some(position))) = (part, outcome.as_ref().map(|it| it.position)) {
            self.positions.insert(part, position);
        }
        shared.ledger.lock().note(&step, &outcome);
    }

    /// Reads what nobody else writes: at the leader, or at any replica what this writer was told of.
    async fn read(&mut self, shared: &Shared, of: (u64, u64)) {
        let after = self.positions.get(&of.1).copied();
        let (consistency, after) = match self.random.below(4) {
            0 => (Consistency::Serial, None),
            1 if after.is_some() => (Consistency::One, after),
            _ => (Consistency::Quorum, None),
        };
        if let Ok(seen) = pages(&self.db, of, (consistency, after)).await {
            let mut ledger = shared.ledger.lock();
            ledger.reads += 1;
            ledger.judge(of, &seen, &format!("a read with {consistency:?}"));
        }
    }
}

impl Action {
    /// The partition whose order it is part of.
    fn part(self) -> Option<u64> {
        match self {
            Self::Put((_, part, _), _) | Self::Delete((_, part, _)) => Some(part),
            Self::Add(_) | Self::Read(_) => None,
        }
    }
}

impl Ledger {
    fn note(&mut self, step: &Step, outcome: &crate::Result<ResultSet>) {
        let Step {
            writer,
            number,
            action,
        } = *step;
        let is_known = outcome.is_ok();
        if let Err(error) = outcome {
            assert!(
                !matches!(
                    error.kind(),
                    ErrorKind::Invalid | ErrorKind::Bug | ErrorKind::Corrupt
                ),
                "{action:?}: {error:?}"
            );
            *self
                .refused
                .entry(format!("{:?}", error.kind()))
                .or_default() += 1;
        }
        self.writes.insert((writer, number), is_known);
        self.acknowledged += u64::from(is_known);
        self.unknown += u64::from(!is_known);
        let (key, value) = match action {
            Action::Put(key, body) => (key, Some(body)),
            Action::Delete(key) => (key, None),
            Action::Add(amount) => {
                let (least, most) = self.sums.entry(writer).or_default();
                *least += if is_known { amount } else { 0 };
                *most += amount;
                return;
            }
            Action::Read(_) => return,
        };
        let values = self
            .rows
            .entry(key)
            .or_insert_with(|| BTreeSet::from([None]));
        if is_known {
            // What came before was answered or given up: a copy of it that arrives now is not applied.
            values.clear();
        }
        values.insert(value);
    }

    /// What a partition must hold, by row.
    fn of(&self, (writer, part): (u64, u64)) -> BTreeMap<u64, BTreeSet<Option<i64>>> {
        let all = self
            .rows
            .range((writer, part, 0)..=(writer, part, u64::MAX));
        all.map(|((_, _, row), values)| (*row, values.clone()))
            .collect()
    }

    pub(super) fn judge(&self, of: (u64, u64), seen: &BTreeMap<u64, i64>, when: &str) {
        let known = self.of(of);
        for (row, values) in &known {
            let found = seen.get(row).copied();
            assert!(
                values.contains(&found),
                "{when}: row {row} of {of:?} is {found:?} and must be one of {values:?}"
            );
        }
        for row in seen.keys() {
            assert!(
                known.contains_key(row),
                "{when}: nobody wrote row {row} of {of:?}"
            );
        }
    }

    pub(super) fn writers(&self) -> BTreeSet<u64> {
        self.rows.keys().map(|key| key.0).collect()
    }

    pub(super) fn judge_sum(&self, writer: u64, sum: i64, when: &str) {
        let (least, most) = self.sums.get(&writer).copied().unwrap_or_default();
        assert!(
            (least..=most).contains(&sum),
            "{when}: the counter of {writer} is {sum} and must be within {least} and {most}"
        );
    }
}

/// Writes to all tablets now and then what nobody looks at, until the check is over.
pub(super) async fn nudge(shared: Arc<Shared>) {
    let db = shared.connect().await;
    while !shared.is_checked() {
        for part in 0..16 {
            let text = "INSERT INTO sim.rows (writer, part, row, body) VALUES (?, ?, 0, 0)";
            let statement = Statement::new(text).bind(vec![Value::BigInt(-1), int(part)]);
            if let Err(error) = db.execute(statement).await {
                assert_ne!(error.kind(), ErrorKind::Bug, "{error:?}");
            }
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Reads a partition page by page.
async fn pages(
    db: &Db,
    (writer, part): (u64, u64),
    (consistency, after): (Consistency, Option<Position>),
) -> crate::Result<BTreeMap<u64, i64>> {
    let mut rows = BTreeMap::new();
    let mut state: Option<Bytes> = None;
    loop {
        let text = "SELECT row, body FROM sim.rows WHERE writer = ? AND part = ?";
        let mut statement = Statement::new(text)
            .bind(vec![int(writer), int(part)])
            .consistency(consistency)
            .page_size(5)
            .page_state(state.take());
        statement.after = after;
        let page = db.execute(statement).await?;
        for row in &page.rows {
            if let [Value::BigInt(row), Value::BigInt(body)] = row.values() {
                rows.insert(row.cast_unsigned(), *body);
            }
        }
        state = page.page_state;
        if state.is_none() {
            return Ok(rows);
        }
    }
}

/// Every partition and every counter, once all is quiet.
pub(super) async fn check_all(shared: &Shared, db: &Db, when: &str) {
    let writers = shared.ledger.lock().writers();
    for writer in writers {
        for part in 0..PARTITIONS {
            let end = Instant::now() + INSIST;
            let seen = loop {
                match pages(db, (writer, part), (Consistency::Serial, None)).await {
                    Ok(seen) => break seen,
                    Err(error) => assert!(Instant::now() < end, "{when}: {error:?}"),
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            };
            shared.ledger.lock().judge((writer, part), &seen, when);
        }
        let text = "SELECT total FROM sim.sums WHERE writer = ?";
        let statement = Statement::new(text).bind(vec![int(writer)]);
        let result = shared
            .insist(db, &statement.consistency(Consistency::Serial))
            .await;
        let sum = match result.rows.first().map(crate::Row::values) {
            Some([Value::BigInt(sum)]) => *sum,
            _ => 0,
        };
        shared.ledger.lock().judge_sum(writer, sum, when);
    }
}
