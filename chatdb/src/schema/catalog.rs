//! The catalog: all keyspaces and tables at one version.

use super::table::Table;
use crate::error::{Error, Result};
use lsm::TableId;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Number of a keyspace, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyspaceId(pub u32);

/// A keyspace: a name that tables live under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyspace {
    /// Its number.
    pub id: KeyspaceId,
    /// Its name.
    pub name: String,
    /// Free text.
    pub comment: String,
    pub(super) tables: BTreeMap<String, TableId>,
}

/// All keyspaces and tables. Immutable; cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Catalog {
    pub(super) version: u64,
    pub(super) next_keyspace_id: u32,
    pub(super) next_table_id: u32,
    pub(super) keyspaces: BTreeMap<String, Keyspace>,
    pub(super) tables: BTreeMap<TableId, Arc<Table>>,
}

impl Default for Catalog {
    fn default() -> Self {
        Self {
            version: 0,
            next_keyspace_id: 1,
            next_table_id: 1,
            keyspaces: BTreeMap::new(),
            tables: BTreeMap::new(),
        }
    }
}

impl Catalog {
    /// A catalog without keyspaces, version 0.
    pub fn new() -> Self {
        Self::default()
    }

    /// Grows by one with every command that changes something.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The id that the next table gets; every table ever made has a smaller one.
    pub fn next_table_id(&self) -> u32 {
        self.next_table_id
    }

    /// All keyspaces by name.
    pub fn keyspaces(&self) -> impl Iterator<Item = &Keyspace> {
        self.keyspaces.values()
    }

    /// All tables by id.
    pub fn tables(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.tables.values()
    }

    /// The tables of a keyspace by name.
    pub fn tables_of<'a>(&'a self, keyspace: &'a Keyspace) -> impl Iterator<Item = &'a Arc<Table>> {
        keyspace
            .tables
            .values()
            .filter_map(|id| self.tables.get(id))
    }

    /// The keyspace of this name, or an error that lists the keyspaces.
    pub fn keyspace(&self, name: &str) -> Result<&Keyspace> {
        self.keyspaces.get(name).ok_or_else(|| {
            let names: Vec<&str> = self.keyspaces.keys().map(String::as_str).collect();
            let try_line = format!("CREATE KEYSPACE {}", crate::cql::quote_name(name));
            Error::not_found(format!("no keyspace {name}"))
                .with_help("keyspaces", list_or_none(&names))
                .with_help("try", try_line)
        })
    }

    /// The table of this id, if it was not dropped.
    pub fn table_by_id(&self, id: TableId) -> Option<&Arc<Table>> {
        self.tables.get(&id)
    }

    /// The table of this name; `keyspace` is the named one or the one in use.
    pub fn table(&self, keyspace: Option<&str>, name: &str) -> Result<&Arc<Table>> {
        let keyspace = self.keyspace(required_keyspace(keyspace, name)?)?;
        let found = keyspace.tables.get(name).and_then(|id| self.tables.get(id));
        found.ok_or_else(|| {
            let names: Vec<&str> = keyspace.tables.keys().map(String::as_str).collect();
            Error::not_found(format!("no table {}.{name}", keyspace.name))
                .with_help("tables", list_or_none(&names))
        })
    }

    /// Ids of tables that `older` has and this catalog has not: dropped or truncated since.
    pub fn dropped_since(&self, older: &Self) -> Vec<TableId> {
        older
            .tables
            .keys()
            .filter(|id| !self.tables.contains_key(id))
            .copied()
            .collect()
    }
}

/// The keyspace, or an error that says how to name one.
pub(crate) fn required_keyspace<'a>(keyspace: Option<&'a str>, table: &str) -> Result<&'a str> {
    keyspace.ok_or_else(|| {
        Error::invalid(format!(
            "table {table} is named without a keyspace, and none is in use"
        ))
        .with_help("try", format!("keyspace.{table}, or USE keyspace first"))
    })
}

fn list_or_none(names: &[&str]) -> String {
    if names.is_empty() {
        "none yet".to_owned()
    } else {
        names.join(", ")
    }
}
