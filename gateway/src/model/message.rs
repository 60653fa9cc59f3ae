//! Messages, their reactions and their emoji.

use serde::Serialize;
use serde_json::value::RawValue;
use std::sync::Arc;

use super::Empty;
use super::member::{Mention, PartialMember};
use super::timestamp::Timestamp;
use super::user::User;
use crate::id::Id;

/// Ordinary message.
pub(crate) const DEFAULT: u8 = 0;
/// Answer to another message.
pub(crate) const REPLY: u8 = 19;

/// A message in a page, in an answer and in an event.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Message {
    pub(crate) id: Id,
    pub(crate) channel_id: Id,
    #[serde(rename = "type")]
    pub(crate) kind: u8,
    pub(crate) author: User,
    pub(crate) content: String,
    pub(crate) timestamp: Timestamp,
    pub(crate) edited_timestamp: Option<Timestamp>,
    pub(crate) tts: bool,
    pub(crate) mention_everyone: bool,
    pub(crate) mentions: Vec<Mention>,
    pub(crate) mention_roles: Vec<Id>,
    pub(crate) mention_channels: Empty,
    pub(crate) attachments: Empty,
    /// JSON array, kept as it was sent.
    pub(crate) embeds: Arc<RawValue>,
    pub(crate) components: Empty,
    pub(crate) sticker_items: Empty,
    pub(crate) pinned: bool,
    pub(crate) flags: u32,
    pub(crate) reactions: Vec<Reaction>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) nonce: Option<Box<RawValue>>,
    #[serde(rename = "message_reference", skip_serializing_if = "Option::is_none")]
    pub(crate) reference: Option<Reference>,
    #[serde(
        rename = "referenced_message",
        skip_serializing_if = "Referenced::is_absent"
    )]
    pub(crate) referenced: Referenced,
    /// In events of guild channels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) guild_id: Option<Id>,
    /// In events of guild channels: the author's membership.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) member: Option<PartialMember>,
    /// In events: [`super::channel::DIRECT`] and so on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) channel_type: Option<u8>,
}

/// The message that a reply answers.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Referenced {
    /// The message is no reply: the key is left out.
    Absent,
    /// It was deleted: null.
    Deleted,
    /// It is this.
    Present(Box<Message>),
}

impl Referenced {
    fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

/// What a reply answers.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Reference {
    #[serde(rename = "type")]
    pub(crate) kind: u8,
    pub(crate) message_id: Id,
    pub(crate) channel_id: Id,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) guild_id: Option<Id>,
}

/// An emoji: Unicode has a name and no id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Emoji {
    pub(crate) id: Option<Id>,
    pub(crate) name: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) animated: bool,
}

impl Emoji {
    /// Reads the form of a path or a row: Unicode text, or `name:id` of a custom emoji.
    /// `None` when it is empty, too long or neither.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (name, id) = match text.rsplit_once(':') {
            Some((name, id)) => (name.rsplit(':').next()?, Some(id.parse().ok()?)),
            None => (text, None),
        };
        let looks_right = match id {
            Some(_) => name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'),
            None => !name
                .bytes()
                .any(|byte| byte.is_ascii_alphabetic() || byte <= b' '),
        };
        if name.is_empty() || name.len() > 64 || !looks_right {
            return None;
        }
        Some(Self {
            id,
            name: Some(name.to_owned()),
            animated: text.starts_with("a:"),
        })
    }

    /// The form that is stored and compared.
    pub(crate) fn key(&self) -> String {
        let name = self.name.as_deref().unwrap_or_default();
        match self.id {
            Some(id) => format!("{name}:{id}"),
            None => name.to_owned(),
        }
    }
}

/// One emoji on a message with its count.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Reaction {
    pub(crate) emoji: Emoji,
    pub(crate) count: u32,
    pub(crate) count_details: CountDetails,
    pub(crate) me: bool,
    pub(crate) me_burst: bool,
    pub(crate) burst_colors: Empty,
}

/// How the count of a reaction divides.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct CountDetails {
    pub(crate) burst: u32,
    pub(crate) normal: u32,
}

/// `MESSAGE_REACTION_ADD` and `MESSAGE_REACTION_REMOVE`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ReactionEvent {
    pub(crate) user_id: Id,
    pub(crate) channel_id: Id,
    pub(crate) message_id: Id,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) guild_id: Option<Id>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) member: Option<super::member::Member>,
    pub(crate) emoji: Emoji,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) message_author_id: Option<Id>,
    pub(crate) burst: bool,
    #[serde(rename = "type")]
    pub(crate) kind: u8,
}
