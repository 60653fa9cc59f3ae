//! Settings of an embedded database, with their defaults in one place.

use crate::rpc::limits::CALL_TIMEOUT;
use raft::TlsFiles;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Bytes in one mebibyte.
const MIB: u64 = 1024 * 1024;

/// How to open a database in this process.
///
/// ```no_run
/// # async fn open() -> chatdb::Result<()> {
/// let db = chatdb::Db::open(chatdb::EmbeddedOptions::new("./data")).await?;
/// # db.close().await }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbeddedOptions {
    /// The data directory; it is created when absent and belongs to one process at a time.
    pub data: PathBuf,
    /// Tablets of a new database, 1 to 4096. A directory that exists keeps the count it was made with.
    pub tablets: u32,
    /// A tablet's memtables are flushed beyond this many bytes.
    pub tablet_memtable_bytes: u64,
    /// The largest memtable is flushed when all of them together exceed this many bytes. From there
    /// on writes are delayed, more and more up to twice as many bytes.
    pub total_memtable_bytes: u64,
    /// Writes are delayed, more and more up to eight times as many, while compaction has more than
    /// this many bytes to read. More: longer bursts of writes at full speed, for slower reads and
    /// more space on disk meanwhile.
    pub compaction_debt_bytes: u64,
    /// Bytes of recent log that stay readable for subscribers which resume from a cursor.
    pub stream_retention_bytes: u64,
    /// The tablet that pins the oldest log segment is flushed when the log exceeds this many bytes.
    pub log_bytes_max: u64,
    /// Bytes of SSTable blocks kept in memory, all tablets together.
    pub block_cache_bytes: u64,
    /// Bytes of recent log entries kept in memory.
    pub log_cache_bytes: usize,
    /// Changes that wait for one subscriber before it reads on from the log instead.
    pub subscriber_queue_items: usize,
    /// A tablet with more bytes in files is split in two; 0 = never.
    pub split_bytes: u64,
    /// A tablet that is written more bytes a second, for a minute, is split in two; 0 = never.
    pub split_load: u64,
    /// Reads that run at once; as many again times eight may wait.
    pub concurrent_reads: usize,
    /// How old, at most, the data of a read with consistency ONE may be, as far as a replica knows; an
    /// older replica passes the read on to the leader. More: such reads are answered for longer while a
    /// replica hears of no leader.
    pub stale_reads: Duration,
    /// Replicas that each tablet of a new cluster is to have once there are as many nodes, 1 to 9.
    pub replication: u32,
    /// How other nodes reach this one; without it the database is of one node.
    pub cluster: Option<ClusterOptions>,
    /// The certificate of this node: with it all its connections are TLS, without it none is.
    pub tls: Option<TlsFiles>,
}

/// A node's place in a cluster of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterOptions {
    /// Where this node takes the calls of others.
    pub node_listen: SocketAddr,
    /// Where others reach it there, host:port.
    pub node_address: String,
    /// Where others reach its gRPC service, such as `http://10.0.0.1:7400`.
    pub rpc_address: String,
    /// What fails together with this node; replicas of a tablet spread over zones.
    pub zone: String,
    /// What is near to this node.
    pub region: String,
    /// gRPC addresses of nodes of the cluster that an empty directory joins; none: it is the first node
    /// of a new cluster. A directory that is a node already does not need them.
    pub join: Vec<String>,
}

impl ClusterOptions {
    /// A node that listens on and is reached at these addresses, in no zone and region.
    pub fn new(node_listen: SocketAddr, rpc_address: impl Into<String>) -> Self {
        Self {
            node_listen,
            node_address: node_listen.to_string(),
            rpc_address: rpc_address.into(),
            zone: String::new(),
            region: String::new(),
            join: Vec::new(),
        }
    }
}

impl EmbeddedOptions {
    /// The defaults for the database in `data`.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            tablets: 4,
            tablet_memtable_bytes: 16 * MIB,
            total_memtable_bytes: 48 * MIB,
            compaction_debt_bytes: 1024 * MIB,
            stream_retention_bytes: 64 * MIB,
            log_bytes_max: 256 * MIB,
            block_cache_bytes: 32 * MIB,
            log_cache_bytes: 16 * 1024 * 1024,
            subscriber_queue_items: 4096,
            split_bytes: 16 * 1024 * MIB,
            split_load: 16 * MIB,
            concurrent_reads: 64,
            stale_reads: Duration::from_secs(10),
            replication: 3,
            cluster: None,
            tls: None,
        }
    }
}

/// How to connect to a database of one or several nodes.
///
/// ```no_run
/// # async fn connect() -> chatdb::Result<()> {
/// let nodes = ["http://10.0.0.1:7400", "http://10.0.0.2:7400"];
/// let db = chatdb::Db::connect_with(&chatdb::ConnectOptions::new(nodes)).await?;
/// # db.close().await }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectOptions {
    /// Addresses of nodes, 1 to 64, such as `http://127.0.0.1:7400`. Not all need to answer.
    pub endpoints: Vec<String>,
    /// How long one request may take with all its attempts, 30 s by default.
    pub deadline: Duration,
    /// The certificate of this client: with it all connections are TLS, without it none is.
    pub tls: Option<TlsFiles>,
}

impl ConnectOptions {
    /// The defaults for the nodes of these addresses.
    pub fn new(endpoints: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            deadline: CALL_TIMEOUT,
            tls: None,
        }
    }

    /// The nodes of a list with commas, as it is written on a command line.
    pub fn parse(list: &str) -> Self {
        let parts = list.split(',').map(str::trim);
        Self::new(parts.filter(|part| !part.is_empty()))
    }
}
