//! Registers: a few clients compare and set one key; its history is checked when it has become long enough, and the
//! next key begins.

use super::super::Shared;
use super::super::doors::{did_nothing, is_final};
use crate::messages::Seeded;
use chatdb::{Consistency, Error, Result, ResultSet, Statement, Value};
use linear::{Action, Call, Verdict};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;

/// Clients of one key.
const CLIENTS: usize = 5;
/// Calls of one client on one key.
const CALLS: usize = 60;
/// Unknown outcomes after which a key has had enough: each doubles what must be searched at worst.
const UNKNOWN_MAX: usize = 8;
const PAUSE_MS: u64 = 30;
/// How long a client sends the same request again.
const INSIST: Duration = Duration::from_secs(15);

struct Key {
    name: i64,
    calls: Mutex<Vec<Call>>,
    unknown: AtomicUsize,
    /// The next value that nobody has used.
    fresh: AtomicI64,
}

/// One key after the other, until told to stop.
pub(super) async fn run(shared: Arc<Shared>, slot: usize) {
    let mut generation = 0_i64;
    while !shared.is_stopped() {
        let name = i64::try_from(slot).unwrap_or(0) * 1_000_000 + generation;
        generation += 1;
        let insert = "INSERT INTO chaos.registers (name, value) VALUES (?, 0)";
        let insert = Statement::new(insert).bind(vec![Value::BigInt(name)]);
        if shared.doors.insist(&insert, INSIST).await.is_err() {
            continue;
        }
        let key = Arc::new(Key {
            name,
            calls: Mutex::new(Vec::new()),
            unknown: AtomicUsize::new(0),
            fresh: AtomicI64::new(1),
        });
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            clients.spawn(act(Arc::clone(&shared), Arc::clone(&key), client));
        }
        clients.join_all().await;
        judge(&shared, &key).await;
    }
}

async fn judge(shared: &Shared, key: &Key) {
    let calls = std::mem::take(&mut *key.calls.lock());
    let count = calls.len();
    let verdict = tokio::task::spawn_blocking(move || linear::check(0, &calls)).await;
    shared.registers.keys.fetch_add(1, Ordering::Relaxed);
    shared.registers.calls.fetch_add(count, Ordering::Relaxed);
    match verdict {
        Ok(Verdict::Linearizable) => {}
        Ok(Verdict::Undecided) => {
            shared.registers.undecided.fetch_add(1, Ordering::Relaxed);
        }
        Ok(Verdict::Violated) => shared.findings.violation(format!(
            "the {count} calls on register {} are not linearizable",
            key.name
        )),
        Err(error) => shared
            .findings
            .violation(format!("the checker failed: {error}")),
    }
}

async fn act(shared: Arc<Shared>, key: Arc<Key>, client: usize) {
    let seed = shared.ledger.seed ^ key.name.cast_unsigned() << 8 ^ client as u64;
    let mut random = Seeded::new(seed);
    let (mut node, mut last) = (client, 0);
    for number in 0..CALLS {
        if shared.is_stopped() || key.unknown.load(Ordering::Relaxed) >= UNKNOWN_MAX {
            return;
        }
        node += 1;
        let fresh = key.fresh.fetch_add(1, Ordering::Relaxed);
        let (asked, text, values) = match random.next() % 20 {
            0..8 => (None, "", Vec::new()),
            8..17 => (
                Some(Action::Swapped(last, fresh)),
                "UPDATE chaos.registers SET value = ? WHERE name = ? IF value = ?",
                vec![
                    Value::BigInt(fresh),
                    Value::BigInt(key.name),
                    Value::BigInt(last),
                ],
            ),
            _ => (
                Some(Action::Write(fresh)),
                "UPDATE chaos.registers SET value = ? WHERE name = ?",
                vec![Value::BigInt(fresh), Value::BigInt(key.name)],
            ),
        };
        let begun = shared.timeline.now_ns();
        let done = if let Some(asked) = asked {
            // One at a time: what came before was answered or given up. No writer has the highest bit.
            let (client_id, number) = (seed | 1 << 63, number as u64);
            let statement = Statement::new(text).bind(values);
            let statement = statement.numbered(client_id, number, number);
            let insists = client.is_multiple_of(2);
            write(&shared, (&mut node, insists), &statement, asked).await
        } else {
            read(&shared, node, key.name, &mut random).await
        };
        if let Some((action, is_known)) = done {
            let ended = is_known.then(|| shared.timeline.now_ns());
            key.unknown
                .fetch_add(usize::from(!is_known), Ordering::Relaxed);
            last = match action {
                Action::Read(value) | Action::Write(value) | Action::Swapped(_, value) => value,
                Action::NotSwapped(_) => last,
            };
            key.calls.lock().push(Call {
                begun,
                ended,
                action,
            });
        }
        tokio::time::sleep(Duration::from_millis(random.next() % PAUSE_MS)).await;
    }
}

/// A strong read; `None` when there was no answer.
async fn read(
    shared: &Shared,
    node: usize,
    name: i64,
    random: &mut Seeded,
) -> Option<(Action, bool)> {
    let consistency = if random.next().is_multiple_of(2) {
        Consistency::Serial
    } else {
        Consistency::Quorum
    };
    let statement = Statement::new("SELECT value FROM chaos.registers WHERE name = ?")
        .bind(vec![Value::BigInt(name)])
        .consistency(consistency);
    let result = note(shared, shared.doors.execute(node, statement).await).ok()?;
    let value = result.first().and_then(|row| row.bigint("value").ok());
    if value.is_none() {
        let text = format!("register {name} has no value, which was acknowledged");
        shared.findings.violation(text);
    }
    value.map(|value| (Action::Read(value), true))
}

/// A write; what it did, and whether that is known. `None` when it surely did nothing.
async fn write(
    shared: &Shared,
    (node, insists): (&mut usize, bool),
    statement: &Statement,
    asked: Action,
) -> Option<(Action, bool)> {
    let begun = std::time::Instant::now();
    let mut may_have_acted = false;
    loop {
        let sent = std::time::Instant::now();
        match note(shared, shared.doors.execute(*node, statement.clone()).await) {
            Ok(result) => {
                let group = result.position.map(|position| position.group);
                shared.timeline.acknowledged(group, sent);
                return Some(match (asked, result.applied) {
                    (Action::Swapped(old, _), Some(false)) => (Action::NotSwapped(old), true),
                    _ => (asked, true),
                });
            }
            Err(error) => {
                may_have_acted |= !did_nothing(&error);
                if begun.elapsed() > INSIST || (may_have_acted && !insists) {
                    return may_have_acted.then_some((asked, false));
                }
            }
        }
        *node += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn note(shared: &Shared, result: Result<ResultSet>) -> Result<ResultSet> {
    result.inspect_err(|error: &Error| {
        shared.findings.error(error);
        if is_final(error) {
            shared.findings.violation(format!("a register: {error}"));
        }
    })
}
