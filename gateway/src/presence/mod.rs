//! Presence: whether an account is online, as its sessions say.
//!
//! The presence of an account is the best one of its sessions. It is told to the guilds of the
//! account through [`chatdb::Db::publish`]: unlogged, to every node that has listeners there. Each
//! guild remembers who is not offline, for `GUILD_CREATE` and member chunks.
//!
//! Missing: a node that starts does not learn the presences that other nodes know; it hears them
//! with the next change.

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::id::Id;
use crate::session::PresenceCommand;

/// What others see of an account that is not offline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Presence {
    pub(crate) status: &'static str,
    /// JSON array.
    pub(crate) activities: Option<String>,
}

impl Presence {
    /// The presence that an account shows whose sessions chose these; `None` means offline.
    pub(crate) fn combine(chosen: impl Iterator<Item = PresenceCommand>) -> Option<Self> {
        let visible = chosen.filter(|presence| presence.status != "invisible");
        let best = visible.min_by_key(|presence| match presence.status {
            "dnd" => 0,
            "online" => 1,
            _ => 2,
        })?;
        Some(Self {
            status: best.status,
            activities: best.activities,
        })
    }

    /// Reads the payload of an event; `None` if it says offline or nothing that is known.
    pub(crate) fn from_wire(status: &str, activities: Option<&RawValue>) -> Option<Self> {
        let status = ["online", "idle", "dnd"]
            .into_iter()
            .find(|known| *known == status)?;
        let activities = activities.map(RawValue::get).filter(|text| *text != "[]");
        Some(Self {
            status,
            activities: activities.map(str::to_owned),
        })
    }
}

/// `PRESENCE_UPDATE`, and an entry of the presences of a guild.
#[derive(Debug, Serialize)]
pub(crate) struct WirePresence {
    user: WireUser,
    #[serde(skip_serializing_if = "Option::is_none")]
    guild_id: Option<Id>,
    status: &'static str,
    activities: Box<RawValue>,
    client_status: ClientStatus,
}

#[derive(Debug, Serialize)]
struct WireUser {
    id: Id,
}

#[derive(Debug, Serialize)]
struct ClientStatus {
    #[serde(skip_serializing_if = "Option::is_none")]
    web: Option<&'static str>,
}

impl WirePresence {
    /// The presence of `user`; `None` means offline.
    pub(crate) fn new(user: Id, guild_id: Option<Id>, presence: Option<&Presence>) -> Self {
        let activities = presence.and_then(|presence| presence.activities.clone());
        let activities = RawValue::from_string(activities.unwrap_or_else(|| "[]".to_owned()));
        let none: [(); 0] = [];
        let activities = activities.or_else(|_| to_raw_value(&none));
        Self {
            user: WireUser { id: user },
            guild_id,
            status: presence.map_or("offline", |presence| presence.status),
            activities: activities.expect("an empty list is JSON"),
            client_status: ClientStatus {
                web: presence.map(|presence| presence.status),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(status: &'static str) -> PresenceCommand {
        PresenceCommand {
            status,
            activities: None,
        }
    }

    #[test]
    fn the_most_telling_session_counts_and_invisible_ones_do_not() {
        let combined = |all: &[&'static str]| {
            Presence::combine(all.iter().copied().map(chosen)).map(|presence| presence.status)
        };
        assert_eq!(combined(&[]), None);
        assert_eq!(combined(&["invisible"]), None);
        assert_eq!(combined(&["idle", "online"]), Some("online"));
        assert_eq!(combined(&["online", "dnd", "invisible"]), Some("dnd"));
    }

    #[test]
    fn offline_goes_out_with_an_empty_client_status() {
        let wire = WirePresence::new(Id::new(5).unwrap(), Id::new(6), None);
        let expected = r#"{"user":{"id":"5"},"guild_id":"6","status":"offline","activities":[],"client_status":{}}"#;
        assert_eq!(serde_json::to_string(&wire).unwrap(), expected);
    }
}
