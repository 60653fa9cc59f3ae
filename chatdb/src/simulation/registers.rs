//! Registers: a few clients read, set, and compare and set one key, and its history must be one that a single register
//! would give.

use super::load::{PAUSE_MS, Random, Shared};
use crate::db::Db;
use crate::{Consistency, ErrorKind, Statement, Value};
use linear::{Action, Call, Verdict};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Calls of a key after which the next one begins, and unknown outcomes after which it does, because each doubles what
/// must be searched at worst.
const CALLS_MAX: usize = 120;
const UNKNOWN_MAX: usize = 8;

/// What was asked of each key, and told.
#[derive(Debug)]
pub(super) struct Registers {
    began: Instant,
    keys: Mutex<BTreeMap<i64, Vec<Call>>>,
    /// Values that nobody has written.
    fresh: Mutex<i64>,
}

impl Registers {
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            keys: Mutex::default(),
            fresh: Mutex::new(0),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// The key that is worked on.
    fn key(&self) -> i64 {
        let keys = self.keys.lock();
        let Some((name, calls)) = keys.last_key_value() else {
            return 0;
        };
        let unknown = calls.iter().filter(|call| call.ended.is_none()).count();
        name + i64::from(calls.len() >= CALLS_MAX || unknown >= UNKNOWN_MAX)
    }

    /// Looks for an order of every key's calls; how many calls there were.
    pub(super) fn judge(&self) -> usize {
        let keys = self.keys.lock();
        for (name, calls) in &*keys {
            let verdict = linear::check(0, calls);
            assert_ne!(
                verdict,
                Verdict::Violated,
                "register {name} is not linearizable: {calls:#?}"
            );
        }
        keys.values().map(Vec::len).sum()
    }
}

/// One client, until told to stop.
pub(super) async fn run(shared: Arc<Shared>, client: u64, seed: u64) {
    let db = shared.connect().await;
    let mut random = Random(seed ^ (client << 48) ^ 0x1e9);
    let mut last = 0;
    while !shared.is_stopped() {
        let registers = &shared.registers;
        let name = registers.key();
        let fresh = {
            let mut fresh = registers.fresh.lock();
            *fresh += 1;
            *fresh
        };
        let asked = match random.below(10) {
            0..4 => Action::Read(0),
            4..8 => Action::Swapped(last, fresh),
            _ => Action::Write(fresh),
        };
        let begun = registers.now();
        let told = ask(&db, name, asked, random.below(3) == 0).await;
        if let Some((action, is_known)) = told {
            let ended = is_known.then(|| registers.now());
            last = match action {
                Action::Read(value) | Action::Write(value) | Action::Swapped(_, value) => value,
                Action::NotSwapped(_) => last,
            };
            let call = Call {
                begun,
                ended,
                action,
            };
            registers.keys.lock().entry(name).or_default().push(call);
        }
        tokio::time::sleep(Duration::from_millis(random.below(PAUSE_MS))).await;
    }
}

/// What was done, and whether that is known; `None` if surely nothing.
async fn ask(db: &Db, name: i64, asked: Action, is_serial: bool) -> Option<(Action, bool)> {
    let big = Value::BigInt;
    // A register that nobody has set is 0.
    let statement = match asked {
        Action::Write(value) => {
            let text = "UPDATE sim.registers SET value = ? WHERE name = ?";
            Statement::new(text).bind(vec![big(value), big(name)])
        }
        Action::Swapped(0, value) => {
            let text = "INSERT INTO sim.registers (name, value) VALUES (?, ?) IF NOT EXISTS";
            Statement::new(text).bind(vec![big(name), big(value)])
        }
        Action::Swapped(old, value) => {
            let text = "UPDATE sim.registers SET value = ? WHERE name = ? IF value = ?";
            Statement::new(text).bind(vec![big(value), big(name), big(old)])
        }
        Action::Read(_) | Action::NotSwapped(_) => {
            let text = "SELECT value FROM sim.registers WHERE name = ?";
            let consistency = if is_serial {
                Consistency::Serial
            } else {
                Consistency::Quorum
            };
            let statement = Statement::new(text).bind(vec![big(name)]);
            let result = db.execute(statement.consistency(consistency)).await.ok()?;
            let value = match result.rows.first().map(crate::Row::values) {
                Some([Value::BigInt(value)]) => *value,
                _ => 0,
            };
            return Some((Action::Read(value), true));
        }
    };
    match db.execute(statement).await {
        Ok(result) => Some(match (asked, result.applied) {
            (Action::Swapped(old, _), Some(false)) => (Action::NotSwapped(old), true),
            _ => (asked, true),
        }),
        Err(error) => {
            let kind = error.kind();
            let is_wrong = matches!(
                kind,
                ErrorKind::Invalid | ErrorKind::Bug | ErrorKind::Corrupt
            );
            assert!(!is_wrong, "a register: {error:?}");
            Some((asked, false))
        }
    }
}
