//! Any bytes: as datagrams before the handshake, they harm nothing and no stranger gets an answer.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| voice::fuzzing::datagrams(input));
