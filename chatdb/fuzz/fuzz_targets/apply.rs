//! See `chatdb::fuzzing::apply`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    chatdb::fuzzing::apply(bytes);
});
