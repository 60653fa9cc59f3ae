//! See `gateway::fuzzing::note`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    gateway::fuzzing::note(bytes);
});
