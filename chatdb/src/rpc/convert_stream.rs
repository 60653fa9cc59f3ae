//! Stream items and states of the node between their program form and their wire form.

use crate::db::status::{ColumnKind, ColumnSchema, Schema, Status, TableSchema, TabletStatus};
use crate::error::{Error, Result};
use crate::rpc::convert::{data_type_from, data_type_to, value_from, value_to};
use crate::rpc::proto;
use crate::stream::cursor::Cursor;
use crate::stream::event::{ChangeEvent, ChangeKind, StreamItem};
use crate::value::Value;
use proto::subscribe_response::Item;

/// A stream item for the wire.
pub(crate) fn item_to(item: StreamItem) -> proto::SubscribeResponse {
    let item = match item {
        StreamItem::Change(event) => Item::Change(change_to(event)),
        StreamItem::Ephemeral { topic, payload } => {
            Item::Ephemeral(proto::EphemeralEvent { topic, payload })
        }
        StreamItem::Gap { group, from, to } => Item::Gap(proto::Gap { group, from, to }),
        StreamItem::Progress(cursor) => Item::Progress(proto::Progress {
            cursor: cursor.encode(),
        }),
    };
    proto::SubscribeResponse { item: Some(item) }
}

/// A stream item from the wire.
pub(crate) fn item_from(wire: proto::SubscribeResponse) -> Result<StreamItem> {
    Ok(match wire.item {
        Some(Item::Change(change)) => StreamItem::Change(change_from(change)?),
        Some(Item::Ephemeral(event)) => StreamItem::Ephemeral {
            topic: event.topic,
            payload: event.payload,
        },
        Some(Item::Gap(gap)) => StreamItem::Gap {
            group: gap.group,
            from: gap.from,
            to: gap.to,
        },
        Some(Item::Progress(progress)) => StreamItem::Progress(Cursor::decode(&progress.cursor)?),
        None => {
            return Err(Error::invalid(
                "the node sent a stream item of an unknown kind",
            ));
        }
    })
}

fn change_to(event: ChangeEvent) -> proto::ChangeEvent {
    proto::ChangeEvent {
        cursor: event.cursor.encode(),
        timestamp_us: event.timestamp_us,
        topics: event.topics.to_vec(),
        table: event.table,
        kind: i32::from(match event.kind {
            ChangeKind::Insert => proto::ChangeKind::Insert,
            ChangeKind::Update => proto::ChangeKind::Update,
            ChangeKind::DeleteRow => proto::ChangeKind::DeleteRow,
            ChangeKind::DeleteRange => proto::ChangeKind::DeleteRange,
            ChangeKind::DeletePartition => proto::ChangeKind::DeletePartition,
            ChangeKind::DeletePlacement => proto::ChangeKind::DeletePlacement,
        }),
        key: named_to(event.key),
        columns: named_to(event.columns),
        note: event.note,
    }
}

fn change_from(wire: proto::ChangeEvent) -> Result<ChangeEvent> {
    let kind = match wire.kind() {
        proto::ChangeKind::Unspecified => {
            return Err(Error::invalid("the node sent a change of an unknown kind"));
        }
        proto::ChangeKind::Insert => ChangeKind::Insert,
        proto::ChangeKind::Update => ChangeKind::Update,
        proto::ChangeKind::DeleteRow => ChangeKind::DeleteRow,
        proto::ChangeKind::DeleteRange => ChangeKind::DeleteRange,
        proto::ChangeKind::DeletePartition => ChangeKind::DeletePartition,
        proto::ChangeKind::DeletePlacement => ChangeKind::DeletePlacement,
    };
    Ok(ChangeEvent {
        cursor: Cursor::decode(&wire.cursor)?,
        timestamp_us: wire.timestamp_us,
        topics: wire.topics.into(),
        table: wire.table,
        kind,
        key: named_from(wire.key)?,
        columns: named_from(wire.columns)?,
        note: wire.note,
    })
}

fn named_to(values: Vec<(String, Value)>) -> Vec<proto::NamedValue> {
    values
        .into_iter()
        .map(|(name, value)| proto::NamedValue {
            name,
            value: Some(value_to(&value)),
        })
        .collect()
}

