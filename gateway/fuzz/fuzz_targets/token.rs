//! See `gateway::fuzzing::token`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    gateway::fuzzing::token(bytes);
});
