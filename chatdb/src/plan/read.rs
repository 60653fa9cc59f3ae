//! `SELECT` to slices: which partitions or tokens, which clustering ranges, what to show.

pub(crate) use super::relation::Slice;
use super::relation::{Restrictions, check_token_columns};
use super::{PAGE_ROWS_DEFAULT, Request};
use crate::cql::ast::{Direction, Select, SelectExpression, Selection};
use crate::error::{Error, Result};
use crate::result::ColumnSpec;
use crate::schema::{Column, ColumnRole, Table};
use crate::types::{DataType, ScalarType};
use bytes::Bytes;
use lsm::ordered::Order;
use lsm::{ColumnId, PartitionKey};
use std::ops::RangeInclusive;
use std::sync::Arc;
use xxhash_rust::xxh3::Xxh3;

/// Most rows of a page, whatever the request says.
const PAGE_ROWS_MAX: u32 = 10_000;

/// A read to run on the tablets of its tokens.
#[derive(Clone, Debug)]
pub struct ReadPlan {
    pub(crate) table: Arc<Table>,
    pub(crate) columns: Arc<[ColumnSpec]>,
    pub(crate) outputs: Vec<Output>,
    pub(crate) source: Source,
    /// In reading order.
    pub(crate) slices: Vec<Slice>,
    /// Whether each slice is one row at most.
    pub(crate) slices_are_rows: bool,
    /// Whether a partition that has only static columns gives a row.
    pub(crate) shows_static_only: bool,
    pub(crate) reverse: bool,
    pub(crate) limit: u64,
    pub(crate) per_partition_limit: u64,
    pub(crate) shape: Shape,
    pub(crate) page_rows: u64,
    pub(crate) page_state: Option<Bytes>,
}

/// What one result column shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Output {
    /// The n-th partition key column.
    Partition(usize),
    /// The n-th clustering column.
    Clustering(usize),
    /// A cell or collection.
    Cell {
        column: ColumnId,
        data_type: DataType,
        is_static: bool,
    },
    /// Seconds until a cell expires.
    Ttl { column: ColumnId, is_static: bool },
    /// When a cell was written, in microseconds.
    WriteTime { column: ColumnId, is_static: bool },
    /// The partition's token.
    Token,
    /// The number of rows.
    Count,
}

/// What is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// These partitions, one after another.
    Partitions(Vec<PartitionKey>),
    /// All partitions with these tokens, in token order.
    Scan(RangeInclusive<u64>),
}

/// What the rows become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One result row each.
    Rows,
    /// One result row per partition.
    Partitions,
    /// One result row in all.
    Count,
}

/// A token as CQL shows it: signed, in the same order.
pub(crate) fn token_to_bigint(token: u64) -> i64 {
    (token ^ (1 << 63)).cast_signed()
}

/// The inverse of [`token_to_bigint`].
pub(super) fn bigint_to_token(number: i64) -> u64 {
    number.cast_unsigned() ^ (1 << 63)
}

impl ReadPlan {
    /// Names and types of the result.
    pub fn columns(&self) -> &Arc<[ColumnSpec]> {
        &self.columns
    }

    /// The tokens of the partitions named, or `None` for a scan.
    pub fn tokens(&self) -> Option<Vec<u64>> {
        match &self.source {
            Source::Partitions(partitions) => {
                Some(partitions.iter().map(|partition| partition.token).collect())
            }
            Source::Scan(_) => None,
        }
    }

    /// A number that differs between reads whose page states must not be mixed up.
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut hash = Xxh3::new();
        hash.update(&self.table.id.0.to_le_bytes());
        // Debug text is stable within a build and only ever compared with itself.
        let text = format!(
            "{:?}{:?}{:?}{:?}",
            self.source, self.slices, self.reverse, self.shape
        );
        hash.update(text.as_bytes());
        hash.digest()
    }
}