fn named_from(values: Vec<proto::NamedValue>) -> Result<Vec<(String, Value)>> {
    values
        .into_iter()
        .map(|named| Ok((named.name, value_from(named.value.unwrap_or_default())?)))
        .collect()
}

/// A replica's state for the wire.
pub(crate) fn tablet_to(tablet: &TabletStatus) -> proto::TabletStatus {
    proto::TabletStatus {
        group: tablet.group,
        first_token: tablet.first_token,
        last_token: tablet.last_token,
        leader: tablet.leader,
        applied_index: tablet.applied_index,
        flushed_index: tablet.flushed_index,
        memtable_bytes: tablet.memtable_bytes,
        sstable_count: tablet.sstable_count,
        sstable_bytes: tablet.sstable_bytes,
        voters: tablet.voters,
    }
}

pub(crate) fn tablet_from(tablet: proto::TabletStatus) -> TabletStatus {
    TabletStatus {
        group: tablet.group,
        first_token: tablet.first_token,
        last_token: tablet.last_token,
        leader: tablet.leader,
        applied_index: tablet.applied_index,
        flushed_index: tablet.flushed_index,
        memtable_bytes: tablet.memtable_bytes,
        sstable_count: tablet.sstable_count,
        sstable_bytes: tablet.sstable_bytes,
        voters: tablet.voters,
    }
}

/// The node's state for the wire, with the schema when it was asked for.
pub(crate) fn status_to(status: Status, schema: Option<Schema>) -> proto::StatusResponse {
    let schema = schema.unwrap_or_default();
    proto::StatusResponse {
        version: status.version,
        node: status.node,
        cluster_id: status.cluster_id,
        uptime_ms: status.uptime_ms,
        tablets: status.tablets.iter().map(tablet_to).collect(),
        log_bytes: status.log_bytes,
        subscribers: status.subscribers,
        table_count: status.table_count,
        keyspaces: schema.keyspaces,
        tables: schema.tables.into_iter().map(table_to).collect(),
    }
}

/// The node's state and schema from the wire.
pub(crate) fn status_from(wire: proto::StatusResponse) -> Result<(Status, Schema)> {
    let status = Status {
        version: wire.version,
        node: wire.node,
        cluster_id: wire.cluster_id,
        uptime_ms: wire.uptime_ms,
        tablets: wire.tablets.into_iter().map(tablet_from).collect(),
        log_bytes: wire.log_bytes,
        subscribers: wire.subscribers,
        table_count: wire.table_count,
    };
    let schema = Schema {
        keyspaces: wire.keyspaces,
        tables: wire
            .tables
            .into_iter()
            .map(table_from)
            .collect::<Result<_>>()?,
    };
    Ok((status, schema))
}

fn table_to(table: TableSchema) -> proto::TableStatus {
    proto::TableStatus {
        keyspace: table.keyspace,
        name: table.name,
        columns: table
            .columns
            .into_iter()
            .map(|column| proto::ColumnStatus {
                name: column.name,
                data_type: Some(data_type_to(column.data_type)),
                kind: i32::from(match column.kind {
                    ColumnKind::Partition => proto::ColumnKind::Partition,
                    ColumnKind::Clustering => proto::ColumnKind::Clustering,
                    ColumnKind::Static => proto::ColumnKind::Static,
                    ColumnKind::Regular => proto::ColumnKind::Regular,
                }),
            })
            .collect(),
        cql: table.cql,
    }
}

fn table_from(wire: proto::TableStatus) -> Result<TableSchema> {
    let columns = wire
        .columns
        .into_iter()
        .map(|column| {
            let kind = match column.kind() {
                proto::ColumnKind::Partition => ColumnKind::Partition,
                proto::ColumnKind::Clustering => ColumnKind::Clustering,
                proto::ColumnKind::Static => ColumnKind::Static,
                proto::ColumnKind::Regular => ColumnKind::Regular,
            };
            Ok(ColumnSchema {
                data_type: data_type_from(column.data_type)?,
                name: column.name,
                kind,
            })
        })
        .collect::<Result<_>>()?;
    Ok(TableSchema {
        keyspace: wire.keyspace,
        name: wire.name,
        columns,
        cql: wire.cql,
    })
}
