//! See `gateway::fuzzing::form`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    gateway::fuzzing::form(bytes);
});
