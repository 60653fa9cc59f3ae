//! See `chatdb::fuzzing::page_state`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    chatdb::fuzzing::page_state(bytes);
});
