//! What a write tells the subscribers of its topics, beside the row that it stores.
//!
//! Every write that other people should hear of names a topic (`guild:<id>` or `user:<id>`) and
//! carries a note; a write without a note is silent. The note names the event. Small, rare objects
//! (a channel, a role, a member, a reaction, an acknowledgment) travel inside it as `d`, complete
//! as they go to the socket. Messages do not: a created message is rebuilt from the columns of
//! the change itself and an edited one is read back, so that a message is never logged twice.
//!
//! | event | `d` in the note |
//! |---|---|
//! | `MESSAGE_CREATE`, `MESSAGE_UPDATE` | absent |
//! | `GUILD_CREATE` on `user:<id>` (the account joined) | `{"id": guild}` |
//! | `GUILD_DELETE` on `user:<id>` (the account left) and on `guild:<id>` | `{"id": guild}` |
//! | `MESSAGE_ACK` on `user:<id>` | `{"channel_id", "message_id"}` |
//! | everything else | the object of the public API, with `guild_id` if in a guild |
//!
//! A `d` that would not fit in [`NOTE_BYTES_MAX`] is left out. No channel, role or member within the
//! limits of the API is that large; for a guild the subscriber reads it again from the database and
//! sends what it finds. The same encoding is the payload of ephemeral
//! events (typing, presence), which are published without a write.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use super::EventKind;

/// Longest note that the database carries with a write, in bytes.
pub const NOTE_BYTES_MAX: usize = 32 * 1024;

/// The note of a write or the payload of an ephemeral event.
#[derive(Debug, Serialize, Deserialize)]
pub struct Note {
    /// Which event the write is.
    #[serde(rename = "t")]
    pub kind: EventKind,
    /// The event's payload; see the table of this module for when it is absent.
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Box<RawValue>>,
    /// The nonce that the author of a created message sent with it (text or number, kept as it came).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<Box<RawValue>>,
}

impl Note {
    /// A note without payload.
    pub const fn new(kind: EventKind) -> Self {
        Self {
            kind,
            data: None,
            nonce: None,
        }
    }

    /// A note with `data` as its payload. A value that cannot be encoded is left out.
    pub fn with<T: Serialize + ?Sized>(kind: EventKind, data: &T) -> Self {
        Self {
            kind,
            data: to_raw_value(data).ok(),
            nonce: None,
        }
    }

    /// Adds the nonce of a created message.
    #[must_use]
    pub fn nonce<T: Serialize + ?Sized>(mut self, nonce: Option<&T>) -> Self {
        self.nonce = nonce.and_then(|nonce| to_raw_value(nonce).ok());
        self
    }

    /// The bytes that travel with the write, at most [`NOTE_BYTES_MAX`].
    pub fn encode(&self) -> Bytes {
        let bytes = serde_json::to_vec(self).unwrap_or_default();
        if bytes.len() <= NOTE_BYTES_MAX {
            return bytes.into();
        }
        serde_json::to_vec(&Self::new(self.kind))
            .unwrap_or_default()
            .into()
    }

    /// Reads a note; `None` if it is empty, too long or not a note.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.is_empty() || bytes.len() > 2 * NOTE_BYTES_MAX {
            return None;
        }
        serde_json::from_slice(bytes).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_survives_its_encoding() {
        let note = Note::with(EventKind::MessageDelete, &serde_json::json!({"id": "1"}));
        let back = Note::decode(&note.encode()).unwrap();
        assert_eq!(back.kind, EventKind::MessageDelete);
        assert_eq!(back.data.unwrap().get(), r#"{"id":"1"}"#);
    }

    #[test]
    fn a_payload_that_does_not_fit_is_left_out() {
        let note = Note::with(EventKind::ChannelUpdate, &"x".repeat(NOTE_BYTES_MAX));
        assert_eq!(note.encode().as_ref(), br#"{"t":"CHANNEL_UPDATE"}"#);
    }

    #[test]
    fn bytes_that_are_not_a_note_are_refused() {
        assert!(Note::decode(b"").is_none());
        assert!(Note::decode(b"{\"t\":\"NO_SUCH\"}").is_none());
        assert!(Note::decode(&[0xff, 0x00]).is_none());
    }
}
