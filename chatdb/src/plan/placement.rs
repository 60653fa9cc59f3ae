//! Which bound values choose the tablet of a statement, so that a client can send it to the right node.
//!
//! The node finds this once, when the statement is prepared; the client hashes the values of each
//! execution as the node does. A client that is wrong, because the table was made anew, sends to a
//! node that sends on: slower, never wrong.

use super::bind::coerce;
use crate::cql::ast::{Comparison, Relation, Statement, Term};
use crate::encoding::encode_component;
use crate::schema::Catalog;
use crate::types::{DataType, ScalarType};
use crate::value::Value;
use lsm::ordered::Order;
use xxhash_rust::xxh3::xxh3_64;

/// Columns of a placement key that are believed.
pub(crate) const PLACEMENT_COLUMNS_MAX: usize = 32;

/// The markers of a statement that are bound to the placement key, in key order, with its types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Placement(pub(crate) Vec<(u16, ScalarType)>);

impl Placement {
    /// Of a statement on tables of the catalog; `None` when the placement key is not bound by single
    /// values.
    pub(crate) fn of(
        catalog: &Catalog,
        keyspace: Option<&str>,
        statement: &Statement,
    ) -> Option<Self> {
        let (table, key) = match statement {
            Statement::Insert(insert) => (&insert.table, Key::Inserted(&insert.values)),
            Statement::Update(update) => (&update.table, Key::Compared(&update.relations)),
            Statement::Delete(delete) => (&delete.table, Key::Compared(&delete.relations)),
            Statement::Select(select) => (&select.table, Key::Compared(&select.relations)),
            _ => return None,
        };
        let keyspace = table.keyspace.as_deref().or(keyspace);
        let table = catalog.table(keyspace, &table.table).ok()?;
        let columns = table.placement_columns().iter().map(|column| {
            let scalar = column.data_type.scalar()?;
            Some((key.marker(&column.name)?, scalar))
        });
        let columns: Vec<_> = columns.collect::<Option<_>>()?;
        (!columns.is_empty() && columns.len() <= PLACEMENT_COLUMNS_MAX).then_some(Self(columns))
    }

    /// The token of the values, if they can be a key.
    pub(crate) fn token(&self, values: &[Value]) -> Option<u64> {
        let mut key = Vec::with_capacity(16);
        for (marker, scalar) in &self.0 {
            let value = values.get(usize::from(*marker))?;
            let value = if value.scalar_type() == Some(*scalar) {
                encode_component(&mut key, value, Order::Ascending)
            } else {
                let value = coerce(value.clone(), DataType::Scalar(*scalar))?;
                encode_component(&mut key, &value, Order::Ascending)
            };
            value.ok()?;
        }
        Some(xxh3_64(&key))
    }
}

/// Where a statement names its key.
enum Key<'a> {
    Inserted(&'a [(String, Term)]),
    Compared(&'a [Relation]),
}

impl Key<'_> {
    /// The marker that a column is given by, if it is given by one.
    fn marker(&self, name: &str) -> Option<u16> {
        let term = match self {
            Self::Inserted(values) => {
                let mut found = values.iter().filter(|(column, _)| column == name);
                found.next().map(|(_, term)| term)
            }
            Self::Compared(relations) => relations.iter().find_map(|relation| match relation {
                Relation::Compare(column, Comparison::Equal, term) if column == name => Some(term),
                _ => None,
            }),
        };
        match term {
            Some(Term::Marker(number)) => Some(*number),
            Some(Term::Literal(_)) | None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cql::parse;
    use crate::plan::{Plan, Request, plan};

    fn catalog() -> Catalog {
        let mut catalog = Catalog::default();
        for text in [
            "CREATE KEYSPACE k",
            "CREATE TABLE k.t (a text, b int, c bigint, v text, PRIMARY KEY ((a, b), c)) WITH placement = (a, b)",
            "CREATE TABLE k.one (id bigint PRIMARY KEY, v text)",
        ] {
            let parsed = parse(text).unwrap();
            let Plan::Ddl(command) = plan(&Request::new(&catalog), &parsed.statement).unwrap()
            else {
                unreachable!("{text} changes the schema");
            };
            catalog = catalog.apply_ddl(&command).unwrap();
        }
        catalog
    }

    #[test]
    fn a_client_finds_the_token_that_the_node_finds() {
        let catalog = catalog();
        let text = |it: &str| Value::from(it);
        let cases: [(&str, Vec<Value>); 5] = [
            (
                "INSERT INTO k.t (c, b, a, v) VALUES (?, ?, ?, 'x')",
                vec![Value::BigInt(1), Value::BigInt(7), text("room")],
            ),
            (
                "UPDATE k.t SET v = ? WHERE b = ? AND a = ? AND c = 4",
                vec![text("x"), Value::Int(7), text("room")],
            ),
            (
                "DELETE FROM k.t WHERE a = ? AND b = ?",
                vec![text("room"), Value::Int(7)],
            ),
            (
                "SELECT v FROM k.t WHERE c > 2 AND a = ? AND b = ?",
                vec![text("room"), Value::Int(7)],
            ),
            ("SELECT v FROM k.one WHERE id = ?", vec![Value::Int(9)]),
        ];
        for (text, values) in cases {
            let parsed = parse(text).unwrap();
            let placement = Placement::of(&catalog, None, &parsed.statement);
            let token = placement.unwrap().token(&values);
            let request = Request {
                values: &values,
                ..Request::new(&catalog)
            };
            let expected = match plan(&request, &parsed.statement).unwrap() {
                Plan::Write(write) => write.tokens().first().copied(),
                Plan::Read(read) => read.tokens().unwrap().first().copied(),
                other => unreachable!("{other:?}"),
            };
            assert!(token.is_some() && token == expected, "{text}");
        }
    }

    #[test]
    fn a_statement_whose_tablet_is_not_bound_has_no_placement() {
        let catalog = catalog();
        for text in [
            "SELECT v FROM k.t",
            "SELECT v FROM k.t WHERE a = ? AND b IN (1, 2)",
            "SELECT v FROM k.t WHERE a = 'room' AND b = ?",
            "INSERT INTO k.nothing (id) VALUES (?)",
            "DROP TABLE k.t",
        ] {
            let parsed = parse(text).unwrap();
            assert_eq!(
                Placement::of(&catalog, None, &parsed.statement),
                None,
                "{text}"
            );
        }
        let parsed = parse("SELECT v FROM k.one WHERE id = ?").unwrap();
        let placement = Placement::of(&catalog, None, &parsed.statement).unwrap();
        assert_eq!(placement.token(&[]), None);
        assert_eq!(placement.token(&[Value::Null]), None);
        assert_eq!(placement.token(&[Value::from("nine")]), None);
    }
}
