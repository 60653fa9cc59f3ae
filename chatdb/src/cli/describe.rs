//! `DESCRIBE` in the shell: keyspaces, tables, one table.

use crate::cli::render::grid;
use crate::db::status::{Schema, TableSchema};
use crate::error::{Error, Result};

/// The text for the words after DESCRIBE.
pub(crate) fn describe(
    words: &[&str],
    schema: &Schema,
    keyspace: Option<&str>,
    width: usize,
) -> Result<String> {
    let is = |position: usize, word: &str| {
        words
            .get(position)
            .is_some_and(|given| given.eq_ignore_ascii_case(word))
    };
    match words {
        [] => Ok(tables(schema, keyspace, width)),
        [_] if is(0, "tables") => Ok(tables(schema, keyspace, width)),
        [_] if is(0, "keyspaces") => Ok(keyspaces(schema, width)),
        [_] if is(0, "schema") => Ok(cql(schema.tables.iter())),
        [_] if is(0, "keyspace") => one_keyspace(keyspace.unwrap_or_default(), schema),
        [_, name] if is(0, "keyspace") => one_keyspace(name, schema),
        [_, name] if is(0, "table") => one_table(name, schema, keyspace, width),
        [name] => one_table(name, schema, keyspace, width),
        _ => Err(
            Error::invalid("DESCRIBE does not know what this is").with_help(
                "try",
                "DESCRIBE TABLES, KEYSPACES, KEYSPACE name, TABLE name",
            ),
        ),
    }
}

fn keyspaces(schema: &Schema, width: usize) -> String {
    let rows = schema
        .keyspaces
        .iter()
        .map(|name| {
            let of_it = schema.tables.iter().filter(|table| &table.keyspace == name);
            vec![name.clone(), of_it.count().to_string()]
        })
        .collect();
    grid(&["keyspace", "tables"], rows, &[1], width)
}

fn tables(schema: &Schema, keyspace: Option<&str>, width: usize) -> String {
    let rows = schema
        .tables
        .iter()
        .filter(|table| keyspace.is_none_or(|name| table.keyspace == name))
        .map(|table| {
            vec![
                table.keyspace.clone(),
                table.name.clone(),
                table.columns.len().to_string(),
            ]
        })
        .collect();
    grid(&["keyspace", "table", "columns"], rows, &[2], width)
}

fn one_keyspace(name: &str, schema: &Schema) -> Result<String> {
    if !schema.keyspaces.iter().any(|keyspace| keyspace == name) {
        return Err(Error::not_found(format!("keyspace {name} does not exist"))
            .with_help("keyspaces", schema.keyspaces.join(", ")));
    }
    Ok(cql(schema
        .tables
        .iter()
        .filter(|table| table.keyspace == name)))
}

fn cql<'a>(tables: impl Iterator<Item = &'a TableSchema>) -> String {
    let texts: Vec<String> = tables.map(|table| terminated(&table.cql)).collect();
    texts.join("\n")
}

fn one_table(name: &str, schema: &Schema, keyspace: Option<&str>, width: usize) -> Result<String> {
    let (keyspace, table_name) = match name.split_once('.') {
        Some((keyspace, table)) => (Some(keyspace), table),
        None => (keyspace, name),
    };
    let keyspace = keyspace.ok_or_else(|| {
        Error::invalid(format!("which keyspace is {name} in?")).with_help("try", "USE keyspace;")
    })?;
    let table = schema.table(keyspace, table_name).ok_or_else(|| {
        let there = schema
            .tables
            .iter()
            .filter(|table| table.keyspace == keyspace);
        let names: Vec<&str> = there.map(|table| table.name.as_str()).collect();
        Error::not_found(format!("table {keyspace}.{table_name} does not exist"))
            .with_help("tables", names.join(", "))
    })?;
    let rows = table
        .columns
        .iter()
        .map(|column| {
            vec![
                column.name.clone(),
                column.data_type.to_string(),
                column.kind.name().to_owned(),
            ]
        })
        .collect();
    let columns = grid(&["column", "type", "part"], rows, &[], width);
    Ok(format!("{columns}\n{}", terminated(&table.cql)))
}

fn terminated(cql: &str) -> String {
    format!("{};\n", cql.trim_end().trim_end_matches(';'))
}
