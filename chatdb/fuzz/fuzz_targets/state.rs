//! See `chatdb::fuzzing::state`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    chatdb::fuzzing::state(bytes);
});
