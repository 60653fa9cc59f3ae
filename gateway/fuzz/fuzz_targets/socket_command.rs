//! See `gateway::fuzzing::socket_command`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    gateway::fuzzing::socket_command(bytes);
});
