//! Any bytes: an offer is refused, or its answer has only clean lines.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| voice::fuzzing::offers(input));
