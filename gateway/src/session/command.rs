//! What a client sends: `{"op": N, "d": ...}` in JSON.
//!
//! Libraries disagree about half of the fields, so decoding is tolerant: unknown fields are
//! ignored, optional ones that do not parse count as absent, ids may be text or numbers. Only what
//! the opcode cannot do without is required. The length is limited by the frame decoder.
#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation
)]

use serde::Deserialize;
use serde_json::value::RawValue;

use super::CloseCode;
use crate::events::Intents;
use crate::id::Id;

/// Deepest nesting is bounded by the JSON reader (128); ids in one request by this.
const USER_IDS_MAX: usize = 100;
/// Longest nonce of a request for members, in bytes.
const NONCE_BYTES_MAX: usize = 32;

/// A decoded command.
#[derive(Debug)]
pub enum Command {
    /// Op 1, with the last sequence number that the client received.
    Heartbeat(Option<u64>),
    /// Op 2.
    Identify(Box<Identify>),
    /// Op 3.
    Presence(PresenceCommand),
    /// Op 4. There is no voice yet: parsed and ignored.
    VoiceState,
    /// Op 6.
    Resume(Box<Resume>),
    /// Op 8.
    RequestMembers(Box<RequestMembers>),
}

/// A new session is wanted.
#[derive(Debug, PartialEq, Eq)]
pub struct Identify {
    /// Token without any `Bot ` prefix.
    pub token: String,
    /// `None` if the client named none, which only people may.
    pub intents: Option<Intents>,
    /// Shard id and count.
    pub shard: Option<[u32; 2]>,
    /// Guilds with more members than this get no offline members in `GUILD_CREATE`.
    pub large_threshold: u32,
    /// Presence to begin with.
    pub presence: Option<PresenceCommand>,
}

/// A session is to be continued.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub struct Resume {
    /// Token without any `Bot ` prefix.
    pub token: String,
    /// Id from READY.
    pub session_id: String,
    /// Last sequence number that the client received.
    pub seq: u64,
}

/// A presence that the client chose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresenceCommand {
    /// `online`, `idle`, `dnd` or `invisible`.
    pub status: &'static str,
    /// Activities, as JSON of at most 1 KiB.
    pub activities: Option<String>,
}

impl Default for PresenceCommand {
    fn default() -> Self {
        Self {
            status: "online",
            activities: None,
        }
    }
}

/// Members of a guild are wanted.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct RequestMembers {
    /// The guild.
    pub guild: Id,
    /// Beginning of the name; empty means everybody.
    pub query: Option<String>,
    /// Most members to send; 0 means all.
    pub limit: usize,
    /// Only these.
    pub users: Option<Vec<Id>>,
    /// Also their presences.
    pub presences: bool,
    /// Comes back in every chunk.
    pub nonce: Option<String>,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    op: u64,
    #[serde(borrow, default)]
    d: Option<&'a RawValue>,
}

impl Command {
    /// Decodes one message.
    pub fn decode(bytes: &[u8]) -> Result<Self, CloseCode> {
        let envelope: Envelope<'_> =
            serde_json::from_slice(bytes).map_err(|_| CloseCode::Decode)?;
        let data = envelope.d.map_or("null", RawValue::get);
        Ok(match envelope.op {
            1 => Self::Heartbeat(parse(data)?),
            2 => Self::Identify(Box::new(identify(data)?)),
            3 => Self::Presence(parse::<WirePresence<'_>>(data)?.accept()),
            4 => Self::VoiceState,
            6 => {
                let resume: Resume = parse(data)?;
                let token = bare_token(&resume.token);
                Self::Resume(Box::new(Resume { token, ..resume }))
            }
            8 => Self::RequestMembers(Box::new(request_members(data)?)),
            _ => return Err(CloseCode::UnknownOpcode),
        })
    }
}

fn parse<'a, T: Deserialize<'a>>(data: &'a str) -> Result<T, CloseCode> {
    serde_json::from_str(data).map_err(|_| CloseCode::Decode)
}

fn lenient<'a, T: Deserialize<'a>>(data: Option<&'a RawValue>) -> Option<T> {
    serde_json::from_str(data?.get()).ok()
}

fn bare_token(token: &str) -> String {
    let token = token.trim();
    token
        .strip_prefix("Bot ")
        .unwrap_or(token)
        .trim()
        .to_owned()
}

#[derive(Deserialize)]
struct WireIdentify<'a> {
    token: String,
    #[serde(default)]
    intents: Option<u64>,
    #[serde(borrow, default)]
    shard: Option<&'a RawValue>,
    #[serde(borrow, default)]
    large_threshold: Option<&'a RawValue>,
    #[serde(borrow, default)]
    presence: Option<&'a RawValue>,
}

