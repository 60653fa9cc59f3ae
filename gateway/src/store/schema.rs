//! The keyspace and its tables, made at start when they are not there.

use chatdb::{Db, Result, Statement};

use super::{
    accounts, bans, channels, direct, guilds, imports, invites, members, messages, pins, reactions,
    read_states, roles, users, workers,
};

const KEYSPACE: &str = "CREATE KEYSPACE IF NOT EXISTS flux";

const TABLES: [&[&str]; 15] = [
    accounts::TABLES,
    users::TABLES,
    guilds::TABLES,
    channels::TABLES,
    roles::TABLES,
    members::TABLES,
    bans::TABLES,
    invites::TABLES,
    direct::TABLES,
    messages::TABLES,
    reactions::TABLES,
    pins::TABLES,
    read_states::TABLES,
    imports::TABLES,
    workers::TABLES,
];

/// Creates what is missing; a schema that is complete costs one look at the catalog per table.
pub(crate) async fn create(db: &Db) -> Result<()> {
    db.execute(KEYSPACE).await?;
    for table in TABLES.iter().copied().flatten().copied() {
        db.execute(Statement::new(table)).await?;
    }
    Ok(())
}
