//! One dispatch, encoded once and shared by every session that receives it.
//!
//! The bytes are the payload and the closing brace of the dispatch; a session writes its own envelope
//! before them, `{"t":"NAME","op":0,"s":N,"d":`. A message whose content is a privilege has a second encoding
//! with blank content for those without it.
//!
//! Cost: one allocation per encoding, whatever the number of sessions.

use std::sync::Arc;

use super::{EventKind, Intents};
use crate::id::Id;

/// An encoded dispatch.
#[derive(Debug)]
pub struct Event {
    kind: EventKind,
    intent: Intents,
    body: Box<[u8]>,
    blank: Option<Box<Blank>>,
    subject: u64,
}

/// The encoding for sessions without the content privilege.
#[derive(Debug)]
struct Blank {
    body: Box<[u8]>,
    /// Accounts that see the content anyway: the author and whoever is mentioned.
    readers: Vec<Id>,
}

impl Event {
    /// Encodes an event of a guild (`in_guild`) or of an account, from its payload in JSON.
    pub fn new(kind: EventKind, in_guild: bool, data: &[u8]) -> Self {
        Self {
            kind,
            intent: kind.intent(in_guild),
            body: encode(data),
            blank: None,
            subject: 0,
        }
    }

    /// Adds the encoding for those who may not read content; `readers` always may.
    #[must_use]
    pub fn blank(mut self, data: &[u8], readers: Vec<Id>) -> Self {
        self.blank = Some(Box::new(Blank {
            body: encode(data),
            readers,
        }));
        self
    }

    /// Names what an ephemeral event is about: of two waiting ones with one subject the later wins.
    #[must_use]
    pub const fn about(mut self, subject: u64) -> Self {
        self.subject = subject;
        self
    }

    /// Shares the event.
    pub fn share(self) -> Arc<Self> {
        Arc::new(self)
    }

    /// Which event it is.
    pub const fn kind(&self) -> EventKind {
        self.kind
    }

    /// What a session must have asked for.
    pub const fn intent(&self) -> Intents {
        self.intent
    }

    /// Length of the longer encoding in bytes.
    pub fn len_bytes(&self) -> usize {
        self.body.len()
    }

    /// Whether a slow session may lose it: typing and presence, which the next one replaces.
    pub const fn is_ephemeral(&self) -> bool {
        matches!(
            self.kind,
            EventKind::TypingStart | EventKind::PresenceUpdate
        )
    }

    /// Whether `other` makes this event superfluous.
    pub fn is_replaced_by(&self, other: &Self) -> bool {
        self.subject != 0 && self.subject == other.subject && self.kind == other.kind
    }

    /// Whether it is written once and never replayed, because it is large and can be rebuilt.
    pub const fn is_snapshot(&self) -> bool {
        matches!(self.kind, EventKind::Ready | EventKind::GuildCreate)
    }

    /// What one account gets behind its envelope.
    pub fn body_for(&self, account: Id, intents: Intents) -> &[u8] {
        match &self.blank {
            Some(blank)
                if !intents.contains(Intents::MESSAGE_CONTENT)
                    && !blank.readers.contains(&account) =>
            {
                &blank.body
            }
            _ => &self.body,
        }
    }
}

/// The payload with the closing brace of its dispatch.
fn encode(data: &[u8]) -> Box<[u8]> {
    let mut body = Vec::with_capacity(data.len() + 1);
    body.extend_from_slice(data);
    body.push(b'}');
    body.into_boxed_slice()
}
