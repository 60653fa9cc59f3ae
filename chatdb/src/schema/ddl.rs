//! Commands that change the catalog, and what each does to it.
//!
//! A command is stored as the statement itself, in the one-line form that `Display` prints, with
//! every table name complete. The text is the format: it can be read in a log dump, and the grammar
//! only ever grows. Its bytes are `version u8 = 1 | UTF-8 text`.

use super::catalog::{Catalog, Keyspace, KeyspaceId, required_keyspace};
use super::options::{self, TableOptions, checked_comment, takes};
use super::table::{Column, ColumnRole, Table};
use crate::cql::ast::{
    AlterTable, ColumnDefinition, CreateTable, Direction, KeyspaceDefinition, Literal, OptionValue,
    Statement, TableChange, TableName, TypeName,
};
use crate::cql::{self, STATEMENT_BYTES_MAX};
use crate::error::{Error, ErrorKind, Result};
use crate::types::{DataType, ScalarType};
use bytes::Bytes;
use lsm::ordered::Order;
use lsm::{ColumnId, TableId};
use std::collections::BTreeMap;
use std::sync::Arc;

const VERSION: u8 = 1;
/// Most columns of a table.
const COLUMNS_MAX: usize = 1024;
/// Most tables of a database: every tablet holds a part of each.
const TABLES_MAX: usize = 4096;
/// Most keyspaces of a database.
const KEYSPACES_MAX: usize = 1024;
/// Longest name, in bytes.
const NAME_BYTES_MAX: usize = 96;

/// A change of the catalog, checked when it is applied.
#[derive(Clone, Debug, PartialEq)]
pub struct DdlCommand {
    statement: Statement,
}

impl DdlCommand {
    /// The command of a `CREATE`, `ALTER`, `DROP` or `TRUNCATE`; `keyspace` completes table names.
    pub fn new(statement: &Statement, keyspace: Option<&str>) -> Result<Self> {
        let mut statement = statement.clone();
        let table = match &mut statement {
            Statement::CreateTable(create) => Some(&mut create.table),
            Statement::AlterTable(alter) => Some(&mut alter.table),
            Statement::DropTable { table, .. } | Statement::Truncate(table) => Some(table),
            Statement::CreateKeyspace(_)
            | Statement::AlterKeyspace { .. }
            | Statement::DropKeyspace { .. } => None,
            _ => return Err(Error::bug("a statement that changes no schema")),
        };
        if let Some(table) = table {
            let named = table.keyspace.as_deref().or(keyspace);
            table.keyspace = Some(required_keyspace(named, &table.table)?.to_owned());
        }
        Ok(Self { statement })
    }

    /// The statement, with complete names.
    pub fn statement(&self) -> &Statement {
        &self.statement
    }

    /// The bytes to replicate.
    pub fn encode(&self) -> Bytes {
        let mut bytes = vec![VERSION];
        bytes.extend(self.statement.to_string().into_bytes());
        bytes.into()
    }

    /// The command in these bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let damaged = |what: &str| Error::corrupt(format!("a schema command is damaged: {what}"));
        let Some((&VERSION, text)) = bytes.split_first() else {
            return Err(damaged("its version is not known"));
        };
        // Names that were bare when written may need a little more room quoted.
        if text.len() > STATEMENT_BYTES_MAX {
            return Err(damaged("it is too long"));
        }
        let text = std::str::from_utf8(text).map_err(|_| damaged("it is not text"))?;
        let parsed = cql::parse(text).map_err(|cause| damaged("its text").with_source(cause))?;
        Self::new(&parsed.statement, None)
            .map_err(|cause| damaged("its statement").with_source(cause))
    }
}

impl Catalog {
    /// The catalog after this command. Deterministic; an error leaves everything as it is.
    ///
    /// With `IF [NOT] EXISTS` and nothing to do, the result has the same version.
    pub fn apply_ddl(&self, command: &DdlCommand) -> Result<Self> {
        let mut next = self.clone();
        let changed = match &command.statement {
            Statement::CreateKeyspace(definition) => next.create_keyspace(definition)?,
            Statement::AlterKeyspace { name, options } => {
                let comment = keyspace_comment(options)?;
                self.keyspace(name)?;
                if let Some(keyspace) = next.keyspaces.get_mut(name) {
                    keyspace.comment = comment;
                }
                true
            }
            Statement::DropKeyspace { name, if_exists } => next.drop_keyspace(name, *if_exists)?,
            Statement::CreateTable(create) => next.create_table(create)?,
            Statement::AlterTable(alter) => next.alter_table(alter)?,
            Statement::DropTable { table, if_exists } => next.drop_table(table, *if_exists)?,
            Statement::Truncate(table) => next.truncate(table)?,
            _ => return Err(Error::bug("a statement that changes no schema")),
        };
        next.version += u64::from(changed);
        Ok(next)
    }

