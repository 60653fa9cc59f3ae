//! `IF` to guards.

use super::Request;
use super::write::element_bytes;
use crate::command::{CellComparison, CellTest, Guard};
use crate::cql::ast::{ColumnCondition, Comparison, Condition, ConditionTest, Term};
use crate::encoding::encode_scalar;
use crate::error::{Error, Result};
use crate::schema::{ColumnRole, Table};
use crate::types::{DataType, ScalarType};
use crate::value::Value;
use bytes::Bytes;
use lsm::ColumnId;

/// The guard of an `IF`, and the columns that it tests.
///
/// `row` is the row written, or `None` when only static columns are; with `must_exist`, column
/// tests hold only on a row that exists.
pub(super) fn guard(
    request: &Request<'_>,
    table: &Table,
    condition: &Condition,
    (row, must_exist): (Option<Bytes>, bool),
) -> Result<(Guard, Vec<ColumnId>)> {
    Ok(match condition {
        Condition::None => (Guard::None, Vec::new()),
        Condition::Exists => (Guard::Exists(row), Vec::new()),
        Condition::NotExists => (Guard::Missing(row), Vec::new()),
        Condition::Columns(conditions) => {
            let tests: Result<Vec<CellTest>> = conditions
                .iter()
                .map(|condition| test(request, table, condition))
                .collect();
            let tests = tests?;
            if row.is_none() && tests.iter().any(|test| !test.is_static) {
                return Err(Error::invalid(
                    "IF tests a column of a row that WHERE does not name",
                ));
            }
            let columns = tests.iter().map(|test| test.column).collect();
            (
                Guard::Cells {
                    row,
                    must_exist,
                    tests,
                },
                columns,
            )
        }
    })
}

fn test(request: &Request<'_>, table: &Table, condition: &ColumnCondition) -> Result<CellTest> {
    let name = &condition.column;
    let column = table.column(name)?;
    if matches!(
        column.role,
        ColumnRole::Partition | ColumnRole::Clustering(_)
    ) {
        return Err(
            Error::invalid(format!("IF tests {name}, which is part of the key"))
                .with_help("try", "IF EXISTS, or the comparison in WHERE"),
        );
    }
    let (path, scalar) = match (&condition.element, column.data_type) {
        (None, DataType::Scalar(scalar)) => (Bytes::new(), scalar),
        (Some(key), DataType::Map(key_type, value_type)) => {
            let key = request.value(key, key_type.into(), name)?;
            (element_bytes(&key)?, value_type)
        }
        (_, data_type) => {
            return Err(Error::invalid(format!(
                "IF compares single values; {name} is a {data_type}"
            ))
            .with_help("try", "an element of a map: name['key'] = value"));
        }
    };
    let operand = |term: &Term| operand(request, term, scalar, name);
    let (comparison, operands) = match &condition.test {
        ConditionTest::Compare(comparison, term) => (compare(*comparison), vec![operand(term)?]),
        ConditionTest::In(terms) => (
            CellComparison::In,
            terms.iter().map(operand).collect::<Result<_>>()?,
        ),
    };
    let is_static = column.role == ColumnRole::Static;
    Ok(CellTest {
        column: column.id,
        is_static,
        path,
        scalar,
        comparison,
        operands,
    })
}

fn operand(
    request: &Request<'_>,
    term: &Term,
    scalar: ScalarType,
    name: &str,
) -> Result<Option<Bytes>> {
    match request.value(term, scalar.into(), name)? {
        Value::Null => Ok(None),
        Value::Unset => Err(Error::invalid(format!(
            "IF compares {name} to an unset value"
        ))),
        value => encode_scalar(&value).map(Some),
    }
}

fn compare(comparison: Comparison) -> CellComparison {
    match comparison {
        Comparison::Equal => CellComparison::Equal,
        Comparison::NotEqual => CellComparison::NotEqual,
        Comparison::Less => CellComparison::Less,
        Comparison::LessOrEqual => CellComparison::LessOrEqual,
        Comparison::Greater => CellComparison::Greater,
        Comparison::GreaterOrEqual => CellComparison::GreaterOrEqual,
    }
}