pub(super) fn select(request: &Request<'_>, select: &Select) -> Result<ReadPlan> {
    let keyspace = select.table.keyspace.as_deref().or(request.keyspace);
    let table = Arc::clone(request.catalog.table(keyspace, &select.table.table)?);
    let restrictions = Restrictions::new(request, &table, &select.relations)?;
    let (columns, outputs, shape) = selection(&table, select)?;
    let source = source(&restrictions)?;
    let is_scan = matches!(source, Source::Scan(_));
    if is_scan && restrictions.names_rows() {
        return Err(restrictions.incomplete());
    }
    if is_scan && !select.order_by.is_empty() {
        return Err(Error::invalid(
            "ORDER BY needs the partition key in WHERE: \
                                   partitions are read in the order of their tokens",
        ));
    }
    let reverse = is_reverse(&table, select)?;
    let mut slices = restrictions.slices()?;
    if reverse {
        slices.reverse();
    }
    let limit = |term: &Option<_>, what| match term {
        Some(term) => request.limit(term, what),
        None => Ok(u64::MAX),
    };
    let rows = request
        .page_rows
        .filter(|rows| *rows > 0)
        .unwrap_or(PAGE_ROWS_DEFAULT);
    let per_partition_limit = limit(&select.per_partition_limit, "PER PARTITION LIMIT")?;
    Ok(ReadPlan {
        columns: columns.into(),
        outputs,
        source,
        slices,
        slices_are_rows: restrictions.names_whole_rows(),
        shows_static_only: !restrictions.names_rows() && shape != Shape::Count,
        reverse,
        // LIMIT cuts result rows, and a count is one.
        limit: if shape == Shape::Count {
            u64::MAX
        } else {
            limit(&select.limit, "LIMIT")?
        },
        per_partition_limit: if shape == Shape::Partitions {
            1
        } else {
            per_partition_limit
        },
        shape,
        page_rows: u64::from(rows.min(PAGE_ROWS_MAX)),
        page_state: request.page_state.map(Bytes::copy_from_slice),
        table,
    })
}

fn source(restrictions: &Restrictions<'_>) -> Result<Source> {
    match (restrictions.names_no_partition(), restrictions.tokens()) {
        (true, tokens) => Ok(Source::Scan(tokens.unwrap_or(0..=u64::MAX))),
        (false, None) => restrictions.partitions().map(Source::Partitions),
        (false, Some(_)) => Err(Error::invalid(
            "WHERE names the partition key and TOKEN() of it",
        )),
    }
}

/// Whether rows are read against the table's order. `ORDER BY` may ask for that or for the order.
fn is_reverse(table: &Table, select: &Select) -> Result<bool> {
    let columns = table.clustering_columns();
    let mut reverse = None;
    for (position, (name, direction)) in select.order_by.iter().enumerate() {
        let column = columns.get(position).filter(|column| column.name == *name);
        let Some(ColumnRole::Clustering(stored)) = column.map(|column| column.role) else {
            return Err(order_error(table));
        };
        let wanted = match direction {
            Direction::Ascending => Order::Ascending,
            Direction::Descending => Order::Descending,
        };
        let flips = wanted != stored;
        if *reverse.get_or_insert(flips) != flips {
            return Err(order_error(table));
        }
    }
    Ok(reverse.unwrap_or(false))
}

fn order_error(table: &Table) -> Error {
    let columns = table.clustering_columns();
    Error::invalid(
        "ORDER BY takes the clustering columns from the first, all in the table's order \
                    or all against it",
    )
    .with_help("clustering key", crate::schema::names(columns))
}

type Selected = (Vec<ColumnSpec>, Vec<Output>, Shape);

