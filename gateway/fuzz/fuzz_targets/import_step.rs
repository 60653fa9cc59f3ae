//! See `gateway::fuzzing::import_step`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    gateway::fuzzing::import_step(bytes);
});
