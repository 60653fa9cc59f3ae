//! `READY`: who the session is and which guilds will follow.

use chatdb::Result;
use serde::Serialize;

use super::compose::Composer;
use crate::id::Id;
use crate::model::channel::{DIRECT, DirectChannel};
use crate::model::user::CurrentUser;
use crate::session::Session;
use crate::store::{direct, read_states};

#[derive(Debug, Serialize)]
struct Ready<'a> {
    v: u8,
    user: CurrentUser,
    guilds: Vec<UnavailableGuild>,
    session_id: String,
    resume_gateway_url: &'a str,
    session_type: &'static str,
    shard: [u32; 2],
    application: Application,
    private_channels: Vec<DirectChannel>,
    relationships: [(); 0],
    /// People only.
    #[serde(skip_serializing_if = "Option::is_none")]
    read_state: Option<Vec<ReadState>>,
    _trace: [&'static str; 1],
}

#[derive(Debug, Serialize)]
struct UnavailableGuild {
    id: Id,
    unavailable: bool,
}

#[derive(Debug, Serialize)]
struct Application {
    id: Id,
    flags: u32,
}

#[derive(Debug, Serialize)]
struct ReadState {
    id: Id,
    last_message_id: Option<Id>,
    mention_count: u32,
}

/// The payload in JSON; `guilds` are those that follow. `None` if the account is gone.
pub(crate) async fn ready(
    composer: Composer<'_>,
    session: &Session,
    guilds: &[Id],
    resume_url: &str,
) -> Result<Option<Vec<u8>>> {
    let account = session.facts.account;
    let Some(row) = composer.directory.user(account).await? else {
        return Ok(None);
    };
    let (mut private_channels, mut read_state) = (Vec::new(), None);
    if !session.facts.bot {
        private_channels = direct_channels(composer, account).await?;
        let rows = read_states::list(composer.db, account).await?;
        let state = |row: read_states::ReadStateRow| ReadState {
            id: row.channel_id,
            last_message_id: Some(row.last_message_id).filter(|id| *id != Id::default()),
            mention_count: row.mention_count,
        };
        read_state = Some(rows.into_iter().map(state).collect());
    }
    let unavailable = |id: &Id| UnavailableGuild {
        id: *id,
        unavailable: true,
    };
    let payload = Ready {
        v: 10,
        user: CurrentUser::from(&*row),
        guilds: guilds.iter().map(unavailable).collect(),
        session_id: session.id.to_string(),
        resume_gateway_url: resume_url,
        session_type: "normal",
        shard: session.facts.shard,
        application: Application {
            id: account,
            flags: 0,
        },
        private_channels,
        relationships: [],
        read_state,
        _trace: ["flux"],
    };
    Ok(Some(serde_json::to_vec(&payload).unwrap_or_default()))
}

async fn direct_channels(composer: Composer<'_>, account: Id) -> Result<Vec<DirectChannel>> {
    let mut channels = Vec::new();
    for (channel, other) in direct::list(composer.db, account).await? {
        channels.push(DirectChannel {
            id: channel,
            kind: DIRECT,
            last_message_id: composer.directory.newest(channel).await?,
            last_pin_timestamp: None,
            flags: 0,
            recipients: [composer.user(other).await?],
        });
    }
    Ok(channels)
}
