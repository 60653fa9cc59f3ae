//! Any bytes as a write command, a response or a schema command: what decodes encodes back.
#![no_main]

use bytes::Bytes;
use chatdb::command::{Response, WriteCommand};
use chatdb::schema::{Catalog, DdlCommand};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let bytes = Bytes::copy_from_slice(input);
    if let Ok(command) = WriteCommand::decode(&bytes) {
        assert_eq!(command.encode().expect("a decoded command is within the limits"), bytes);
        let changes = command.changes(&Catalog::new()).expect("no table, no change");
        assert!(changes.is_empty());
    }
    if let Ok(response) = Response::decode(&bytes) {
        let again = Response::decode(&response.encode()).expect("a response decodes");
        assert_eq!(again.encode(), response.encode());
    }
    if let Ok(command) = DdlCommand::decode(input) {
        assert!(DdlCommand::decode(&command.encode()).is_ok());
        let _outcome = Catalog::new().apply_ddl(&command).is_ok();
    }
});
