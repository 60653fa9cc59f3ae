//! The one error of this crate.
//!
//! [`ErrorKind`] answers the caller's question "what do I do now"; the text names the object and the
//! numbers; the cause is reached through `source()` and never printed into the text.

use std::fmt;
use std::sync::Arc;

use crate::id::ReplicaId;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What the caller should do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Fix the request; the same request fails again. Nothing was done.
    Invalid,
    /// Stop: the group does not exist here and was not asked to be created.
    NotFound,
    /// Ask the leader instead ([`Error::leader`] names it). Nothing was done.
    NotLeader,
    /// Back off, then retry: the queue in front of the group is full. Nothing was done.
    Overloaded,
    /// Retry with a bound: no leader with a valid lease was found in time. Nothing was done.
    Unavailable,
    /// The outcome is not known: the proposal may or may not be applied, now or later. Read to find
    /// out, or repeat it with a request id that the state machine recognizes.
    Unknown,
    /// Stop using this handle: the host or the group was stopped. Nothing was done.
    Closed,
    /// Alert an operator, never retry: stored bytes are not what was written.
    Corrupt,
    /// Alert an operator: the shared log failed; the process must restart to recover from its disk.
    Io,
    /// File a report: an invariant is broken, the group has stopped to contain it.
    Bug,
}

impl ErrorKind {
    /// Whether the same request may succeed later unchanged and cannot act twice.
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::NotLeader | Self::Overloaded | Self::Unavailable)
    }
}

/// An error: kind, one line of text, the leader to ask if there is one, the cause if there is one.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: String,
    leader: Option<ReplicaId>,
    source: Option<Arc<dyn std::error::Error + Send + Sync + 'static>>,
}

impl Error {
    /// An error of `kind` that says `message` (one line, lower case, no final stop).
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            leader: None,
            source: None,
        }))
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.0.source = Some(Arc::new(source));
        self
    }

    /// Another replica leads.
    pub(crate) fn not_leader(message: impl Into<String>, leader: ReplicaId) -> Self {
        let mut error = Self::new(ErrorKind::NotLeader, message);
        error.0.leader = Some(leader);
        error
    }

    /// Stored or received bytes are not what was written.
    pub(crate) fn corrupt(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, message)
    }

    /// The shared log refused or failed an operation on `what`.
    pub(crate) fn from_log(what: &str, source: lsm::Error) -> Self {
        let kind = match source.kind() {
            lsm::ErrorKind::Corrupt => ErrorKind::Corrupt,
            lsm::ErrorKind::Closed => ErrorKind::Closed,
            lsm::ErrorKind::Invalid => ErrorKind::Bug,
            _ => ErrorKind::Io,
        };
        Self::new(kind, format!("shared log: {what}")).with_source(source)
    }

    /// What to do about it.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The leader to ask, for [`ErrorKind::NotLeader`].
    pub fn leader(&self) -> Option<ReplicaId> {
        self.0.leader
    }

    /// As openraft's storage traits want it; [`Error::from_io`] takes it back.
    pub(crate) fn into_io(self) -> std::io::Error {
        std::io::Error::other(self)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.0.kind, self.0.message)?;
        if let Some(source) = &self.0.source {
            write!(f, " ({source})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0.source {
            Some(source) => Some(source.as_ref()),
            None => None,
        }
    }
}
