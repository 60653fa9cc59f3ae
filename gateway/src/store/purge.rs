//! Removing a whole guild.

use chatdb::{Db, Result, Statement};

use crate::id::Id;

const PARTITIONS: [&str; 5] = [
    "DELETE FROM flux.channels WHERE guild_id = ?",
    "DELETE FROM flux.roles WHERE guild_id = ?",
    "DELETE FROM flux.members WHERE guild_id = ?",
    "DELETE FROM flux.bans WHERE guild_id = ?",
    "DELETE FROM flux.guild_invites WHERE guild_id = ?",
];

/// Deletes the partitions of a guild whose own row is gone: one write each, whatever their size.
/// Index rows that point to it are dropped by the next reader that finds nothing behind them.
pub(crate) async fn guild(db: &Db, guild: Id) -> Result<()> {
    for text in PARTITIONS {
        db.execute(Statement::new(text).bind(vec![guild.into()]))
            .await?;
    }
    Ok(())
}
