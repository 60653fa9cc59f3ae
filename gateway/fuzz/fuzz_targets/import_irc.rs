//! See `gateway::fuzzing::import_irc`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    gateway::fuzzing::import_irc(bytes);
});
