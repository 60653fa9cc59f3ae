//! `WHERE` to keys: which partitions, and which slices of clustering keys in them.
//!
//! A clustering restriction is a prefix of equalities, then at most one range. Each becomes one
//! slice of key bytes, so that whatever a statement reads or deletes is contiguous on disk.

use super::Request;
use crate::cql::ast::{Comparison, Relation, Term};
use crate::error::{Error, Result};
use crate::schema::{Column, ColumnRole, Table};
use crate::types::ScalarType;
use crate::value::Value;
use bytes::Bytes;
use lsm::PartitionKey;
use lsm::ordered::{Order, prefix_end};
use std::ops::{Bound, RangeInclusive};

/// Most combinations that the INs of a statement may make.
const COMBINATIONS_MAX: usize = 1024;

/// Rows between two bounds of clustering key bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slice {
    pub(crate) start: Bound<Bytes>,
    pub(crate) end: Bound<Bytes>,
}

/// What a `WHERE` says about the key, by column.
pub(super) struct Restrictions<'a> {
    table: &'a Table,
    /// Per partition key column, the values that it may have; empty when it is not named.
    partition: Vec<Vec<Value>>,
    /// Per clustering column, the values that it may have; empty when it is not named by = or IN.
    clustering: Vec<Vec<Value>>,
    /// Ranges of clustering prefixes: the columns compared, how, and with what.
    ranges: Vec<(usize, Comparison, Vec<Value>)>,
    /// Tokens, if `TOKEN()` is compared.
    tokens: Option<RangeInclusive<u64>>,
    /// The columns named, in order, for messages.
    named: Vec<String>,
}

impl<'a> Restrictions<'a> {
    pub(super) fn new(
        request: &Request<'_>,
        table: &'a Table,
        relations: &[Relation],
    ) -> Result<Self> {
        let mut this = Self {
            table,
            partition: vec![Vec::new(); table.partition_columns().len()],
            clustering: vec![Vec::new(); table.clustering_columns().len()],
            ranges: Vec::new(),
            tokens: None,
            named: Vec::new(),
        };
        for relation in relations {
            this.add(request, relation)?;
        }
        Ok(this)
    }

    fn add(&mut self, request: &Request<'_>, relation: &Relation) -> Result<()> {
        match relation {
            Relation::Compare(name, Comparison::Equal, term) => {
                let value = self.key_value(request, name, term)?;
                self.equal(name, vec![value])
            }
            Relation::Compare(name, comparison, term) => {
                let value = self.key_value(request, name, term)?;
                self.range(name, *comparison, vec![value])
            }
            Relation::In(name, terms) => {
                let values: Result<Vec<Value>> = terms
                    .iter()
                    .map(|term| self.key_value(request, name, term))
                    .collect();
                self.equal(name, values?)
            }
            Relation::InMarker(name, number) => {
                let data_type = match self.table.column(name)?.data_type.scalar() {
                    Some(scalar) => crate::types::DataType::List(scalar),
                    None => return Err(self.not_a_key(name)),
                };
                match request.value(&Term::Marker(*number), data_type, name)? {
                    Value::List(values) => self.equal(name, values),
                    other => Err(Error::invalid(format!(
                        "{name} IN takes a list, not {other}"
                    ))),
                }
            }
            Relation::Tuple(names, comparison, terms) => {
                self.tuple(request, (names, *comparison, terms))
            }
            Relation::Token(names, comparison, term) => {
                self.token(request, (names, *comparison, term))
            }
        }
    }

    /// The value of a term compared to a key column; never null or unset.
    fn key_value(&mut self, request: &Request<'_>, name: &str, term: &Term) -> Result<Value> {
        let column = self.table.column(name)?;
        if !matches!(
            column.role,
            ColumnRole::Partition | ColumnRole::Clustering(_)
        ) {
            return Err(self.not_a_key(name));
        }
        if !self.named.iter().any(|named| named == name) {
            self.named.push(name.to_owned());
        }
        let value = request.value(term, column.data_type, name)?;
        if matches!(value, Value::Null | Value::Unset) {
            let what = value.type_name();
            return Err(Error::invalid(format!(
                "key column {name} is compared to {what}"
            )));
        }
        Ok(value)
    }

    fn position(columns: &[Column], name: &str) -> Option<usize> {
        columns.iter().position(|column| column.name == name)
    }