    fn create_keyspace(&mut self, definition: &KeyspaceDefinition) -> Result<bool> {
        let comment = keyspace_comment(&definition.options)?;
        check_name("keyspace", &definition.name)?;
        if self.keyspaces.contains_key(&definition.name) {
            return existing(definition.if_not_exists, "keyspace", &definition.name);
        }
        if self.keyspaces.len() >= KEYSPACES_MAX {
            return Err(Error::invalid(format!(
                "there are {KEYSPACES_MAX} keyspaces already"
            )));
        }
        let id = KeyspaceId(self.next_keyspace_id);
        self.next_keyspace_id += 1;
        let name = definition.name.clone();
        let keyspace = Keyspace {
            id,
            name: name.clone(),
            comment,
            tables: BTreeMap::new(),
        };
        self.keyspaces.insert(name, keyspace);
        Ok(true)
    }

    fn drop_keyspace(&mut self, name: &str, if_exists: bool) -> Result<bool> {
        if if_exists && !self.keyspaces.contains_key(name) {
            return Ok(false);
        }
        let ids: Vec<TableId> = self.keyspace(name)?.tables.values().copied().collect();
        for id in ids {
            self.tables.remove(&id);
        }
        self.keyspaces.remove(name);
        Ok(true)
    }

    fn create_table(&mut self, create: &CreateTable) -> Result<bool> {
        let keyspace = complete(&create.table)?.to_owned();
        check_name("table", &create.table.table)?;
        if self
            .keyspace(&keyspace)?
            .tables
            .contains_key(&create.table.table)
        {
            let name = format!("{keyspace}.{}", create.table.table);
            return existing(create.if_not_exists, "table", &name);
        }
        if self.tables.len() >= TABLES_MAX {
            return Err(Error::invalid(format!(
                "there are {TABLES_MAX} tables already"
            )));
        }
        let table = new_table(TableId(self.next_table_id), &keyspace, create)?;
        self.next_table_id += 1;
        self.insert(table);
        Ok(true)
    }

    fn insert(&mut self, table: Table) {
        if let Some(keyspace) = self.keyspaces.get_mut(&table.keyspace) {
            keyspace.tables.insert(table.name.clone(), table.id);
        }
        self.tables.insert(table.id, Arc::new(table));
    }

    fn drop_table(&mut self, name: &TableName, if_exists: bool) -> Result<bool> {
        let keyspace = complete(name)?;
        let id = match self.table(Some(keyspace), &name.table) {
            Ok(table) => table.id,
            Err(error) if if_exists && error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        if let Some(keyspace) = self.keyspaces.get_mut(keyspace) {
            keyspace.tables.remove(&name.table);
        }
        self.tables.remove(&id);
        Ok(true)
    }

    fn truncate(&mut self, name: &TableName) -> Result<bool> {
        let mut table = Table::clone(self.table(Some(complete(name)?), &name.table)?);
        self.tables.remove(&table.id);
        table.id = TableId(self.next_table_id);
        self.next_table_id += 1;
        self.insert(table);
        Ok(true)
    }

    fn alter_table(&mut self, alter: &AlterTable) -> Result<bool> {
        let found = self.table(Some(complete(&alter.table)?), &alter.table.table)?;
        let mut table = Table::clone(found);
        match &alter.change {
            TableChange::Add(columns) => {
                for column in columns {
                    add_column(&mut table, column)?;
                }
            }
            TableChange::Drop(names) => {
                for name in names {
                    drop_column(&mut table, name)?;
                }
            }
            TableChange::With(options) => {
                for (name, value) in options {
                    if !table.options.set(name, value)? {
                        return Err(Error::invalid(format!("option {name} cannot be altered"))
                            .with_help(
                                "can be altered",
                                "upsert, default_time_to_live, compaction, comment",
                            ));
                    }
                }
            }
        }
        check_counters(&table)?;
        self.insert(table);
        Ok(true)
    }
}

/// Counters are added to and nothing else, so that all of a table is counters or nothing is.
fn check_counters(table: &Table) -> Result<()> {
    if !table.has_counters() {
        return Ok(());
    }
    let mut others = table.cell_columns().iter();
    if let Some(other) = others.find(|column| !column.data_type.is_counter()) {
        let what = format!(
            "{} has counters, so all its columns outside the key are; {} is a {}",
            table.full_name(),
            other.name,
            other.data_type
        );
        let try_this = "a table of its own for the counters, with the same key";
        return Err(Error::invalid(what).with_help("try", try_this));
    }
    if table.options.default_ttl_s > 0 {
        return Err(Error::invalid("counters have no time to live"));
    }
    if !table.options.upsert {
        let what = "counters begin with their first UPDATE: upsert = false leaves no way to begin";
        return Err(Error::invalid(what));
    }
    Ok(())
}

fn complete(name: &TableName) -> Result<&str> {
    required_keyspace(name.keyspace.as_deref(), &name.table)
}

fn existing(is_fine: bool, what: &str, name: &str) -> Result<bool> {
    if is_fine {
        return Ok(false);
    }
    Err(
        Error::new(ErrorKind::Conflict, format!("{what} {name} exists already")).with_help(
            "try",
            format!("CREATE {} IF NOT EXISTS ...", what.to_uppercase()),
        ),
    )
}

fn check_name(what: &str, name: &str) -> Result<()> {
    let is_plain = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if is_plain && !name.is_empty() && name.len() <= NAME_BYTES_MAX {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "a {what} name has letters, digits and _, at most {NAME_BYTES_MAX}; {name:?} does not fit"
    )))
}

