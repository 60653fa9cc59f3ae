//! Replicated wide-column database: CQL, tablets, change streams, gRPC, shell.

mod error;
mod result;
mod types;
mod value;

pub use error::{Error, ErrorKind, Result};
pub use result::{ColumnSpec, Position, QueryStats, ResultSet, Row};
pub use types::{DataType, ScalarType};
pub use value::Value;
