//! See `chatdb::fuzzing::peer`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    chatdb::fuzzing::peer(bytes);
});
