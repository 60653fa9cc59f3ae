//! What a node tells about itself.

use crate::db::status::{ColumnKind, ColumnSchema, Schema, Status, TableSchema, TabletStatus};
use crate::group0::TabletRange;
use crate::node::Node;
use crate::node::tablets::TabletPlace;
use crate::schema::{Column, ColumnRole, Table};
use std::collections::BTreeSet;

impl Node {
    pub(crate) fn status(&self) -> Status {
        let uptime = self.started.elapsed().as_millis();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            node: u64::from(self.id.0),
            cluster_id: format!("{:032x}", self.cluster_id),
            uptime_ms: u64::try_from(uptime).unwrap_or(u64::MAX),
            tablets: self.tablet_statuses(),
            log_bytes: self.log.metrics().segment_bytes,
            subscribers: self.hub.subscriber_count() as u64,
            table_count: self.system.catalog().tables().count() as u64,
        }
    }

    /// The replicas of this node in token order.
    pub(super) fn tablet_statuses(&self) -> Vec<TabletStatus> {
        let topology = self.system.topology();
        let ranges = topology.tablets.iter().map(|record| record.range);
        ranges
            .filter_map(|range| Some(tablet_status(range, &*self.tablets.get(range.group)?)))
            .collect()
    }

    pub(crate) fn schema(&self) -> Schema {
        let catalog = self.system.catalog();
        let tables = catalog
            .keyspaces()
            .flat_map(|keyspace| catalog.tables_of(keyspace));
        Schema {
            keyspaces: catalog
                .keyspaces()
                .map(|keyspace| keyspace.name.clone())
                .collect(),
            tables: tables.map(|table| table_schema(table)).collect(),
        }
    }
}

fn tablet_status(range: TabletRange, place: &TabletPlace) -> TabletStatus {
    let engine = place.tablet.engine();
    let metrics = engine.metrics();
    let raft = place.group.status();
    let voters: BTreeSet<_> = raft.membership.voters.iter().flatten().collect();
    TabletStatus {
        group: range.group,
        first_token: range.first,
        last_token: range.last,
        leader: raft.leader == Some(raft.replica),
        voters: voters.len() as u64,
        applied_index: raft.applied.map_or(0, |id| id.index),
        flushed_index: raft.durable.map_or(0, |id| id.index),
        memtable_bytes: engine.memory_bytes() as u64,
        sstable_count: metrics.files as u64,
        sstable_bytes: metrics.file_bytes,
    }
}

fn table_schema(table: &Table) -> TableSchema {
    TableSchema {
        keyspace: table.keyspace.clone(),
        name: table.name.clone(),
        columns: table.columns().iter().map(column_schema).collect(),
        cql: table.to_cql(),
    }
}

fn column_schema(column: &Column) -> ColumnSchema {
    ColumnSchema {
        name: column.name.clone(),
        data_type: column.data_type,
        kind: match column.role {
            ColumnRole::Partition => ColumnKind::Partition,
            ColumnRole::Clustering(_) => ColumnKind::Clustering,
            ColumnRole::Static => ColumnKind::Static,
            ColumnRole::Regular => ColumnKind::Regular,
        },
    }
}
