//! A catalog and one store on memory, driven by statements, as a tablet of a one-node database is.

use bytes::Bytes;
use chatdb::cql::parse;
use chatdb::plan::{Plan, Request, plan, plan_batch};
use chatdb::schema::Catalog;
use chatdb::tablet::{Applied, Store};
use chatdb::{Result, ResultSet, Value};
use lsm::vfs::{MemoryVfs, Vfs};
use lsm::{Engine, EngineOptions};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

/// Where the log's clock begins, in microseconds.
const START_US: u64 = 1_700_000_000_000_000;

pub(crate) struct Database {
    vfs: MemoryVfs,
    pub(crate) catalog: Catalog,
    pub(crate) store: Store,
    pub(crate) keyspace: Option<String>,
    pub(crate) index: u64,
    pub(crate) now_us: u64,
    pub(crate) topics: Vec<String>,
    pub(crate) request_id: Option<u128>,
    pub(crate) settled_below: Option<u64>,
    pub(crate) page_rows: Option<u32>,
    pub(crate) page_state: Option<Bytes>,
    pub(crate) last: Vec<Applied>,
}

impl Database {
    pub(crate) fn new() -> Self {
        let vfs = MemoryVfs::default();
        let store = Store::open(open_engine(&vfs), &[]).unwrap();
        Self {
            vfs,
            catalog: Catalog::new(),
            store,
            keyspace: None,
            index: 0,
            now_us: START_US,
            topics: Vec::new(),
            request_id: None,
            settled_below: None,
            page_rows: None,
            page_state: None,
            last: Vec::new(),
        }
    }

    pub(crate) fn request<'a>(&'a self, values: &'a [Value]) -> Request<'a> {
        Request {
            keyspace: self.keyspace.as_deref(),
            values,
            topics: &self.topics,
            request_id: self.request_id,
            settled_below: self.settled_below,
            page_rows: self.page_rows,
            page_state: self.page_state.as_deref(),
            ..Request::new(&self.catalog)
        }
    }

    pub(crate) fn plan(&self, text: &str, values: &[Value]) -> Result<Plan> {
        plan(&self.request(values), &parse(text)?.statement)
    }

    /// Runs one statement.
    pub(crate) fn run(&mut self, text: &str, values: &[Value]) -> Result<ResultSet> {
        match self.plan(text, values)? {
            Plan::Ddl(command) => {
                let command = chatdb::schema::DdlCommand::decode(&command.encode())?;
                let next = self.catalog.apply_ddl(&command)?;
                for id in next.dropped_since(&self.catalog) {
                    self.store.drop_table(id)?;
                }
                for table in next.tables() {
                    self.store.define_table(table)?;
                }
                self.catalog = Catalog::decode(&next.encode())?;
                assert_eq!(self.catalog, next, "the catalog survives its bytes");
                Ok(ResultSet::empty())
            }
            Plan::Use(name) => {
                self.keyspace = Some(name);
                Ok(ResultSet::empty())
            }
            Plan::Answer(result) => Ok(result),
            Plan::Read(read) => self.store.read(&read, self.now_us / 1000),
            Plan::Write(write) => {
                let response = self.entry(&[write.encode()?])?;
                write.result(&response[0])
            }
        }
    }

    /// Applies one entry of encoded commands.
    pub(crate) fn entry(&mut self, commands: &[Bytes]) -> Result<Vec<Bytes>> {
        self.index += 1;
        self.last = self.store.apply(self.index, self.now_us, commands)?;
        Ok(self
            .last
            .iter()
            .map(|applied| applied.response.clone())
            .collect())
    }

    /// Runs writes as one command.
    pub(crate) fn batch(&mut self, texts: &[&str]) -> Result<ResultSet> {
        let parsed: Vec<_> = texts.iter().map(|text| parse(text).unwrap()).collect();
        let requests: Vec<_> = parsed
            .iter()
            .map(|parsed| (self.request(&[]), &parsed.statement))
            .collect();
        let write = plan_batch(&requests)?;
        let response = self.entry(&[write.encode()?])?;
        write.result(&response[0])
    }

    /// Writes everything to files, closes, and opens again.
    pub(crate) fn restart(&mut self) {
        self.flush();
        let state = self.store.engine().flushed().owner;
        let vfs = self.vfs.clone();
        // The engine holds a lock on its directory until it is gone.
        self.store = Store::open(open_engine(&MemoryVfs::default()), &[]).unwrap();
        self.store = Store::open(open_engine(&vfs), &state).unwrap();
        for table in self.catalog.tables() {
            self.store.define_table(table).unwrap();
        }
    }

    /// Opens again what the files hold, as after a power cut; tells the last entry that they have.
    pub(crate) fn crash(&mut self) -> u64 {
        let vfs = self.vfs.clone();
        self.store = Store::open(open_engine(&MemoryVfs::default()), &[]).unwrap();
        let engine = open_engine(&vfs);
        let flushed = engine.flushed();
        self.store = Store::open(engine, &flushed.owner).unwrap();
        for table in self.catalog.tables() {
            self.store.define_table(table).unwrap();
        }
        flushed.index
    }

    pub(crate) fn flush(&mut self) {
        let engine = Arc::clone(self.store.engine());
        engine.freeze(self.store.state()).unwrap();
        while engine.flush_step().unwrap() {}
    }

    /// Runs a statement that must succeed.
    pub(crate) fn ok(&mut self, text: &str) -> ResultSet {
        self.run(text, &[])
            .unwrap_or_else(|error| panic!("{text}: {}", error.report()))
    }

    /// The result of a statement as text.
    pub(crate) fn show(&mut self, text: &str) -> String {
        match self.run(text, &[]) {
            Ok(result) => table(&result),
            Err(error) => format!("error: {}\n", error.report()),
        }
    }
}

fn open_engine(vfs: &MemoryVfs) -> Arc<Engine> {
    let vfs: Arc<dyn Vfs> = Arc::new(vfs.clone());
    Arc::new(Engine::open(vfs, Path::new("/tablet"), EngineOptions::default()).unwrap())
}

/// A result as lines of text.
pub(crate) fn table(result: &ResultSet) -> String {
    if result.columns.is_empty() {
        return "ok\n".to_owned();
    }
    let mut text = String::new();
    let names: Vec<&str> = result
        .columns
        .iter()
        .map(|column| column.name.as_str())
        .collect();
    writeln!(text, "{}", names.join(" | ")).unwrap();
    for row in &result.rows {
        let values: Vec<String> = row.values().iter().map(ToString::to_string).collect();
        writeln!(text, "{}", values.join(" | ")).unwrap();
    }
    let more = if result.page_state.is_some() {
        ", more"
    } else {
        ""
    };
    writeln!(text, "({} rows{more})", result.rows.len()).unwrap();
    text
}
