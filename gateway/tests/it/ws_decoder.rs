//! The frame decoder and the payload decoder against anything: no panic, no dependence on how bytes
//! are cut, no message over the limit. The fuzz targets say the same, for longer.

use gateway::events::Note;
use gateway::fuzzing::decode;
use gateway::session::Command;
use gateway::ws::frame::{Incoming, PAYLOAD_BYTES_MAX};
use proptest::prelude::*;

/// Bytes that look like frames more often than chance allows.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let frame = (
        any::<u8>(),
        0_u8..=127,
        proptest::collection::vec(any::<u8>(), 0..200),
    );
    let bytes = frame.prop_map(|(first, len, rest)| {
        let mut bytes = vec![first & 0x8f, 0x80 | len];
        bytes.extend(rest);
        bytes
    });
    proptest::collection::vec(bytes, 0..6).prop_map(|frames| frames.concat())
}

proptest! {
    #[test]
    fn frames_do_not_depend_on_how_their_bytes_arrive(bytes in frames(), step in 1_usize..50) {
        let whole = decode(std::iter::once(bytes.as_slice()));
        prop_assert_eq!(&whole, &decode(bytes.chunks(step)));
        for message in &whole.0 {
            if let Incoming::Text(bytes) | Incoming::Binary(bytes) = message {
                prop_assert!(bytes.len() <= PAYLOAD_BYTES_MAX);
            }
        }
    }

    #[test]
    fn any_bytes_are_a_command_or_a_close_code(bytes in any::<Vec<u8>>()) {
        drop(Command::decode(&bytes));
        drop(Note::decode(&bytes));
    }

    #[test]
    fn any_json_is_a_command_or_a_close_code(op in 0_u64..12, key in "[a-z_]{1,12}", text in ".*") {
        let keys = ["token", "seq", "session_id", "guild_id", "user_ids", "presence", "shard"];
        for key in keys.into_iter().chain([key.as_str()]) {
            let mut data = serde_json::json!({"token": "x", "intents": 1, "guild_id": "1"});
            data[key] = serde_json::Value::String(text.clone());
            let payload = serde_json::json!({"op": op, "d": data}).to_string();
            drop(Command::decode(payload.as_bytes()));
        }
    }
}
