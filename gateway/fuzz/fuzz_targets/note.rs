//! Any bytes as the note of a change: a note or nothing, and what decodes encodes within the limit.
#![no_main]

use gateway::events::{NOTE_BYTES_MAX, Note};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Some(note) = Note::decode(input) {
        let encoded = note.encode();
        assert!(encoded.len() <= NOTE_BYTES_MAX);
        assert!(Note::decode(&encoded).is_some_and(|back| back.kind == note.kind));
    }
});
