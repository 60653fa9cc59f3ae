//! A reader: one partition after the other through one node after the other, held against what its writer knew before
//! and after.

use super::super::Shared;
use super::super::doors::is_final;
use super::super::ledger::judge_read;
use super::int;
use crate::messages::Seeded;
use chatdb::{Consistency, ResultSet, Statement, Value};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

const PAUSE: Duration = Duration::from_millis(15);

/// Reads until told to stop.
pub(super) async fn run(shared: Arc<Shared>, number: usize) {
    let mut random = Seeded::new(shared.ledger.seed ^ 0x7ead ^ (number as u64) << 32);
    let mut node = number;
    while !shared.is_stopped() {
        tokio::time::sleep(PAUSE).await;
        node += 1;
        let writer = random.below(shared.ledger.writers());
        let parts = shared.ledger.of(writer).lock().parts.len();
        if parts == 0 {
            continue;
        }
        // Mostly the partition that is written to, sometimes an old one.
        let back = if random.next().is_multiple_of(4) {
            parts
        } else {
            parts.min(2)
        };
        let part = u32::try_from(parts - 1 - random.below(back)).unwrap_or(0);
        let consistency = match random.next() % 4 {
            0 => Consistency::One,
            1 => Consistency::Serial,
            _ => Consistency::Quorum,
        };
        read(&shared, node, (writer, part), consistency).await;
    }
}

async fn read(shared: &Shared, node: usize, of: (usize, u32), consistency: Consistency) {
    let (writer, part) = of;
    let before = shared.ledger.of(writer).lock().rows(part);
    let name = Value::Int(i32::try_from(writer).unwrap_or(i32::MAX));
    let statement =
        Statement::new("SELECT row, body FROM chaos.rows WHERE writer = ? AND part = ?")
            .bind(vec![name, int(part)])
            .consistency(consistency);
    let result = match shared.doors.execute(node, statement).await {
        Ok(result) => result,
        Err(error) => {
            shared.findings.error(&error);
            if is_final(&error) {
                let text = format!("read of writer {writer}, partition {part}: {error}");
                shared.findings.violation(text);
            }
            return;
        }
    };
    shared.timeline.read();
    let is_strong = consistency != Consistency::One;
    let found = found(shared, of, &result);
    let mut known = shared.ledger.of(writer).lock();
    let after = known.rows(part);
    if let Some(wrong) = judge_read(&before, &after, &found, is_strong) {
        let node = node % shared.doors.count() + 1;
        let text = format!(
            "{consistency:?} read of writer {writer}, partition {part} through node {node}: {wrong}"
        );
        shared.findings.violation(text);
    } else if is_strong {
        known.remember(part, &before, &found);
    }
}

/// The rows of a result. Their texts must be those that were written.
fn found(shared: &Shared, (writer, part): (usize, u32), result: &ResultSet) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    for row in &result.rows {
        let number = row.int("row").ok().and_then(|row| u32::try_from(row).ok());
        let body = row.text("body").unwrap_or_default();
        match number {
            Some(number) if body == shared.ledger.body(writer, part, number) => {
                found.insert(number);
            }
            _ => shared.findings.violation(format!(
                "writer {writer}, partition {part}, row {number:?} reads {body:?}, which nobody wrote"
            )),
        }
    }
    found
}
