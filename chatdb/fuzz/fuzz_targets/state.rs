//! Any bytes as a tablet's state and as a page state, with checksums that fit: an error or a state.
#![no_main]

use bytes::Bytes;
use chatdb::plan::{Plan, Request, plan};
use chatdb::schema::{Catalog, DdlCommand};
use chatdb::tablet::{ReadCursor, Store};
use libfuzzer_sys::fuzz_target;
use lsm::vfs::MemoryVfs;
use lsm::{Engine, EngineOptions};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use xxhash_rust::xxh3::xxh3_64;

struct Fixture {
    engine: Arc<Engine>,
    catalog: Catalog,
    /// Version and fingerprint of the read below.
    head: Bytes,
}

const READ: &str = "SELECT * FROM k.t";

fn fixture() -> &'static Fixture {
    static FIXTURE: OnceLock<Fixture> = OnceLock::new();
    FIXTURE.get_or_init(|| {
        let vfs = Arc::new(MemoryVfs::default());
        let engine = Engine::open(vfs, Path::new("/t"), EngineOptions::default()).unwrap();
        let engine = Arc::new(engine);
        let mut store = Store::open(Arc::clone(&engine), &[]).unwrap();
        let mut catalog = Catalog::new();
        for text in ["CREATE KEYSPACE k", "CREATE TABLE k.t (a int, b int, PRIMARY KEY (a, b))"] {
            let statement = chatdb::cql::parse(text).unwrap().statement;
            let command = DdlCommand::new(&statement, None).unwrap();
            catalog = catalog.apply_ddl(&command).unwrap();
        }
        for table in catalog.tables() {
            store.define_table(table).unwrap();
        }
        for (index, row) in [(1, 1), (2, 2)] {
            let text = format!("INSERT INTO k.t (a, b) VALUES ({row}, 1)");
            let statement = chatdb::cql::parse(&text).unwrap().statement;
            let Plan::Write(write) = plan(&Request::new(&catalog), &statement).unwrap() else {
                unreachable!("an insert is a write")
            };
            store.apply(index, 1, &[write.encode().unwrap()]).unwrap();
        }
        let request = Request { page_rows: Some(1), ..Request::new(&catalog) };
        let statement = chatdb::cql::parse(READ).unwrap().statement;
        let Plan::Read(read) = plan(&request, &statement).unwrap() else {
            unreachable!("a select is a read")
        };
        let head = store.read(&read, 0).unwrap().page_state.unwrap().slice(..9);
        Fixture { engine, catalog, head }
    })
}

fn sealed(body: Vec<u8>) -> Vec<u8> {
    let check = xxh3_64(&body).to_le_bytes();
    [body, check.to_vec()].concat()
}

fuzz_target!(|input: &[u8]| {
    let fixture = fixture();
    if let Ok(store) = Store::open(Arc::clone(&fixture.engine), &sealed(input.to_vec())) {
        let state = store.state();
        assert_eq!(Store::open(Arc::clone(&fixture.engine), &state).unwrap().state(), state);
    }
    let page_state = sealed([&fixture.head, input].concat());
    let request = Request { page_state: Some(&page_state), ..Request::new(&fixture.catalog) };
    let statement = chatdb::cql::parse(READ).unwrap().statement;
    let Ok(Plan::Read(read)) = plan(&request, &statement) else { return };
    let Ok(mut cursor) = ReadCursor::new(&read) else { return };
    while cursor.token().is_some() {
        if cursor.step(&fixture.engine, u64::MAX, 0).is_err() {
            return;
        }
    }
    assert!(cursor.finish().len() <= 2);
});
