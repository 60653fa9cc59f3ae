//! See `gateway::fuzzing::query`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    gateway::fuzzing::query(bytes);
});
