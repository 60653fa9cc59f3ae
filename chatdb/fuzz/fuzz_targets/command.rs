//! See `chatdb::fuzzing::command`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    chatdb::fuzzing::command(bytes);
});
