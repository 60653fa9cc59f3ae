//! Any bytes: an entry payload decodes or is refused, and what decodes encodes to the same bytes.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use raft::Payload;

fuzz_target!(|input: &[u8]| {
    if let Ok(payload) = Payload::decode(Bytes::copy_from_slice(input)) {
        assert_eq!(payload.encode().expect("what was read can be written"), input);
    }
});