fn keyspace_comment(options: &[(String, OptionValue)]) -> Result<String> {
    let mut comment = String::new();
    for (name, value) in options {
        match (name.as_str(), value) {
            ("comment", OptionValue::Literal(Literal::Text(text))) => {
                comment = checked_comment(text)?;
            }
            // Scripts written for Cassandra carry these; replication here is the cluster's affair.
            ("replication", OptionValue::Map(_))
            | ("durable_writes", OptionValue::Literal(Literal::Boolean(true))) => {}
            _ => {
                return Err(
                    Error::invalid(format!("keyspaces have no such option {name}"))
                        .with_help("options", "comment; replication is accepted and ignored"),
                );
            }
        }
    }
    Ok(comment)
}

fn new_table(id: TableId, keyspace: &str, create: &CreateTable) -> Result<Table> {
    let mut table = Table {
        id,
        keyspace: keyspace.to_owned(),
        name: create.table.table.clone(),
        columns: Vec::new(),
        partition_count: create.partition_key.len(),
        clustering_count: create.clustering_key.len(),
        placement_count: create.partition_key.len(),
        next_column_id: 1,
        options: TableOptions::default(),
    };
    for name in &create.partition_key {
        add_key_column(&mut table, create, name, ColumnRole::Partition)?;
    }
    for name in &create.clustering_key {
        add_key_column(
            &mut table,
            create,
            name,
            ColumnRole::Clustering(Order::Ascending),
        )?;
    }
    for column in &create.columns {
        let is_key = table
            .find(&column.name)
            .is_some_and(|found| is_key_role(found.role));
        if !is_key {
            add_column(&mut table, column)?;
        }
    }
    let mut names: Vec<&str> = create
        .columns
        .iter()
        .map(|column| column.name.as_str())
        .collect();
    names.sort_unstable();
    let twice = names.windows(2).find(|pair| pair.first() == pair.last());
    if let Some(name) = twice.and_then(<[&str]>::first) {
        return Err(Error::invalid(format!("column {name} is defined twice")));
    }
    for (name, value) in &create.options {
        set_option(&mut table, name, value)?;
    }
    check_counters(&table)?;
    Ok(table)
}

fn is_key_role(role: ColumnRole) -> bool {
    matches!(role, ColumnRole::Partition | ColumnRole::Clustering(_))
}

fn add_key_column(
    table: &mut Table,
    create: &CreateTable,
    name: &str,
    role: ColumnRole,
) -> Result<()> {
    let defined = create.columns.iter().find(|column| column.name == name);
    let column = defined.ok_or_else(|| {
        Error::invalid(format!(
            "PRIMARY KEY names {name}, which is not a column of the table"
        ))
    })?;
    let data_type = resolve_type(&column.type_name)?;
    if data_type.is_collection() || data_type.is_counter() || column.is_static {
        return Err(Error::invalid(format!(
            "key column {name} is a {data_type}{}; keys are single values, not static, no counters",
            if column.is_static { " STATIC" } else { "" }
        )));
    }
    if table.find(name).is_some() {
        return Err(Error::invalid(format!("PRIMARY KEY names {name} twice")));
    }
    push_column(table, name, data_type, role)
}

fn push_column(table: &mut Table, name: &str, data_type: DataType, role: ColumnRole) -> Result<()> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
        return Err(Error::invalid(format!(
            "a column name has 1 to {NAME_BYTES_MAX} bytes and no control characters"
        )));
    }
    if table.columns.len() >= COLUMNS_MAX {
        return Err(Error::invalid(format!(
            "a table has at most {COLUMNS_MAX} columns"
        )));
    }
    let id = ColumnId(table.next_column_id);
    table.next_column_id += 1;
    table.columns.push(Column {
        id,
        name: name.to_owned(),
        data_type,
        role,
    });
    Ok(())
}

