//! Entry points for the fuzz targets: every decoder of bytes from a disk, a log or a peer.
//!
//! Not part of the interface: hidden, and free to change. Each function must return, whatever the
//! bytes are; what decodes must survive encoding and decoding again. It says whether anything was
//! accepted, so that a test can tell a seed that reaches the decoder from one that dies in front of
//! it. Where a checksum covers everything the function computes it, because a fuzzer never would.

mod fixture;
#[cfg(test)]
pub(crate) mod tests;

use crate::ScalarType;
use crate::command::{Response, WriteCommand};
use crate::cql::{is_complete, parse, split};
use crate::encoding::{decode_components, decode_scalar, encode_component, encode_scalar};
use crate::group0::{SystemCommand, SystemState, decode_outcome, encode_outcome};
use crate::plan::{Plan, Request, plan};
use crate::schema::{Catalog, DdlCommand};
use crate::stream::cursor::Cursor;
use crate::tablet::{Owner, ReadCursor, Store};
use bytes::Bytes;
use fixture::{Applier, fixture};
use lsm::ordered::Order;
use std::cell::RefCell;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

pub use crate::rpc::fuzz::message;
pub use crate::rpc::fuzz_peer::peer;

/// An entry point: the bytes in, whether anything was accepted out.
pub type Target = fn(&[u8]) -> bool;

/// Every entry point under the name of its fuzz target and of its directory of seeds.
pub const TARGETS: [(&str, Target); 11] = [
    ("statement", statement),
    ("value", value),
    ("command", command),
    ("apply", apply),
    ("catalog", catalog),
    ("state", state),
    ("page_state", page_state),
    ("cursor", cursor),
    ("group0", group0),
    ("message", message),
    ("peer", peer),
];

/// Any text as CQL: a statement that prints back to itself, or an error.
pub fn statement(input: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(input) else {
        return false;
    };
    let _complete = is_complete(text);
    if let Ok(parts) = split(text) {
        assert!(parts.iter().all(|part| text.contains(part)));
    }
    let Ok(parsed) = parse(text) else {
        return false;
    };
    let printed = parsed.statement.to_string();
    let again = parse(&printed).expect("a printed statement parses");
    // NaN is not equal to itself; its text is.
    assert_eq!(
        format!("{:?}", parsed.statement),
        format!("{:?}", again.statement)
    );
    true
}

/// A cell of every type, and a key of columns that the first byte chooses.
pub fn value(input: &[u8]) -> bool {
    let Some((choice, rest)) = input.split_first() else {
        return false;
    };
    let mut accepted = false;
    let bytes = Bytes::copy_from_slice(rest);
    for scalar in ScalarType::ALL {
        if let Ok(value) = decode_scalar(scalar, &bytes) {
            let again = encode_scalar(&value).expect("a decoded value encodes");
            assert_eq!(again, bytes);
            accepted = true;
        }
    }
    let order = |bit: u8| {
        if choice & bit == 0 {
            Order::Ascending
        } else {
            Order::Descending
        }
    };
    let scalar = |place: u8| {
        let number = usize::from((choice >> place) & 7);
        *ScalarType::ALL.get(number).expect("eight types")
    };
    let columns = [
        (scalar(0), order(1)),
        (scalar(3), order(2)),
        (scalar(5), order(4)),
    ];
    let Ok(values) = decode_components(rest, &columns) else {
        return accepted;
    };
    let mut key = Vec::new();
    for (value, (_, order)) in values.iter().zip(columns) {
        encode_component(&mut key, value, order).expect("a decoded component encodes");
    }
    assert_eq!(key, rest);
    true
}

/// A write command as a log entry carries it, a tablet's response, and a schema command.
pub fn command(input: &[u8]) -> bool {
    let mut accepted = false;
    let bytes = Bytes::copy_from_slice(input);
    if let Ok(command) = WriteCommand::decode(&bytes) {
        let again = command
            .encode()
            .expect("a decoded command is within the limits");
        assert_eq!(again, bytes);
        // Bytes of keys and cells are the tablet's; a subscriber reads them with the catalog.
        let _readable = command.changes(&fixture().catalog).is_ok();
        accepted = true;
    }
    if let Ok(response) = Response::decode(&bytes) {
        let again = Response::decode(&response.encode()).expect("a response decodes");
        assert_eq!(again.encode(), response.encode());
        accepted = true;
    }
    if let Ok(command) = DdlCommand::decode(input) {
        let again = DdlCommand::decode(&command.encode()).expect("a command decodes");
        assert_eq!(again, command);
        for catalog in [&Catalog::new(), &fixture().catalog] {
            if let Ok(next) = catalog.apply_ddl(&command) {
                let again = Catalog::decode(&next.encode()).expect("a catalog decodes");
                assert_eq!(again, next);
            }
        }
        accepted = true;
    }
    accepted
}