    fn equal(&mut self, name: &str, mut values: Vec<Value>) -> Result<()> {
        let table = self.table;
        let slot = if let Some(position) = Self::position(table.partition_columns(), name) {
            self.partition.get_mut(position)
        } else if let Some(position) = Self::position(table.clustering_columns(), name) {
            self.clustering.get_mut(position)
        } else {
            return Err(self.not_a_key(name));
        };
        let Some(slot) = slot else {
            return Err(Error::bug("a key column without its slot"));
        };
        if !slot.is_empty() {
            return Err(Error::invalid(format!("WHERE compares {name} twice")));
        }
        if values.is_empty() {
            return Err(Error::invalid(format!("{name} IN () can match nothing")));
        }
        // Duplicates would return rows twice; the order written is kept.
        let mut seen: Vec<Value> = Vec::with_capacity(values.len());
        values.retain(|value| {
            let is_new = !seen.contains(value);
            if is_new {
                seen.push(value.clone());
            }
            is_new
        });
        *slot = values;
        Ok(())
    }

    fn range(&mut self, name: &str, comparison: Comparison, values: Vec<Value>) -> Result<()> {
        let Some(position) = Self::position(self.table.clustering_columns(), name) else {
            return Err(Error::invalid(format!(
                "partition key column {name} takes = or IN; partitions are not in its order"
            ))
            .with_help(
                "try",
                format!("TOKEN({name}) {comparison} ?, to read tables in parts"),
            ));
        };
        self.ranges.push((position, comparison, values));
        Ok(())
    }

    fn tuple(
        &mut self,
        request: &Request<'_>,
        (names, comparison, terms): (&[String], Comparison, &[Term]),
    ) -> Result<()> {
        let mut values = Vec::with_capacity(names.len());
        for (name, term) in names.iter().zip(terms) {
            values.push(self.key_value(request, name, term)?);
        }
        if comparison == Comparison::Equal {
            return names
                .iter()
                .zip(values)
                .try_for_each(|(name, value)| self.equal(name, vec![value]));
        }
        let columns = self.table.clustering_columns();
        let first = names.first().and_then(|name| Self::position(columns, name));
        let run = first.and_then(|first| columns.get(first..first + names.len()));
        let Some((first, run)) = first.zip(run) else {
            return Err(Error::invalid(
                "a tuple compares clustering columns in their order",
            ));
        };
        if !run.iter().map(|column| &column.name).eq(names) {
            return Err(Error::invalid(
                "a tuple compares clustering columns in their order",
            ));
        }
        if run
            .windows(2)
            .any(|pair| pair.first().map(order) != pair.last().map(order))
        {
            return Err(Error::invalid(
                "a tuple range needs columns that sort in one direction",
            ));
        }
        self.ranges.push((first, comparison, values));
        Ok(())
    }

    fn token(
        &mut self,
        request: &Request<'_>,
        (names, comparison, term): (&[String], Comparison, &Term),
    ) -> Result<()> {
        check_token_columns(self.table, names)?;
        let value = request.value(term, ScalarType::BigInt.into(), "TOKEN()")?;
        let Value::BigInt(number) = value else {
            return Err(Error::invalid("TOKEN() takes a bigint"));
        };
        let token = super::read::bigint_to_token(number);
        let tokens = self.tokens.take().unwrap_or(0..=u64::MAX);
        let (start, end) = tokens.into_inner();
        let empty = RangeInclusive::new(1, 0);
        self.tokens = Some(match comparison {
            Comparison::Greater => token.checked_add(1).map_or(empty, |at| start.max(at)..=end),
            Comparison::GreaterOrEqual => start.max(token)..=end,
            Comparison::Less => token.checked_sub(1).map_or(empty, |at| start..=end.min(at)),
            Comparison::LessOrEqual => start..=end.min(token),
            Comparison::Equal | Comparison::NotEqual => start.max(token)..=end.min(token),
        });
        Ok(())
    }

    /// Whether `WHERE` says nothing about the key's partition.
    pub(super) fn names_no_partition(&self) -> bool {
        self.partition.iter().all(Vec::is_empty)
    }

    /// Whether `WHERE` restricts clustering columns.
    pub(super) fn names_rows(&self) -> bool {
        !self.ranges.is_empty() || self.clustering.iter().any(|values| !values.is_empty())
    }

    /// Whether every clustering column is named by = or IN.
    pub(super) fn names_whole_rows(&self) -> bool {
        self.clustering.iter().all(|values| !values.is_empty())
    }

    /// The tokens compared, if any.
    pub(super) fn tokens(&self) -> Option<RangeInclusive<u64>> {
        self.tokens.clone()
    }