fn identify(data: &str) -> Result<Identify, CloseCode> {
    let wire: WireIdentify<'_> = parse(data)?;
    let intents = match wire.intents {
        None => None,
        Some(bits) => {
            let bits = u32::try_from(bits).map_err(|_| CloseCode::InvalidIntents)?;
            if !Intents::ALL.contains(Intents(bits)) {
                return Err(CloseCode::InvalidIntents);
            }
            Some(Intents(bits))
        }
    };
    let shard = match wire.shard.map(RawValue::get) {
        None | Some("null") => None,
        Some(shard) => {
            let shard: [u32; 2] =
                serde_json::from_str(shard).map_err(|_| CloseCode::InvalidShard)?;
            Some(shard)
        }
    };
    if shard.is_some_and(|[id, count]| id >= count) {
        return Err(CloseCode::InvalidShard);
    }
    Ok(Identify {
        token: bare_token(&wire.token),
        intents,
        shard,
        large_threshold: lenient::<u32>(wire.large_threshold)
            .unwrap_or(50)
            .clamp(50, 250),
        presence: lenient::<WirePresence<'_>>(wire.presence).map(|presence| presence.accept()),
    })
}

#[derive(Deserialize)]
struct WirePresence<'a> {
    #[serde(borrow, default)]
    status: Option<&'a RawValue>,
    #[serde(borrow, default)]
    activities: Option<&'a RawValue>,
}

impl WirePresence<'_> {
    fn accept(&self) -> PresenceCommand {
        let status = match lenient::<String>(self.status).as_deref() {
            Some("idle") => "idle",
            Some("dnd") => "dnd",
            Some("invisible" | "offline") => "invisible",
            _ => "online",
        };
        let activities = self.activities.map(RawValue::get);
        let activities = activities.filter(|text| text.len() <= 1024 && text.starts_with('['));
        PresenceCommand {
            status,
            activities: activities.map(str::to_owned),
        }
    }
}

/// One id, or a list of which some libraries send one element where one id is meant.
#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(Id),
    More(Vec<Id>),
}

impl OneOrMore {
    fn into_ids(self) -> Vec<Id> {
        match self {
            Self::One(id) => vec![id],
            Self::More(ids) => ids,
        }
    }
}

#[derive(Deserialize)]
struct WireRequest<'a> {
    guild_id: OneOrMore,
    #[serde(borrow, default)]
    query: Option<&'a RawValue>,
    #[serde(borrow, default)]
    limit: Option<&'a RawValue>,
    #[serde(borrow, default)]
    user_ids: Option<&'a RawValue>,
    #[serde(borrow, default)]
    presences: Option<&'a RawValue>,
    #[serde(borrow, default)]
    nonce: Option<&'a RawValue>,
}

fn request_members(data: &str) -> Result<RequestMembers, CloseCode> {
    let wire: WireRequest<'_> = parse(data)?;
    let guild = wire
        .guild_id
        .into_ids()
        .first()
        .copied()
        .ok_or(CloseCode::Decode)?;
    let users = lenient::<OneOrMore>(wire.user_ids).map(|users| {
        let mut users = users.into_ids();
        users.truncate(USER_IDS_MAX);
        users
    });
    let nonce = lenient::<String>(wire.nonce).filter(|nonce| nonce.len() <= NONCE_BYTES_MAX);
    Ok(RequestMembers {
        guild,
        query: lenient(wire.query),
        limit: lenient(wire.limit).unwrap_or(0),
        users,
        presences: lenient(wire.presences).unwrap_or(false),
        nonce,
    })
}
