//! Replicated wide-column database: CQL, tablets, change streams, gRPC, shell.

#[doc(hidden)]
pub mod cli;
pub mod command;
pub mod cql;
mod db;
pub mod encoding;
mod error;
#[doc(hidden)]
pub mod fuzzing;
mod group0;
mod node;
mod overview;
mod peer;
pub mod plan;
mod result;
mod rpc;
pub mod schema;
mod sealed;
#[cfg(test)]
mod simulation;
mod stream;
pub mod tablet;
pub mod telemetry;
mod types;
mod value;

pub use db::Db;
pub use db::options::{ClusterOptions, ConnectOptions, EmbeddedOptions};
pub use db::statement::{Consistency, Statement};
pub use db::status::{
    ClusterStatus, ColumnKind, ColumnSchema, NodeReport, NodeStatus, Schema, Status, TableSchema,
    TabletStatus,
};
pub use error::{Error, ErrorKind, Result};
pub use raft::TlsFiles;
pub use result::{ColumnSpec, Position, QueryStats, ResultSet, Row};
pub use rpc::server::Server;
pub use stream::cursor::Cursor;
pub use stream::event::{ChangeEvent, ChangeKind, StreamItem};
pub use stream::subscription::{Interest, SubscribeOptions, Subscription};
pub use telemetry::server::{HealthCheck, MetricsServer};
pub use types::{DataType, ScalarType};
pub use value::Value;
