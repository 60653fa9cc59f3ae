//! The clients of a run: writers, readers, registers and listeners, each with random numbers of its own.

pub(crate) mod listener;
mod reader;
mod register;
mod writer;

use super::Shared;
use super::doors::is_final;
use anyhow::{Context, Result};
use chatdb::Statement;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// The topic of every write.
const TOPIC: &str = "chaos";
/// How long the schema may take.
const SCHEMA_TIMEOUT: Duration = Duration::from_mins(1);

const SCHEMA: [&str; 4] = [
    "CREATE KEYSPACE chaos",
    "CREATE TABLE chaos.rows (writer int, part int, row int, body text, PRIMARY KEY ((writer, part), row))",
    "CREATE TABLE chaos.sums (writer int, counter int, total counter, PRIMARY KEY ((writer), counter))",
    "CREATE TABLE chaos.registers (name bigint PRIMARY KEY, value bigint)",
];

/// Makes the tables. They must not be there: what they hold would be taken for lost or too much.
pub(crate) async fn make_tables(shared: &Shared) -> Result<()> {
    for text in SCHEMA {
        let begun = std::time::Instant::now();
        let mut is_repeated = false;
        loop {
            match shared.doors.execute(0, Statement::new(text)).await {
                Ok(_) => break,
                // A try whose answer was lost has made it.
                Err(error) if is_repeated && error.message().contains("exists") => break,
                Err(error) if begun.elapsed() > SCHEMA_TIMEOUT || is_final(&error) => {
                    return Err(error).with_context(|| text.to_owned());
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
            is_repeated = true;
        }
    }
    Ok(())
}

/// Starts everybody but the listeners; each ends soon after [`Shared::stop`].
pub(crate) fn start(shared: &Arc<Shared>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for writer in 0..shared.ledger.writers() {
        tasks.spawn(writer::run(Arc::clone(shared), writer));
    }
    for reader in 0..shared.options.readers {
        tasks.spawn(reader::run(Arc::clone(shared), reader));
    }
    for slot in 0..shared.options.registers {
        tasks.spawn(register::run(Arc::clone(shared), slot));
    }
    tasks
}

/// A whole number as CQL's `int`.
fn int(number: u32) -> chatdb::Value {
    chatdb::Value::Int(number.cast_signed())
}
