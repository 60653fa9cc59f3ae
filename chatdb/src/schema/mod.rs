//! Keyspaces, tables and columns: what the database knows about the data it holds.
//!
//! The [`Catalog`] is an immutable value. A [`DdlCommand`] turns one into the next, the same way on
//! every node, because group 0 replicates the commands and each node applies them in log order.
//!
//! # Invariants
//!
//! * Ids of keyspaces, tables and columns are never reused, so that bytes of something dropped can
//!   never be read as something new. `TRUNCATE` gives the table a new id for the same reason.
//! * A command is checked in full before anything changes; a failed one changes nothing.

mod catalog;
mod codec;
mod ddl;
mod options;
mod table;

pub use catalog::{Catalog, Keyspace, KeyspaceId};
pub use ddl::DdlCommand;
pub(crate) use options::checked_ttl;
pub use options::{Bucket, TableOptions};
pub(crate) use table::names;
pub use table::{Column, ColumnRole, Table};
