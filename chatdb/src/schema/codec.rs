//! The catalog as bytes: what a snapshot of group 0 holds.
//!
//! `version u8 = 1 | catalog version | next ids | keyspaces | tables | xxh3-64 u64`, numbers as
//! varints, text with its length before it. `docs/formats/commands.md` has the page.
//!
//! # Invariants
//!
//! * `decode(encode(c)) = c`; damaged bytes give an error, because the checksum covers all.
//! * Lengths and counts are checked before anything is allocated for them.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::catalog::{Catalog, Keyspace, KeyspaceId};
use super::options::{Bucket, TableOptions};
use super::table::{Column, ColumnRole, Table};
use crate::error::Result;
use crate::sealed::{put_count, seal, unseal};
use crate::types::{DataType, ScalarType};
use bytes::Bytes;
use lsm::encoding::varint::{self, unzigzag, zigzag};
use lsm::encoding::{DecodeError, Reader};
use lsm::ordered::Order;
use lsm::{ColumnId, TableId};
use std::collections::BTreeMap;
use std::sync::Arc;

const VERSION: u8 = 1;
/// Longest text in the catalog, in bytes.
const TEXT_BYTES_MAX: usize = 8 * 1024;
/// Most items of any list in the catalog.
const COUNT_MAX: u64 = 64 * 1024;

type Decoded<T> = std::result::Result<T, DecodeError>;

impl Catalog {
    /// The bytes of the catalog.
    pub fn encode(&self) -> Bytes {
        let mut out = vec![VERSION];
        varint::encode(&mut out, self.version);
        varint::encode(&mut out, u64::from(self.next_keyspace_id));
        varint::encode(&mut out, u64::from(self.next_table_id));
        put_count(&mut out, self.keyspaces.len());
        for keyspace in self.keyspaces.values() {
            varint::encode(&mut out, u64::from(keyspace.id.0));
            put_text(&mut out, &keyspace.name);
            put_text(&mut out, &keyspace.comment);
        }
        put_count(&mut out, self.tables.len());
        for table in self.tables.values() {
            put_table(&mut out, table);
        }
        seal(out)
    }

    /// The catalog in these bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        unseal(bytes, "the catalog", take_catalog)
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_count(out, text.len());
    out.extend(text.as_bytes());
}

fn put_table(out: &mut Vec<u8>, table: &Table) {
    varint::encode(out, u64::from(table.id.0));
    put_text(out, &table.keyspace);
    put_text(out, &table.name);
    put_count(out, table.partition_count);
    put_count(out, table.clustering_count);
    put_count(out, table.placement_count);
    varint::encode(out, u64::from(table.next_column_id));
    put_count(out, table.columns.len());
    for column in &table.columns {
        varint::encode(out, u64::from(column.id.0));
        put_text(out, &column.name);
        put_type(out, column.data_type);
        out.push(match column.role {
            ColumnRole::Partition => 0,
            ColumnRole::Clustering(Order::Ascending) => 1,
            ColumnRole::Clustering(Order::Descending) => 2,
            ColumnRole::Static => 3,
            ColumnRole::Regular => 4,
        });
    }
    put_options(out, &table.options);
}

fn put_type(out: &mut Vec<u8>, data_type: DataType) {
    match data_type {
        DataType::Scalar(scalar) => out.extend([0, scalar.code()]),
        DataType::Set(element) => out.extend([1, element.code()]),
        DataType::List(element) => out.extend([2, element.code()]),
        DataType::Map(key, value) => out.extend([3, key.code(), value.code()]),
    }
}

fn put_options(out: &mut Vec<u8>, options: &TableOptions) {
    out.push(u8::from(options.upsert));
    varint::encode(out, u64::from(options.default_ttl_s));
    match &options.bucket {
        None => out.push(0),
        Some(bucket) => {
            out.push(1);
            put_text(out, &bucket.column);
            varint::encode(out, u64::from(bucket.days));
            varint::encode(out, zigzag(bucket.origin_ms));
        }
    }
    put_count(out, options.compaction.len());
    for (name, value) in &options.compaction {
        put_text(out, name);
        put_text(out, value);
    }
    put_text(out, &options.comment);
}

fn take_u32(reader: &mut Reader<'_>, expected: &'static str) -> Decoded<u32> {
    let error = reader.error(expected);
    u32::try_from(reader.varint(expected)?).map_err(|_| error)
}

fn take_count(reader: &mut Reader<'_>, expected: &'static str) -> Decoded<usize> {
    let error = reader.error(expected);
    let count = reader.varint(expected)?;
    if count > COUNT_MAX {
        return Err(error);
    }
    usize::try_from(count).map_err(|_| error)
}