    /// The error that the partition key is not named whole.
    pub(super) fn incomplete(&self) -> Error {
        let table = self.table;
        let key: Vec<&str> = table
            .partition_columns()
            .iter()
            .map(|column| column.name.as_str())
            .collect();
        let tests: Vec<String> = key.iter().map(|name| format!("{name} = ?")).collect();
        let named = if self.named.is_empty() {
            "nothing".to_owned()
        } else {
            self.named.join(", ")
        };
        Error::invalid(format!(
            "WHERE must name the whole partition key of {}",
            table.full_name()
        ))
        .with_help("partition key", format!("({})", key.join(", ")))
        .with_help("you named", named)
        .with_help("try", format!("... WHERE {}", tests.join(" AND ")))
    }

    fn not_a_key(&mut self, name: &str) -> Error {
        self.named.push(name.to_owned());
        if self.partition.iter().any(Vec::is_empty) {
            return self.incomplete();
        }
        let table = self.table;
        let clustering = crate::schema::names(table.clustering_columns());
        let shown = if clustering.is_empty() {
            "none".to_owned()
        } else {
            clustering
        };
        Error::invalid(format!(
            "WHERE on {name}, which is not part of the key of {}",
            { table.full_name() }
        ))
        .with_help("clustering key", shown)
        .with_help("try", format!("a second table keyed by {name}"))
    }

    /// The partitions named, in the order written.
    pub(super) fn partitions(&self) -> Result<Vec<PartitionKey>> {
        if self.partition.iter().any(Vec::is_empty) {
            return Err(self.incomplete());
        }
        let keys = combinations(&self.partition)?;
        keys.iter()
            .map(|values| self.table.partition_key(values))
            .collect()
    }

    /// The one partition that a write names.
    pub(super) fn partition(&self) -> Result<PartitionKey> {
        let mut partitions = self.partitions()?;
        match (partitions.pop(), partitions.is_empty()) {
            (Some(partition), true) => Ok(partition),
            _ => Err(
                Error::invalid("a write names one partition, not several by IN")
                    .with_help("try", "BEGIN BATCH ... APPLY BATCH"),
            ),
        }
    }

    /// The one row that a write names.
    pub(super) fn row(&self) -> Result<Bytes> {
        let mut rows = self.rows()?.ok_or_else(|| self.incomplete_row())?;
        match (rows.pop(), rows.is_empty()) {
            (Some(row), true) => Ok(row),
            _ => Err(Error::invalid(
                "this statement takes one row, not several by IN",
            )),
        }
    }

    fn incomplete_row(&self) -> Error {
        let key = crate::schema::names(self.table.clustering_columns());
        Error::invalid(format!(
            "WHERE must name the row of {} by =",
            self.table.full_name()
        ))
        .with_help("clustering key", format!("({key})"))
        .with_help("you named", self.named.join(", "))
    }

    /// The rows named by = and IN on the whole clustering key; `None` when it is not whole.
    pub(super) fn rows(&self) -> Result<Option<Vec<Bytes>>> {
        if !self.ranges.is_empty() || self.clustering.iter().any(Vec::is_empty) {
            return Ok(None);
        }
        let keys = combinations(&self.clustering)?;
        keys.iter()
            .map(|values| self.table.clustering_key(values))
            .collect::<Result<_>>()
            .map(Some)
    }

    /// The slices named, in key order.
    pub(super) fn slices(&self) -> Result<Vec<Slice>> {
        let prefix_len = self
            .clustering
            .iter()
            .take_while(|values| !values.is_empty())
            .count();
        let late = self
            .clustering
            .iter()
            .skip(prefix_len)
            .any(|values| !values.is_empty());
        if late
            || self
                .ranges
                .iter()
                .any(|(position, ..)| *position != prefix_len)
        {
            let key = crate::schema::names(self.table.clustering_columns());
            return Err(Error::invalid(
                "WHERE may restrict clustering columns by = from the left, then one by a range",
            )
            .with_help("clustering key", format!("({key})"))
            .with_help("you named", self.named.join(", ")));
        }
        let equals = self.clustering.get(..prefix_len).unwrap_or_default();
        let mut slices = Vec::new();
        for values in combinations(equals)? {
            slices.push(self.slice(&values)?);
        }
        slices.sort_by(|a, b| start_bytes(a).cmp(start_bytes(b)));
        Ok(slices)
    }

