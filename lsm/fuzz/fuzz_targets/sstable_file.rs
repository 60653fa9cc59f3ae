//! Frames and whole SSTables. Whatever the bytes are: an error or a value, never a panic.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lsm::fuzzing::sstable(bytes));