fn take_text(reader: &mut Reader<'_>, expected: &'static str) -> Decoded<String> {
    let error = reader.error(expected);
    let bytes = reader.prefixed(TEXT_BYTES_MAX, expected)?;
    String::from_utf8(bytes.to_vec()).map_err(|_| error)
}

fn take_catalog(reader: &mut Reader<'_>) -> Decoded<Catalog> {
    let error = reader.error("a known catalog version");
    if reader.u8("a version")? != VERSION {
        return Err(error);
    }
    let mut catalog = Catalog {
        version: reader.varint("a catalog version")?,
        next_keyspace_id: take_u32(reader, "the next keyspace id")?,
        next_table_id: take_u32(reader, "the next table id")?,
        ..Catalog::default()
    };
    for _ in 0..take_count(reader, "a number of keyspaces")? {
        let twice = reader.error("a keyspace that is not there yet");
        let id = KeyspaceId(take_u32(reader, "a keyspace id")?);
        let name = take_text(reader, "a keyspace name")?;
        let comment = take_text(reader, "a comment")?;
        let keyspace = Keyspace {
            id,
            name: name.clone(),
            comment,
            tables: BTreeMap::new(),
        };
        if catalog.keyspaces.insert(name, keyspace).is_some() {
            return Err(twice);
        }
    }
    for _ in 0..take_count(reader, "a number of tables")? {
        let orphan = reader.error("a table of a known keyspace");
        let twice = reader.error("a table that is not there yet");
        let table = take_table(reader)?;
        let keyspace = catalog.keyspaces.get_mut(&table.keyspace).ok_or(orphan)?;
        let same_name = keyspace.tables.insert(table.name.clone(), table.id);
        let same_id = catalog.tables.insert(table.id, Arc::new(table));
        if same_name.is_some() || same_id.is_some() {
            return Err(twice);
        }
    }
    Ok(catalog)
}

fn take_table(reader: &mut Reader<'_>) -> Decoded<Table> {
    let mut table = Table {
        id: TableId(take_u32(reader, "a table id")?),
        keyspace: take_text(reader, "a keyspace name")?,
        name: take_text(reader, "a table name")?,
        partition_count: take_count(reader, "a number of partition key columns")?,
        clustering_count: take_count(reader, "a number of clustering columns")?,
        placement_count: take_count(reader, "a number of placement columns")?,
        next_column_id: take_u32(reader, "the next column id")?,
        columns: Vec::new(),
        options: TableOptions::default(),
    };
    for _ in 0..take_count(reader, "a number of columns")? {
        table.columns.push(take_column(reader)?);
    }
    let key_count = table.partition_count.saturating_add(table.clustering_count);
    if key_count > table.columns.len() || table.placement_count > table.partition_count {
        return Err(reader.error("a key made of the table's columns"));
    }
    table.options = take_options(reader)?;
    Ok(table)
}

fn take_column(reader: &mut Reader<'_>) -> Decoded<Column> {
    let id = ColumnId(take_u32(reader, "a column id")?);
    let name = take_text(reader, "a column name")?;
    let data_type = take_type(reader)?;
    let error = reader.error("a column role");
    let role = match reader.u8("a column role")? {
        0 => ColumnRole::Partition,
        1 => ColumnRole::Clustering(Order::Ascending),
        2 => ColumnRole::Clustering(Order::Descending),
        3 => ColumnRole::Static,
        4 => ColumnRole::Regular,
        _ => return Err(error),
    };
    Ok(Column {
        id,
        name,
        data_type,
        role,
    })
}

fn take_type(reader: &mut Reader<'_>) -> Decoded<DataType> {
    let error = reader.error("a column type");
    let scalar =
        |reader: &mut Reader<'_>| ScalarType::from_code(reader.u8("a scalar type")?).ok_or(error);
    Ok(match reader.u8("a column type")? {
        0 => DataType::Scalar(scalar(reader)?),
        1 => DataType::Set(scalar(reader)?),
        2 => DataType::List(scalar(reader)?),
        3 => DataType::Map(scalar(reader)?, scalar(reader)?),
        _ => return Err(error),
    })
}

fn take_options(reader: &mut Reader<'_>) -> Decoded<TableOptions> {
    let mut options = TableOptions {
        upsert: reader.u8("the upsert option")? != 0,
        default_ttl_s: take_u32(reader, "a default TTL")?,
        ..TableOptions::default()
    };
    if reader.u8("whether there is a bucket")? != 0 {
        options.bucket = Some(Bucket {
            column: take_text(reader, "a bucket column")?,
            days: take_u32(reader, "a number of days")?,
            origin_ms: unzigzag(reader.varint("an origin")?),
        });
    }
    for _ in 0..take_count(reader, "a number of settings")? {
        let name = take_text(reader, "the name of a setting")?;
        options
            .compaction
            .push((name, take_text(reader, "a setting")?));
    }
    options.comment = take_text(reader, "a comment")?;
    Ok(options)
}
