//! See `chatdb::fuzzing::statement`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    chatdb::fuzzing::statement(bytes);
});
