//! What a database tells about itself.

use crate::error::Result;
use crate::types::DataType;

/// State of the node that answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Version of the program.
    pub version: String,
    /// Number of the node, from 1.
    pub node: u64,
    /// The cluster's identity, 32 hexadecimal digits.
    pub cluster_id: String,
    /// Time since the node opened, in milliseconds.
    pub uptime_ms: u64,
    /// The tablets in token order.
    pub tablets: Vec<TabletStatus>,
    /// Bytes of the shared log on disk.
    pub log_bytes: u64,
    /// Live subscriptions.
    pub subscribers: u64,
    /// Tables of all keyspaces.
    pub table_count: u64,
}

impl Status {
    /// Raft groups of the node: its tablets and group 0.
    pub fn group_count(&self) -> usize {
        self.tablets.len() + 1
    }
}

/// State of one tablet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TabletStatus {
    /// Number of its raft group.
    pub group: u64,
    /// Smallest token it holds.
    pub first_token: u64,
    /// Largest token it holds.
    pub last_token: u64,
    /// Whether this node leads it.
    pub leader: bool,
    /// Replicas that vote in it, as this node knows; more than are wanted while it moves.
    pub voters: u64,
    /// Log index applied last.
    pub applied_index: u64,
    /// Log index up to which the effects are in SSTables.
    pub flushed_index: u64,
    /// Bytes in memtables.
    pub memtable_bytes: u64,
    /// Number of SSTables.
    pub sstable_count: u64,
    /// Bytes of SSTables.
    pub sstable_bytes: u64,
}

/// A whole cluster, by what each of its nodes says of itself.
#[derive(Clone, Debug)]
pub struct ClusterStatus {
    /// The cluster's identity, 32 hexadecimal digits.
    pub cluster_id: String,
    /// Replicas that each tablet is to have.
    pub replication: u32,
    /// The nodes by number, also those that did not answer; without those that were given up.
    pub nodes: Vec<NodeStatus>,
}

impl ClusterStatus {
    /// The nodes that did not answer.
    pub fn silent(&self) -> impl Iterator<Item = &NodeStatus> {
        self.nodes.iter().filter(|node| node.report.is_err())
    }
}

/// One node of a cluster.
#[derive(Clone, Debug)]
pub struct NodeStatus {
    /// Its number, from 1.
    pub node: u32,
    /// Where its gRPC service is, as it told the others; whoever asks has to reach it there.
    pub address: String,
    /// What it says, or why nothing was heard within two seconds.
    pub report: Result<NodeReport>,
}

/// What a node of a cluster says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeReport {
    /// Version of the program.
    pub version: String,
    /// Time since the node opened, in milliseconds.
    pub uptime_ms: u64,
    /// Bytes of the shared log on disk.
    pub log_bytes: u64,
    /// Its tablets, in token order.
    pub tablets: Vec<TabletStatus>,
}

/// Keyspaces and tables as they are now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schema {
    /// Names of the keyspaces, in order.
    pub keyspaces: Vec<String>,
    /// The tables, by keyspace and name.
    pub tables: Vec<TableSchema>,
}

impl Schema {
    /// The table of this name.
    pub fn table(&self, keyspace: &str, name: &str) -> Option<&TableSchema> {
        self.tables
            .iter()
            .find(|table| table.keyspace == keyspace && table.name == name)
    }
}

/// One table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableSchema {
    /// Its keyspace.
    pub keyspace: String,
    /// Its name inside the keyspace.
    pub name: String,
    /// Its columns in the order of the primary key, then by name.
    pub columns: Vec<ColumnSchema>,
    /// The CREATE TABLE statement that makes it.
    pub cql: String,
}

/// One column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnSchema {
    /// Its name.
    pub name: String,
    /// Its type.
    pub data_type: DataType,
    /// Its part in the key.
    pub kind: ColumnKind,
}

/// Part of a column in the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ColumnKind {
    /// Chooses the partition.
    Partition,
    /// Orders rows inside the partition.
    Clustering,
    /// One value per partition.
    Static,
    /// One value per row.
    Regular,
}

impl ColumnKind {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Partition => "partition key",
            Self::Clustering => "clustering key",
            Self::Static => "static",
            Self::Regular => "regular",
        }
    }
}
