//! See `chatdb::fuzzing::value`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    chatdb::fuzzing::value(bytes);
});
