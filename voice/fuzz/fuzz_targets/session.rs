//! Any bytes: as authentic packets of clients, they harm nothing and no packet number goes out twice.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    voice::fuzzing::session(input);
});
