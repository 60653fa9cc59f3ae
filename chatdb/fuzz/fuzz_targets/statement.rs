//! Any text as CQL: a statement that prints back to itself, or an error; never a panic.
#![no_main]

use chatdb::cql::{is_complete, parse, split};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let _complete = is_complete(text);
    if let Ok(parts) = split(text) {
        assert!(parts.iter().all(|part| text.contains(part)));
    }
    let Ok(parsed) = parse(text) else { return };
    let printed = parsed.statement.to_string();
    let again = parse(&printed).expect("a printed statement parses");
    // NaN is not equal to itself; its text is.
    assert_eq!(format!("{:?}", parsed.statement), format!("{:?}", again.statement));
});