    fn slice(&self, equals: &[Value]) -> Result<Slice> {
        let prefix = self.table.clustering_key(equals)?;
        let mut slice = Slice {
            start: from(&prefix),
            end: up_to(&prefix),
        };
        if equals.len() == self.clustering.len() {
            return Ok(slice);
        }
        for (position, comparison, values) in &self.ranges {
            let column = self.table.clustering_columns().get(*position);
            let is_descending = column.map(order) == Some(Order::Descending);
            let mut key = equals.to_vec();
            key.extend(values.iter().cloned());
            let edge = self.table.clustering_key(&key)?;
            // A descending column stores its complement, so larger values come first.
            let (is_lower, includes) = match comparison {
                Comparison::Greater => (true, false),
                Comparison::GreaterOrEqual => (true, true),
                Comparison::Less => (false, false),
                Comparison::LessOrEqual => (false, true),
                Comparison::Equal | Comparison::NotEqual => {
                    return Err(Error::bug("an equality among ranges"));
                }
            };
            let is_start = is_lower != is_descending;
            match (is_start, includes) {
                (true, true) => narrow_start(&mut slice, from(&edge)),
                (true, false) => narrow_start(&mut slice, after(&edge)),
                (false, true) => narrow_end(&mut slice, up_to(&edge)),
                (false, false) => narrow_end(&mut slice, Bound::Excluded(edge)),
            }
        }
        Ok(slice)
    }
}

fn order(column: &Column) -> Order {
    match column.role {
        ColumnRole::Clustering(order) => order,
        _ => Order::Ascending,
    }
}

/// `TOKEN()` takes the placement columns, or the whole partition key as other databases have it.
pub(super) fn check_token_columns(table: &Table, names: &[String]) -> Result<()> {
    let is = |columns: &[Column]| columns.iter().map(|column| &column.name).eq(names);
    if is(table.placement_columns()) || is(table.partition_columns()) {
        return Ok(());
    }
    let expected = crate::schema::names(table.placement_columns());
    Err(Error::invalid(format!(
        "TOKEN() of {} takes ({expected})",
        table.full_name()
    )))
}

/// From the first key with this prefix.
fn from(prefix: &Bytes) -> Bound<Bytes> {
    if prefix.is_empty() {
        Bound::Unbounded
    } else {
        Bound::Included(prefix.clone())
    }
}

/// Up to the last key with this prefix.
fn up_to(prefix: &Bytes) -> Bound<Bytes> {
    prefix_end(prefix).map_or(Bound::Unbounded, |end| Bound::Excluded(end.into()))
}

/// From behind the last key with this prefix; nothing lies behind a prefix without an end.
fn after(prefix: &Bytes) -> Bound<Bytes> {
    let end = prefix_end(prefix).map(Bytes::from);
    Bound::Included(end.unwrap_or_else(|| Bytes::from(vec![0xff; prefix.len() + 1])))
}

fn start_bytes(slice: &Slice) -> &[u8] {
    match &slice.start {
        Bound::Included(key) | Bound::Excluded(key) => key,
        Bound::Unbounded => &[],
    }
}

fn narrow_start(slice: &mut Slice, start: Bound<Bytes>) {
    let candidate = Slice {
        start,
        end: Bound::Unbounded,
    };
    if start_bytes(&candidate) > start_bytes(slice) {
        slice.start = candidate.start;
    }
}

fn narrow_end(slice: &mut Slice, end: Bound<Bytes>) {
    // Ends are exclusive or open, see `up_to`.
    let narrows = match (&slice.end, &end) {
        (_, Bound::Unbounded) => false,
        (Bound::Unbounded, _) => true,
        (
            Bound::Excluded(old) | Bound::Included(old),
            Bound::Excluded(new) | Bound::Included(new),
        ) => new < old,
    };
    if narrows {
        slice.end = end;
    }
}

/// Every choice of one value per column, the last column changing fastest.
fn combinations(columns: &[Vec<Value>]) -> Result<Vec<Vec<Value>>> {
    let count = columns
        .iter()
        .fold(1_usize, |count, values| count.saturating_mul(values.len()));
    if count > COMBINATIONS_MAX {
        return Err(Error::invalid(format!(
            "IN makes {count} combinations, more than the {COMBINATIONS_MAX} allowed"
        ))
        .with_help("try", "several statements"));
    }
    let mut rows: Vec<Vec<Value>> = vec![Vec::new()];
    for values in columns {
        rows = rows
            .into_iter()
            .flat_map(|row| {
                values.iter().map(move |value| {
                    let mut longer = row.clone();
                    longer.push(value.clone());
                    longer
                })
            })
            .collect();
    }
    Ok(rows)
}