fn add_column(table: &mut Table, column: &ColumnDefinition) -> Result<()> {
    if table.find(&column.name).is_some() {
        return Err(Error::new(
            ErrorKind::Conflict,
            format!(
                "table {} has a column {} already",
                table.full_name(),
                column.name
            ),
        ));
    }
    if column.is_static && table.clustering_count == 0 {
        return Err(Error::invalid(format!(
            "static column {} needs a clustering key: here every partition is one row",
            column.name
        )));
    }
    let role = if column.is_static {
        ColumnRole::Static
    } else {
        ColumnRole::Regular
    };
    push_column(table, &column.name, resolve_type(&column.type_name)?, role)
}

fn drop_column(table: &mut Table, name: &str) -> Result<()> {
    if is_key_role(table.column(name)?.role) {
        return Err(Error::invalid(format!(
            "column {name} is part of the key and cannot be dropped"
        )));
    }
    table.columns.retain(|column| column.name != name);
    Ok(())
}

fn resolve_type(name: &TypeName) -> Result<DataType> {
    let scalar = |name: &String| {
        ScalarType::from_name(name).ok_or_else(|| {
            let known: Vec<&str> = ScalarType::ALL.into_iter().map(ScalarType::name).collect();
            Error::invalid(format!("no type {name}")).with_help(
                "types",
                format!("{}, set<>, map<>, list<>", known.join(", ")),
            )
        })
    };
    let element = |name: &String| match scalar(name)? {
        ScalarType::Counter => Err(
            Error::invalid("a collection cannot hold counters").with_help(
                "try",
                "a counter column, and the element as part of the clustering key",
            ),
        ),
        other => Ok(other),
    };
    Ok(match name {
        TypeName::Scalar(name) => DataType::Scalar(scalar(name)?),
        TypeName::Set(of) => DataType::Set(element(of)?),
        TypeName::List(of) => DataType::List(element(of)?),
        TypeName::Map(key, value) => DataType::Map(element(key)?, element(value)?),
    })
}

fn set_option(table: &mut Table, name: &str, value: &OptionValue) -> Result<()> {
    match (name, value) {
        ("clustering order", OptionValue::Order(order)) => set_order(table, order),
        ("placement", OptionValue::Names(columns)) => {
            let key: Vec<String> = table
                .partition_columns()
                .iter()
                .map(|column| column.name.clone())
                .collect();
            if columns.is_empty() || !key.starts_with(columns) {
                return Err(
                    Error::invalid("placement is not a prefix of the partition key")
                        .with_help("partition key", format!("({})", key.join(", ")))
                        .with_help("placement", format!("({})", columns.join(", "))),
                );
            }
            table.placement_count = columns.len();
            Ok(())
        }
        ("placement", _) => Err(takes(name, "(column, ...)")),
        ("bucket", _) => {
            let bucket = options::bucket(value)?;
            let is_int = table.partition_columns().iter().any(|column| {
                column.name == bucket.column && column.data_type.scalar() == Some(ScalarType::Int)
            });
            if !is_int {
                let column = bucket.column;
                return Err(Error::invalid(format!(
                    "bucket column {column} is not an int column of the partition key"
                )));
            }
            table.options.bucket = Some(bucket);
            Ok(())
        }
        _ if table.options.set(name, value)? => Ok(()),
        _ => Err(
            Error::invalid(format!("tables have no such option {name}")).with_help(
                "options",
                "CLUSTERING ORDER BY, placement, bucket, default_time_to_live, upsert, compaction, \
             comment",
            ),
        ),
    }
}

fn set_order(table: &mut Table, order: &[(String, Direction)]) -> Result<()> {
    let start = table.partition_count;
    let columns = table.columns.get_mut(start..start + table.clustering_count);
    let columns = columns.unwrap_or_default();
    let matches = columns
        .iter()
        .map(|column| &column.name)
        .eq(order.iter().map(|(name, _)| name));
    if !matches {
        return Err(Error::invalid(
            "CLUSTERING ORDER BY does not list the clustering key in order",
        )
        .with_help("clustering key", super::table::names(columns)));
    }
    for (column, (_, direction)) in columns.iter_mut().zip(order) {
        column.role = ColumnRole::Clustering(match direction {
            Direction::Ascending => Order::Ascending,
            Direction::Descending => Order::Descending,
        });
    }
    Ok(())
}
