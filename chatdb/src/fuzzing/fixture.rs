//! A catalog and stores on memory, made once and shared by all runs of a target.

use crate::command::WriteCommand;
use crate::cql::parse;
use crate::plan::{Plan, ReadPlan, Request, plan};
use crate::schema::{Catalog, DdlCommand};
use crate::tablet::{ReadCursor, Store};
use bytes::Bytes;
use lsm::vfs::MemoryVfs;
use lsm::{Engine, EngineOptions};
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// Rows of the table that page states are tried on.
pub(super) const ROWS: usize = 2;
/// Applied commands after which a store is thrown away, to bound time and memory.
const COMMANDS_MAX: u64 = 512;
/// Time of every command, in microseconds since 1970.
const TIME_US: u64 = 1_700_000_000_000_000;

/// Tables with every kind of column, key order, bucket and option. Their ids are fixed by the order.
pub(super) const TABLES: [&str; 3] = [
    "CREATE TABLE k.t (a int, b int, PRIMARY KEY (a, b))",
    "CREATE TABLE k.messages (channel_id bigint, bucket int, message_id bigint, author_id bigint, \
     content text, tags set<text>, marks map<text, int>, log list<text>, topic text STATIC, \
     PRIMARY KEY ((channel_id, bucket), message_id)) \
     WITH CLUSTERING ORDER BY (message_id DESC) AND placement = (channel_id) AND upsert = false \
     AND bucket = {'column': 'bucket', 'days': 10, 'origin_ms': 1420070400000}",
    "CREATE TABLE k.every (a text, b uuid, c boolean, d blob, e timestamp, f double, g int, \
     h set<uuid>, i map<timestamp, double>, j list<blob>, k set<boolean>, \
     PRIMARY KEY ((a, b), c, d, e, f))",
];

const READ: &str = "SELECT * FROM k.t";

pub(super) struct Fixture {
    pub(super) engine: Arc<Engine>,
    pub(super) catalog: Catalog,
    /// Version and fingerprint of a page state of [`READ`].
    pub(super) page_head: Bytes,
}

pub(super) fn fixture() -> &'static Fixture {
    static FIXTURE: OnceLock<Fixture> = OnceLock::new();
    FIXTURE.get_or_init(Fixture::new)
}

impl Fixture {
    fn new() -> Self {
        let catalog = known();
        let mut store = empty_store(&catalog);
        for row in 1..=ROWS {
            let text = format!("INSERT INTO k.t (a, b) VALUES ({row}, 1)");
            let bytes = write(&catalog, &text);
            let index = u64::try_from(row).expect("a small number");
            store.apply(index, 1, &[bytes]).expect("a row is written");
        }
        let engine = Arc::clone(store.engine());
        let mut made = Self {
            engine,
            catalog,
            page_head: Bytes::new(),
        };
        let first = made.read(None, Some(1)).expect("the read is planned");
        let page = store.read(&first, 0).expect("the first row is read");
        let page_state = page.page_state.expect("there is a second row");
        made.page_head = page_state.slice(..9);
        made
    }

    /// The plan of the read that goes on at a page state, if it is not refused.
    pub(super) fn resume(&self, page_state: &[u8]) -> Option<ReadPlan> {
        self.read(Some(page_state), None)
    }

    fn read(&self, page_state: Option<&[u8]>, page_rows: Option<u32>) -> Option<ReadPlan> {
        static STATEMENT: OnceLock<crate::cql::Parsed> = OnceLock::new();
        let parsed = STATEMENT.get_or_init(|| parse(READ).expect("a statement"));
        let request = Request {
            page_rows,
            page_state,
            ..Request::new(&self.catalog)
        };
        match plan(&request, &parsed.statement) {
            Ok(Plan::Read(read)) => Some(read),
            _ => None,
        }
    }
}

/// The catalog of [`TABLES`].
fn known() -> Catalog {
    let mut catalog = Catalog::new();
    for text in std::iter::once("CREATE KEYSPACE k").chain(TABLES) {
        let parsed = parse(text).expect("a statement");
        let command = DdlCommand::new(&parsed.statement, None).expect("a schema command");
        catalog = catalog.apply_ddl(&command).expect("a table is made");
    }
    catalog
}

fn empty_store(catalog: &Catalog) -> Store {
    let vfs = Arc::new(MemoryVfs::default());
    let engine = Engine::open(vfs, Path::new("/t"), EngineOptions::default());
    let engine = Arc::new(engine.expect("an empty engine opens"));
    let mut store = Store::open(engine, &[]).expect("an empty store opens");
    for table in catalog.tables() {
        store.define_table(table).expect("a table is defined");
    }
    store
}

/// The page state after the first row of the table that page states are tried on.
#[cfg(test)]
pub(super) fn first_page() -> Bytes {
    let fixture = fixture();
    let read = fixture.read(None, Some(1)).expect("the read is planned");
    let mut cursor = ReadCursor::new(&read).expect("a read without a page state starts");
    while cursor.token().is_some() {
        cursor
            .step(&fixture.engine, u64::MAX, 0)
            .expect("a row is read");
    }
    cursor.finish().page_state.expect("there is a second row")
}

/// The bytes of a write.
pub(super) fn write(catalog: &Catalog, text: &str) -> Bytes {
    let parsed = parse(text).expect("a statement");
    match plan(&Request::new(catalog), &parsed.statement) {
        Ok(Plan::Write(write)) => write.encode().expect("a small write"),
        other => unreachable!("{text} is a write, not {other:?}"),
    }
}

/// A store that commands are applied to, one after the other.
pub(super) struct Applier {
    store: Store,
    applied: u64,
    reads: Vec<ReadPlan>,
}

impl Applier {
    pub(super) fn new() -> Self {
        let catalog = &fixture().catalog;
        let tables = ["k.t", "k.messages", "k.every"];
        let read = |table: &str| {
            let parsed = parse(&format!("SELECT * FROM {table}")).expect("a statement");
            match plan(&Request::new(catalog), &parsed.statement) {
                Ok(Plan::Read(read)) => read,
                other => unreachable!("a select is a read, not {other:?}"),
            }
        };
        Self {
            store: empty_store(catalog),
            applied: 0,
            reads: tables.into_iter().map(read).collect(),
        }
    }

    /// Whether a tablet took the command.
    pub(super) fn apply(&mut self, command: &WriteCommand, bytes: Bytes) -> bool {
        if self.applied >= COMMANDS_MAX {
            self.store = empty_store(&fixture().catalog);
            self.applied = 0;
        }
        self.applied = self.applied.saturating_add(1);
        let outcome = self.store.apply(self.applied, TIME_US, &[bytes]);
        let Ok(applied) = outcome else {
            // A refused entry stops a tablet for good.
            self.applied = COMMANDS_MAX;
            return false;
        };
        assert_eq!(applied.len(), 1);
        let _readable = command.changes(&fixture().catalog).is_ok();
        if self.applied.is_multiple_of(16) {
            self.read();
        }
        true
    }

    fn read(&self) {
        for plan in &self.reads {
            let Ok(mut cursor) = ReadCursor::new(plan) else {
                continue;
            };
            while cursor.token().is_some() {
                if cursor
                    .step(self.store.engine(), u64::MAX, TIME_US / 1000)
                    .is_err()
                {
                    break;
                }
            }
            let _rows = cursor.finish();
        }
    }
}
