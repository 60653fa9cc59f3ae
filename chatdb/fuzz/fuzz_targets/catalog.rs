//! See `chatdb::fuzzing::catalog`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    chatdb::fuzzing::catalog(bytes);
});
