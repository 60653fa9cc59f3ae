//! Any bytes: a stored membership decodes or is refused, and what decodes encodes to the same bytes.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use raft::StoredMembership;

fuzz_target!(|input: &[u8]| {
    if let Ok(stored) = StoredMembership::decode(Bytes::copy_from_slice(input)) {
        assert_eq!(stored.encode().expect("what was read can be written"), input);
    }
});
