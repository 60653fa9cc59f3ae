//! Any bytes: the readers of RTP, VP8, H.264, RTCP, feedback, STUN and hellos take or refuse them.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| voice::fuzzing::packets(input));
