//! Sizes that the door refuses to exceed, in one place.

use std::time::Duration;

/// The largest request message, in bytes.
pub(crate) const REQUEST_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The largest response message, in bytes.
pub(crate) const RESPONSE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The most statements of one batch.
pub(crate) const BATCH_STATEMENTS_MAX: usize = 1024;
/// The most calls of one message of a pipeline.
pub(crate) const PIPELINE_CALLS_MAX: usize = 128;
/// The most statements that stay prepared; the least used leave first.
pub(crate) const PREPARED_STATEMENTS_MAX: usize = 4096;
/// How long a client works on one request, all its attempts together, unless it is told otherwise.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// The most addresses of one client.
pub(crate) const ENDPOINTS_MAX: usize = 64;
/// How long a client waits for a connection.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
