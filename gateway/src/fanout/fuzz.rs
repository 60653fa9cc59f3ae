//! Entry points for fuzzing, see [`crate::fuzzing`]: what fan-out reads in topics and notes.

use serde_json::value::RawValue;

use super::guild::Peek;
use super::pump::target;
use crate::events::Note;
use crate::presence::Presence;

/// The parts of a payload that decide who gets it.
pub(crate) fn peek(note: &Note) {
    let data = note.data.as_deref().map_or("null", RawValue::get);
    let peek: Peek<'_> = serde_json::from_str(data).unwrap_or_default();
    let _account = peek.account();
    let _presence = peek.presence().map(|presence: Presence| presence.status);
}

/// Whether the topic is one that we listen to.
pub(crate) fn topic(text: &str) -> bool {
    target(text).is_some()
}