/// A write command that is applied: whatever decodes, a tablet takes it or refuses it, and its rows
/// can be read afterwards.
pub fn apply(input: &[u8]) -> bool {
    thread_local! {
        static APPLIER: RefCell<Applier> = RefCell::new(Applier::new());
    }
    let bytes = Bytes::copy_from_slice(input);
    let Ok(command) = WriteCommand::decode(&bytes) else {
        return false;
    };
    APPLIER.with_borrow_mut(|applier| applier.apply(&command, bytes))
}

/// A catalog, with and without a checksum that fits.
pub fn catalog(input: &[u8]) -> bool {
    let _refused = Catalog::decode(input).is_err();
    let Ok(catalog) = Catalog::decode(&sealed(input.to_vec())) else {
        return false;
    };
    let again = Catalog::decode(&catalog.encode()).expect("a catalog decodes");
    assert_eq!(again, catalog);
    for table in catalog.tables() {
        let _text = table.to_cql();
    }
    true
}

/// A tablet's part of its manifest and, with a checksum that fits, the state of its store.
pub fn state(input: &[u8]) -> bool {
    let bytes = Bytes::copy_from_slice(input);
    let mut accepted = false;
    if let Ok(owner) = Owner::decode(&bytes) {
        let again = Owner::decode(&owner.encode()).expect("what was read can be written");
        assert_eq!(again, owner);
        accepted = !input.is_empty();
    }
    let engine = || Arc::clone(&fixture().engine);
    if let Ok(store) = Store::open(engine(), &sealed(input.to_vec())) {
        let state = store.state();
        let again = Store::open(engine(), &state).expect("a written state opens");
        assert_eq!(again.state(), state);
        accepted = true;
    }
    accepted
}

/// A page state behind the head of a real one, with a checksum that fits: a read that goes on from
/// there, or a refusal. It never gives more rows than the table has.
pub fn page_state(input: &[u8]) -> bool {
    let fixture = fixture();
    let _refused = fixture.resume(input).is_none();
    let page_state = sealed([&fixture.page_head, input].concat());
    let Some(read) = fixture.resume(&page_state) else {
        return false;
    };
    let Ok(mut cursor) = ReadCursor::new(&read) else {
        return false;
    };
    while cursor.token().is_some() {
        if cursor.step(&fixture.engine, u64::MAX, 0).is_err() {
            return false;
        }
    }
    assert!(cursor.finish().len() <= fixture::ROWS);
    true
}

/// The cursor of a subscriber, with a checksum that fits.
pub fn cursor(input: &[u8]) -> bool {
    let _refused = Cursor::decode(input).is_err();
    let check = xxh3_64(input).to_le_bytes();
    let sealed = [input, check.get(..4).unwrap_or_default()].concat();
    let Ok(cursor) = Cursor::decode(&sealed) else {
        return false;
    };
    assert_eq!(cursor.encode(), sealed);
    true
}

/// What group 0 keeps: its state file with magic, length and checksum that fit (first byte 0), its
/// commands and their outcomes.
pub fn group0(input: &[u8]) -> bool {
    let Some((kind, rest)) = input.split_first() else {
        return false;
    };
    match kind % 3 {
        0 => {
            let _refused = SystemState::decode(rest).is_err();
            let len = u32::try_from(rest.len()).unwrap_or(u32::MAX).to_le_bytes();
            let file = sealed([b"chatdbG0", len.as_slice(), rest].concat());
            let Ok(state) = SystemState::decode(&file) else {
                return false;
            };
            let again = SystemState::decode(&state.encode()).expect("a written state is read");
            assert_eq!(again, state);
        }
        1 => {
            let Ok(command) = SystemCommand::decode(rest) else {
                return false;
            };
            let again = SystemCommand::decode(&command.encode()).expect("a command decodes");
            assert_eq!(again, command);
        }
        _ => {
            let outcome = decode_outcome(rest);
            let again = decode_outcome(&encode_outcome(&outcome));
            assert_eq!(again.is_ok(), outcome.is_ok());
        }
    }
    true
}

/// Plans a statement with hostile values and options, as a node does for a client.
pub(crate) fn planned(request: &Request<'_>, text: &str) -> bool {
    let Ok(parsed) = parse(text) else {
        return false;
    };
    match plan(request, &parsed.statement) {
        Ok(Plan::Write(write)) => {
            if let Ok(bytes) = write.encode() {
                let command = WriteCommand::decode(&bytes).expect("a planned write decodes");
                assert_eq!(command.encode().expect("it was encoded"), bytes);
            }
            true
        }
        Ok(Plan::Read(read)) => ReadCursor::new(&read).is_ok(),
        Ok(Plan::Ddl(command)) => {
            let again = DdlCommand::decode(&command.encode()).expect("a planned command decodes");
            assert_eq!(again, command);
            true
        }
        Ok(_) => true,
        Err(_) => false,
    }
}

/// The catalog that statements of clients are planned with.
pub(crate) fn known_catalog() -> &'static Catalog {
    &fixture().catalog
}

/// The bytes with the checksum behind them that most of our structures end with.
fn sealed(mut body: Vec<u8>) -> Vec<u8> {
    let check = xxh3_64(&body);
    body.extend(check.to_le_bytes());
    body
}
