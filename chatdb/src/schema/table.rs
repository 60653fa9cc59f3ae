//! One table: its columns, its key, and how keys and tokens are made of values.

use super::options::TableOptions;
use crate::cql::quote_name;
use crate::encoding;
use crate::error::{Error, Result};
use crate::types::{DataType, ScalarType};
use crate::value::Value;
use bytes::Bytes;
use lsm::ordered::Order;
use lsm::{ColumnId, PartitionKey, TableId, Window};
use std::fmt::Write;
use xxhash_rust::xxh3::xxh3_64;

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

/// What a column is to its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnRole {
    /// Part of the partition key.
    Partition,
    /// Part of the clustering key, in this order.
    Clustering(Order),
    /// One value per partition.
    Static,
    /// One value per row.
    Regular,
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its number in the table, never reused.
    pub id: ColumnId,
    /// Its name.
    pub name: String,
    /// The type of its values.
    pub data_type: DataType,
    /// What it is to the table.
    pub role: ColumnRole,
}

/// A table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its number, never reused.
    pub id: TableId,
    /// Name of its keyspace.
    pub keyspace: String,
    /// Its name in the keyspace.
    pub name: String,
    /// Partition key columns, clustering columns, then the others, each group in order.
    pub(super) columns: Vec<Column>,
    pub(super) partition_count: usize,
    pub(super) clustering_count: usize,
    /// How many leading partition key columns choose the tablet.
    pub(super) placement_count: usize,
    /// The id that the next added column gets.
    pub(super) next_column_id: u32,
    /// `WITH` options.
    pub options: TableOptions,
}

