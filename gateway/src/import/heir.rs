//! Who gets what was imported before anybody could own it.
//!
//! An import into a directory without accounts leaves its guilds to an account that nobody can log in to. The first
//! person who registers administers the instance, and takes those guilds over.

use super::local::IMPORTER;
use crate::app::App;
use crate::id::Id;
use crate::rest::ApiResult;
use crate::store::{Announcement, accounts, guilds, members};

impl App {
    /// Makes `administrator` the owner and a member of every guild that was imported before there was one. May be
    /// repeated: a run that was cut off goes on where it ended. Answers how many changed hands.
    pub(crate) async fn take_over_imports(&self, administrator: Id) -> ApiResult<usize> {
        let Some(importer) = accounts::find_name(&self.db, IMPORTER).await? else {
            return Ok(0);
        };
        let mut taken = 0;
        for guild in members::guilds_of(&self.db, importer).await? {
            let Some(mut row) = guilds::get(&self.db, guild).await? else {
                continue;
            };
            if row.owner_id != importer {
                continue;
            }
            self.join(guild, administrator, &[]).await?;
            row.owner_id = administrator;
            guilds::update(&self.db, &row, &Announcement::silent()).await?;
            self.directory.forget_guild(guild);
            taken += 1;
        }
        Ok(taken)
    }
}
