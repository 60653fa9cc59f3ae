//! See `gateway::fuzzing::text`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    gateway::fuzzing::text(bytes);
});