fn selection(table: &Table, select: &Select) -> Result<Selected> {
    let items = match &select.selection {
        Selection::All => {
            let spec = |column: &Column| ColumnSpec::new(column.name.clone(), column.data_type);
            let columns = table.columns().iter().map(spec).collect();
            let outputs = table
                .columns()
                .iter()
                .map(|column| output(table, column))
                .collect();
            return shaped(table, select, (columns, outputs));
        }
        Selection::Items(items) => items,
    };
    let mut columns = Vec::with_capacity(items.len());
    let mut outputs = Vec::with_capacity(items.len());
    for item in items {
        let (output, data_type) = expression(table, &item.expression)?;
        let name = item
            .alias
            .clone()
            .unwrap_or_else(|| default_name(&item.expression));
        columns.push(ColumnSpec { name, data_type });
        outputs.push(output);
    }
    shaped(table, select, (columns, outputs))
}

fn shaped(
    table: &Table,
    select: &Select,
    (columns, outputs): (Vec<ColumnSpec>, Vec<Output>),
) -> Result<Selected> {
    let counts = outputs.contains(&Output::Count);
    if counts && (outputs.len() > 1 || select.distinct) {
        return Err(Error::invalid("COUNT(*) stands alone in a SELECT"));
    }
    if !select.distinct {
        let shape = if counts { Shape::Count } else { Shape::Rows };
        return Ok((columns, outputs, shape));
    }
    let is_partition = |output: &Output| match output {
        Output::Partition(_) | Output::Token => true,
        Output::Cell { is_static, .. } => *is_static,
        _ => false,
    };
    if !outputs.iter().all(is_partition) {
        let key = crate::schema::names(table.partition_columns());
        return Err(
            Error::invalid("SELECT DISTINCT takes partition key and static columns")
                .with_help("partition key", format!("({key})")),
        );
    }
    Ok((columns, outputs, Shape::Partitions))
}

fn output(table: &Table, column: &Column) -> Output {
    let position = |columns: &[Column]| columns.iter().position(|it| it.id == column.id);
    match column.role {
        ColumnRole::Partition => {
            Output::Partition(position(table.partition_columns()).unwrap_or_default())
        }
        ColumnRole::Clustering(_) => {
            Output::Clustering(position(table.clustering_columns()).unwrap_or_default())
        }
        ColumnRole::Static | ColumnRole::Regular => Output::Cell {
            column: column.id,
            data_type: column.data_type,
            is_static: column.role == ColumnRole::Static,
        },
    }
}

fn expression(table: &Table, expression: &SelectExpression) -> Result<(Output, DataType)> {
    let plain_cell = |name: &str, what: &str| {
        let column = table.column(name)?;
        let is_static = column.role == ColumnRole::Static;
        match column.role {
            ColumnRole::Static | ColumnRole::Regular if !column.data_type.is_collection() => {
                Ok((column.id, is_static))
            }
            _ => Err(Error::invalid(format!(
                "{what}({name}): keys and collections have none, single values have"
            ))),
        }
    };
    Ok(match expression {
        SelectExpression::Column(name) => {
            let column = table.column(name)?;
            (output(table, column), column.data_type)
        }
        SelectExpression::Count => (Output::Count, ScalarType::BigInt.into()),
        SelectExpression::Ttl(name) => {
            let (column, is_static) = plain_cell(name, "TTL")?;
            (Output::Ttl { column, is_static }, ScalarType::Int.into())
        }
        SelectExpression::WriteTime(name) => {
            let (column, is_static) = plain_cell(name, "WRITETIME")?;
            (
                Output::WriteTime { column, is_static },
                ScalarType::BigInt.into(),
            )
        }
        SelectExpression::Token(names) => {
            check_token_columns(table, names)?;
            (Output::Token, ScalarType::BigInt.into())
        }
    })
}

fn default_name(expression: &SelectExpression) -> String {
    match expression {
        SelectExpression::Column(name) => name.clone(),
        SelectExpression::Count => "count".to_owned(),
        SelectExpression::Ttl(name) => format!("ttl({name})"),
        SelectExpression::WriteTime(name) => format!("writetime({name})"),
        SelectExpression::Token(names) => format!("token({})", names.join(", ")),
    }
}
