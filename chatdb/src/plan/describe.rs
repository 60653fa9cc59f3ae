//! `DESCRIBE`: the schema as rows of text.

use super::Request;
use crate::cql::ast::Describe;
use crate::cql::quote_name;
use crate::error::{Error, Result};
use crate::result::{ColumnSpec, ResultSet};
use crate::schema::Keyspace;
use crate::types::ScalarType;
use crate::value::Value;

pub(super) fn describe(request: &Request<'_>, what: &Describe) -> Result<ResultSet> {
    let catalog = request.catalog;
    match what {
        Describe::Keyspaces => {
            let rows = catalog
                .keyspaces()
                .map(|keyspace| vec![keyspace.name.as_str().into()]);
            Ok(texts(&["keyspace"], rows.collect()))
        }
        Describe::Tables => {
            let keyspaces = catalog.keyspaces();
            let shown = keyspaces.filter(|it| request.keyspace.is_none_or(|use_| use_ == it.name));
            let rows = shown.flat_map(|keyspace| {
                catalog.tables_of(keyspace).map(|table| {
                    vec![
                        Value::from(table.keyspace.as_str()),
                        Value::from(table.name.as_str()),
                    ]
                })
            });
            Ok(texts(&["keyspace", "table"], rows.collect()))
        }
        Describe::Keyspace(name) => {
            let name = name.as_deref().or(request.keyspace).ok_or_else(|| {
                Error::invalid("no keyspace is in use").with_help("try", "DESCRIBE KEYSPACE name")
            })?;
            let keyspace = catalog.keyspace(name)?;
            let tables = catalog
                .tables_of(keyspace)
                .map(|table| format!("{};", table.to_cql()));
            let parts: Vec<String> = std::iter::once(create_keyspace(keyspace))
                .chain(tables)
                .collect();
            Ok(texts(
                &["create_statement"],
                vec![vec![parts.join("\n\n").into()]],
            ))
        }
        Describe::Table(name) => {
            let keyspace = name.keyspace.as_deref().or(request.keyspace);
            let text = format!("{};", catalog.table(keyspace, &name.table)?.to_cql());
            Ok(texts(&["create_statement"], vec![vec![text.into()]]))
        }
    }
}

fn create_keyspace(keyspace: &Keyspace) -> String {
    let name = quote_name(&keyspace.name);
    if keyspace.comment.is_empty() {
        return format!("CREATE KEYSPACE {name};");
    }
    format!(
        "CREATE KEYSPACE {name} WITH comment = {};",
        Value::from(keyspace.comment.as_str())
    )
}

fn texts(names: &[&str], rows: Vec<Vec<Value>>) -> ResultSet {
    let columns: Vec<ColumnSpec> = names
        .iter()
        .map(|name| ColumnSpec::new(*name, ScalarType::Text))
        .collect();
    ResultSet::new(columns.into(), rows)
}
