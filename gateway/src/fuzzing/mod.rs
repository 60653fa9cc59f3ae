//! Entry points for the fuzz targets: every decoder of bytes from a client, a peer or a file.
//!
//! Not part of the interface: hidden, and free to change. Each function must return, whatever the
//! bytes are; what decodes must survive encoding and decoding again. It says whether anything was
//! accepted, so that a test can tell a seed that reaches the decoder from one that dies in front of
//! it.

#[cfg(test)]
mod tests;

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::events::{NOTE_BYTES_MAX, Note};
use crate::fanout::fuzz as fanout;
use crate::id::Id;
use crate::model::message::Emoji;
use crate::model::permission::{Overwrite, Permissions};
use crate::model::timestamp::Timestamp;
use crate::session::{CloseCode, Command, SessionId};
use crate::token::{SECRET_BYTES, TokenKey};
use crate::ws::frame::{
    Decoder, FrameError, Incoming, Opcode, PAYLOAD_BYTES_MAX, encode_close, encode_frame,
};

pub use crate::import::fuzz::{import_discord, import_irc, import_step};
pub use crate::rest::fuzz::{form, query};

/// An entry point: the bytes in, whether anything was accepted out.
pub type Target = fn(&[u8]) -> bool;

/// Every entry point under the name of its fuzz target and of its directory of seeds.
pub const TARGETS: [(&str, Target); 10] = [
    ("frame", frame),
    ("socket_command", socket_command),
    ("note", note),
    ("token", token),
    ("text", text),
    ("form", form),
    ("query", query),
    ("import_irc", import_irc),
    ("import_discord", import_discord),
    ("import_step", import_step),
];

/// 0000-01-01T00:00:00Z.
const YEAR_0: Timestamp = Timestamp(-62_167_219_200_000);

/// Bytes from a socket: the same frames or the same refusal, however the bytes are cut, and no
/// message longer than the limit.
pub fn frame(input: &[u8]) -> bool {
    let whole = decode(std::iter::once(input));
    let step = usize::from(input.first().copied().unwrap_or(0) % 7) + 1;
    assert_eq!(whole, decode(input.chunks(step)));
    let mut out = Vec::new();
    for message in &whole.0 {
        if let Incoming::Text(bytes) | Incoming::Binary(bytes) | Incoming::Ping(bytes) = message {
            assert!(bytes.len() <= PAYLOAD_BYTES_MAX);
            encode_frame(Opcode::Text, bytes, &mut out);
        }
    }
    encode_close(1000, "bye", &mut out);
    !whole.0.is_empty()
}

/// All messages of a socket whose bytes arrive in these pieces, and the refusal that ended it.
pub fn decode<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> (Vec<Incoming>, Option<FrameError>) {
    let mut decoder = Decoder::default();
    let mut messages = Vec::new();
    for chunk in chunks {
        decoder.push(chunk);
        loop {
            match decoder.next() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => return (messages, Some(error)),
            }
        }
    }
    (messages, None)
}

/// A gateway payload: a command or a close code.
pub fn socket_command(input: &[u8]) -> bool {
    match Command::decode(input) {
        Ok(Command::RequestMembers(request)) => {
            assert!(request.users.is_none_or(|users| users.len() <= 100));
            assert!(request.nonce.is_none_or(|nonce| nonce.len() <= 32));
        }
        Ok(Command::Identify(identify)) => {
            assert!(identify.shard.is_none_or(|[shard, count]| shard < count));
            assert!((50..=250).contains(&identify.large_threshold));
            if let Some(activities) = identify.presence.and_then(|chosen| chosen.activities) {
                RawValue::from_string(activities).expect("activities are JSON");
            }
        }
        Ok(Command::Resume(resume)) => {
            let _known = SessionId::parse(&resume.session_id);
        }
        Ok(_) => {}
        Err(code) => {
            assert_ne!(code, CloseCode::Normal);
            return false;
        }
    }
    true
}

/// The note of a change: a note within the limit, or nothing; and what fan-out reads in it.
pub fn note(input: &[u8]) -> bool {
    let Some(note) = Note::decode(input) else {
        return false;
    };
    let encoded = note.encode();
    assert!(encoded.len() <= NOTE_BYTES_MAX);
    assert!(Note::decode(&encoded).is_some_and(|back| back.kind == note.kind));
    fanout::peek(&note);
    true
}

/// A token as it comes, and with a signature that fits: nothing, or an account and a token that
/// encode to what decodes to them.
pub fn token(input: &[u8]) -> bool {
    let Ok(head) = std::str::from_utf8(input) else {
        return false;
    };
    let key = TokenKey::new(&[7; SECRET_BYTES]);
    assert_eq!(key.decode(head), None, "a signature was guessed");
    let Some((user, token)) = key.decode(&key.sign(head)) else {
        return false;
    };
    assert_eq!(key.decode(&key.encode(user, token)), Some((user, token)));
    true
}

/// Short texts: ids, permissions, times, emoji, session ids, topics, addresses of requests.
pub fn text(input: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(input) else {
        return false;
    };
    let mut accepted = false;
    if let Ok(id) = text.parse::<Id>() {
        assert_eq!(id.to_string().parse(), Ok(id));
        let _placed = (id.unix_ms(), id.bucket(), id.bigint());
        accepted = true;
    }
    if let Some(emoji) = Emoji::parse(text) {
        let again = Emoji::parse(&emoji.key()).expect("a key is an emoji");
        assert_eq!((again.id, again.name), (emoji.id, emoji.name));
        accepted = true;
    }
    if let Some(session) = SessionId::parse(text) {
        assert_eq!(SessionId::parse(&session.to_string()), Some(session));
        accepted = true;
    }
    if let Some(time) = Timestamp::parse(text) {
        let written = time.to_string();
        // Years before 0 are read, but never written.
        let is_ours = time >= YEAR_0;
        assert!(
            !is_ours || Timestamp::parse(&written) == Some(time),
            "{text}"
        );
        accepted = true;
    }
    accepted |= fanout::topic(text);
    accepted |= crate::session::fuzz::query(text);
    accepted |= crate::rest::fuzz::address(text);
    accepted |= json::<Id>(text) | json::<Permissions>(text) | json::<Vec<Overwrite>>(text);
    accepted
}

fn json<T: DeserializeOwned + serde::Serialize + PartialEq + std::fmt::Debug>(text: &str) -> bool {
    let Ok(value) = serde_json::from_str::<T>(text) else {
        return false;
    };
    let written = serde_json::to_string(&value).expect("what was read can be written");
    let again: T = serde_json::from_str(&written).expect("what was written can be read");
    assert_eq!(again, value);
    true
}