impl Table {
    /// `keyspace.table`.
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.keyspace, self.name)
    }

    /// All columns: partition key, clustering key, then the others in the order they were added.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The partition key, in order.
    pub fn partition_columns(&self) -> &[Column] {
        self.columns.get(..self.partition_count).unwrap_or_default()
    }

    /// The clustering key, in order.
    pub fn clustering_columns(&self) -> &[Column] {
        let end = self.partition_count + self.clustering_count;
        self.columns
            .get(self.partition_count..end)
            .unwrap_or_default()
    }

    /// The leading partition key columns that choose the tablet.
    pub fn placement_columns(&self) -> &[Column] {
        self.columns.get(..self.placement_count).unwrap_or_default()
    }

    /// Static and regular columns.
    pub fn cell_columns(&self) -> &[Column] {
        self.columns
            .get(self.partition_count + self.clustering_count..)
            .unwrap_or_default()
    }

    /// Whether its columns are counters: all of them are, or none.
    pub fn has_counters(&self) -> bool {
        self.cell_columns()
            .iter()
            .any(|column| column.data_type.is_counter())
    }

    /// The column of this name, if there is one.
    pub fn find(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The column of this name, or an error that lists the columns.
    pub fn column(&self, name: &str) -> Result<&Column> {
        self.find(name).ok_or_else(|| {
            Error::not_found(format!("table {} has no column {name}", self.full_name()))
                .with_help("columns", names(&self.columns))
        })
    }

    /// The column of this id, if it was not dropped.
    pub fn column_by_id(&self, id: ColumnId) -> Option<&Column> {
        self.columns.iter().find(|column| column.id == id)
    }

    /// Types of the partition key, as the key codec takes them.
    pub fn partition_types(&self) -> Vec<(ScalarType, Order)> {
        key_types(self.partition_columns())
    }

    /// Types and orders of the clustering key, as the key codec takes them.
    pub fn clustering_types(&self) -> Vec<(ScalarType, Order)> {
        key_types(self.clustering_columns())
    }

    /// Token, key and window of the partition with these key values, in key order.
    pub fn partition_key(&self, values: &[Value]) -> Result<PartitionKey> {
        let mut key = Vec::with_capacity(16);
        let mut token = 0;
        for (position, (column, value)) in self.partition_columns().iter().zip(values).enumerate() {
            self.encode_key_column(&mut key, column, value)?;
            if position + 1 == self.placement_count {
                token = xxh3_64(&key);
            }
        }
        if values.len() != self.partition_count {
            return Err(Error::bug("a partition key with too few values"));
        }
        Ok(PartitionKey {
            token,
            key: key.into(),
            window: self.window(values),
        })
    }

    /// Bytes of the first `values.len()` clustering columns.
    pub fn clustering_key(&self, values: &[Value]) -> Result<Bytes> {
        let mut key = Vec::with_capacity(16);
        for (column, value) in self.clustering_columns().iter().zip(values) {
            self.encode_key_column(&mut key, column, value)?;
        }
        Ok(key.into())
    }

    fn encode_key_column(&self, key: &mut Vec<u8>, column: &Column, value: &Value) -> Result<()> {
        let order = match column.role {
            ColumnRole::Clustering(order) => order,
            ColumnRole::Partition | ColumnRole::Static | ColumnRole::Regular => Order::Ascending,
        };
        let scalar = column.data_type.scalar();
        if value.scalar_type().is_none() || value.scalar_type() != scalar {
            return Err(Error::invalid(format!(
                "key column {} of {} takes {}, not {}",
                column.name,
                self.full_name(),
                column.data_type,
                value.type_name()
            )));
        }
        encoding::encode_component(key, value, order)
    }

    fn window(&self, partition_values: &[Value]) -> Window {
        let bucket = self.options.bucket.as_ref().and_then(|bucket| {
            let columns = self.partition_columns();
            let position = columns
                .iter()
                .position(|column| column.name == bucket.column)?;
            partition_values.get(position)
        });
        match bucket {
            Some(Value::Int(number)) => Window(i64::from(*number)),
            _ => Window::TIMELESS,
        }
    }

    /// Length and origin of a window in milliseconds, if the table has windows.
    pub fn window_ms(&self) -> Option<(u64, i64)> {
        let bucket = self.options.bucket.as_ref()?;
        let length = i64::from(bucket.days).checked_mul(DAY_MS)?;
        Some((u64::try_from(length).ok()?, bucket.origin_ms))
    }

    /// The `CREATE TABLE` that makes this table.
    pub fn to_cql(&self) -> String {
        let mut text = format!(
            "CREATE TABLE {}.{} (\n",
            quote_name(&self.keyspace),
            quote_name(&self.name)
        );
        for column in &self.columns {
            let kind = if column.role == ColumnRole::Static {
                " STATIC"
            } else {
                ""
            };
            let name = quote_name(&column.name);
            // Writing to a String cannot fail.
            let _infallible = writeln!(text, "    {name} {}{kind},", column.data_type);
        }
        let partition = quoted_names(self.partition_columns());
        let _infallible = write!(text, "    PRIMARY KEY (({partition})");
        if self.clustering_count > 0 {
            let _infallible = write!(text, ", {}", quoted_names(self.clustering_columns()));
        }
        text.push_str(")\n)");
        for (position, option) in self.option_texts().iter().enumerate() {
            let word = if position == 0 { " WITH" } else { "\n    AND" };
            let _infallible = write!(text, "{word} {option}");
        }
        text
    }

    /// Each option that is not its default, as it is written after `WITH`.
    fn option_texts(&self) -> Vec<String> {
        let mut texts = Vec::new();
        let is_descending =
            |column: &&Column| column.role == ColumnRole::Clustering(Order::Descending);
        if self
            .clustering_columns()
            .iter()
            .any(|column| is_descending(&column))
        {
            let order: Vec<String> = self
                .clustering_columns()
                .iter()
                .map(|column| {
                    let word = if is_descending(&column) {
                        "DESC"
                    } else {
                        "ASC"
                    };
                    format!("{} {word}", quote_name(&column.name))
                })
                .collect();
            texts.push(format!("CLUSTERING ORDER BY ({})", order.join(", ")));
        }
        if self.placement_count < self.partition_count {
            texts.push(format!(
                "placement = ({})",
                quoted_names(self.placement_columns())
            ));
        }
        texts.extend(self.options.texts());
        texts
    }
}

fn key_types(columns: &[Column]) -> Vec<(ScalarType, Order)> {
    columns
        .iter()
        .filter_map(|column| {
            let order = match column.role {
                ColumnRole::Clustering(order) => order,
                _ => Order::Ascending,
            };
            Some((column.data_type.scalar()?, order))
        })
        .collect()
}

/// `a, b, c`, for messages.
pub(crate) fn names(columns: &[Column]) -> String {
    columns
        .iter()
        .map(|column| column.name.as_str())
        .collect::<Vec<_>>()
        .join(", ")
}

fn quoted_names(columns: &[Column]) -> String {
    columns
        .iter()
        .map(|column| quote_name(&column.name))
        .collect::<Vec<_>>()
        .join(", ")
}
