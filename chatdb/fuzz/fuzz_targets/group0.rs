//! See `chatdb::fuzzing::group0`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    chatdb::fuzzing::group0(bytes);
});
