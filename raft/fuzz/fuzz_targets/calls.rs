//! Any bytes: a call, its answer and the frame around them decode or are refused, and what decodes
//! encodes to the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    raft::fuzz_request(input);
    raft::fuzz_response(input);
    raft::fuzz_frames(input);
});
