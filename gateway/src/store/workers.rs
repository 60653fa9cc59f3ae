//! Who mints ids under which worker number, and until when.

use bytes::Bytes;
use chatdb::{Consistency, Db, Result, Row, Statement};

use super::fields::Fields;

pub(crate) const TABLES: &[&str] = &["CREATE TABLE IF NOT EXISTS flux.workers (
        worker int, holder blob, until_ms bigint, PRIMARY KEY (worker))"];

/// A number that is or was held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) worker: u16,
    pub(crate) holder: Bytes,
    /// Ids of this number have an earlier time, in Unix milliseconds.
    pub(crate) until_ms: i64,
}

/// All numbers that were ever held.
pub(crate) async fn all(db: &Db) -> Result<Vec<Held>> {
    let select = Statement::new("SELECT worker, holder, until_ms FROM flux.workers")
        .consistency(Consistency::Serial)
        .page_size(2048);
    super::rows(&db.execute(select).await?, held)
}

fn held(row: &Row) -> Result<Held> {
    Ok(Held {
        worker: row.number("worker")?,
        holder: Bytes::clone(row.blob("holder")?),
        until_ms: row.bigint("until_ms")?,
    })
}

/// Changes the row of a number from what was seen to what shall be; false if somebody was faster.
pub(crate) async fn take(db: &Db, seen: Option<&Held>, next: &Held) -> Result<bool> {
    let worker = i32::from(next.worker);
    let statement = match seen {
        None => {
            let text = "INSERT INTO flux.workers (worker, holder, until_ms) VALUES (?, ?, ?) \
                        IF NOT EXISTS";
            let holder = next.holder.clone();
            Statement::new(text).bind(vec![worker.into(), holder.into(), next.until_ms.into()])
        }
        Some(seen) => {
            let text = "UPDATE flux.workers SET holder = ?, until_ms = ? WHERE worker = ? \
                        IF holder = ? AND until_ms = ?";
            Statement::new(text).bind(vec![
                next.holder.clone().into(),
                next.until_ms.into(),
                worker.into(),
                seen.holder.clone().into(),
                seen.until_ms.into(),
            ])
        }
    };
    Ok(db.execute(statement).await?.was_applied())
}

/// Moves the end of a holder's window; false if the number is somebody else's.
pub(crate) async fn extend(
    db: &Db,
    (worker, holder): (u16, &Bytes),
    until_ms: i64,
) -> Result<bool> {
    let text = "UPDATE flux.workers SET until_ms = ? WHERE worker = ? IF holder = ?";
    let values = vec![
        until_ms.into(),
        i32::from(worker).into(),
        holder.clone().into(),
    ];
    let renewed = db.execute(Statement::new(text).bind(values)).await?;
    Ok(renewed.was_applied())
}
