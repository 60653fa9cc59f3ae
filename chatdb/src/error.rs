//! The one error of this crate: what went wrong in a line, what the caller should do as a kind.
//!
//! A statement error also carries *help*: short labelled lines that a shell prints under the message
//! (what the key is, what was named, a statement to try). They are data, so that a program can show
//! the message alone.
//!
//! # Invariants
//!
//! * `Display` is one line in lower case and never contains the text of the cause; `source()` has it.
//! * [`ErrorKind`] alone decides whether a retry makes sense.

use std::fmt;
use std::sync::Arc;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What the caller should do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Fix the request; the same request fails again.
    Invalid,
    /// Stop: the named keyspace, table, column or topic does not exist.
    NotFound,
    /// Change the credentials.
    Denied,
    /// Read again and repeat the operation (for example the schema changed in between).
    Conflict,
    /// Ask the leader instead; nothing was done.
    NotLeader,
    /// Back off, then retry; nothing was done.
    Overloaded,
    /// Retry with a bound; nothing was done.
    Unavailable,
    /// The outcome is not known: the write may or may not happen. Read to find out, or retry with
    /// the same request id.
    Unknown,
    /// Stop using this handle.
    Closed,
    /// Alert an operator; never retry.
    Corrupt,
    /// Alert an operator; the engine refuses writes until it is reopened.
    Io,
    /// File a report: an invariant is broken, but the damage is contained.
    Bug,
}

impl ErrorKind {
    /// Every kind.
    pub(crate) const ALL: [Self; 12] = [
        Self::Invalid,
        Self::NotFound,
        Self::Denied,
        Self::Conflict,
        Self::NotLeader,
        Self::Overloaded,
        Self::Unavailable,
        Self::Unknown,
        Self::Closed,
        Self::Corrupt,
        Self::Io,
        Self::Bug,
    ];

    /// Whether the same request may succeed later without being changed, and cannot act twice.
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::NotLeader | Self::Overloaded | Self::Unavailable)
    }

    /// The stable lower-case name of the kind, as printed in logs and sent to clients.
    pub fn name(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::NotFound => "not_found",
            Self::Denied => "denied",
            Self::Conflict => "conflict",
            Self::NotLeader => "not_leader",
            Self::Overloaded => "overloaded",
            Self::Unavailable => "unavailable",
            Self::Unknown => "unknown",
            Self::Closed => "closed",
            Self::Corrupt => "corrupt",
            Self::Io => "io",
            Self::Bug => "bug",
        }
    }
}

/// An error: kind, one line of text, optional help lines, optional cause.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: String,
    help: Vec<(String, String)>,
    leader: Option<u32>,
    source: Option<Arc<dyn std::error::Error + Send + Sync + 'static>>,
}

impl Error {
    /// An error of `kind` that says `message` (one line, lower case, no final stop).
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            help: Vec::new(),
            leader: None,
            source: None,
        }))
    }

    /// The request is wrong.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// The named thing does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// Stored or received bytes are not what was written.
    pub fn corrupt(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, message)
    }

    /// An invariant of this crate does not hold.
    pub fn bug(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Bug, message)
    }

    /// Adds a labelled line of help, such as `("try", "SELECT ...")`.
    #[must_use]
    pub fn with_help(mut self, label: impl Into<String>, text: impl Into<String>) -> Self {
        self.0.help.push((label.into(), text.into()));
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.0.source = Some(Arc::new(source));
        self
    }

    /// Adds the node that leads.
    #[must_use]
    pub(crate) fn with_leader(mut self, leader: Option<u32>) -> Self {
        self.0.leader = leader;
        self
    }

    /// The node that leads, of [`ErrorKind::NotLeader`] and when it is known.
    pub fn leader(&self) -> Option<u32> {
        self.0.leader
    }

    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The line that `Display` prints.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Labelled help lines, in the order to print them.
    pub fn help(&self) -> &[(String, String)] {
        &self.0.help
    }

    /// Whether the same request may succeed later, see [`ErrorKind::is_retryable`].
    pub fn is_retryable(&self) -> bool {
        self.0.kind.is_retryable()
    }

    /// Whether every replica that applies the same command gets this same error.
    ///
    /// The apply loop answers the client and goes on when it is true, and stops the replica when it
    /// is false, because going on would let replicas differ.
    pub fn is_deterministic(&self) -> bool {
        match self.0.kind {
            // Judged from the command and the replicated state alone.
            ErrorKind::Invalid | ErrorKind::NotFound | ErrorKind::Denied | ErrorKind::Conflict => {
                true
            }
            // Depend on this process, its disk or its peers.
            ErrorKind::NotLeader
            | ErrorKind::Overloaded
            | ErrorKind::Unavailable
            | ErrorKind::Unknown
            | ErrorKind::Closed
            | ErrorKind::Corrupt
            | ErrorKind::Io
            | ErrorKind::Bug => false,
        }
    }

    /// The message and its help lines as a person reads them, without a leading `error:`.
    pub fn report(&self) -> String {
        let mut text = self.0.message.clone();
        for (label, line) in &self.0.help {
            text.push_str("\n       ");
            text.push_str(label);
            text.push_str(": ");
            text.push_str(line);
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("message", &self.0.message)
            .field("source", &self.0.source)
            .finish_non_exhaustive()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|source| {
            let source: &(dyn std::error::Error + 'static) = source.as_ref();
            source
        })
    }
}

impl From<lsm::Error> for Error {
    fn from(cause: lsm::Error) -> Self {
        let kind = match cause.kind() {
            lsm::ErrorKind::Invalid => ErrorKind::Invalid,
            lsm::ErrorKind::NotFound => ErrorKind::NotFound,
            lsm::ErrorKind::Overloaded => ErrorKind::Overloaded,
            lsm::ErrorKind::Corrupt => ErrorKind::Corrupt,
            lsm::ErrorKind::Closed => ErrorKind::Closed,
            lsm::ErrorKind::Io | lsm::ErrorKind::NoSpace => ErrorKind::Io,
            _ => ErrorKind::Bug,
        };
        Self::new(kind, cause.to_string()).with_source(cause)
    }
}

impl Error {
    /// What a state machine tells raft when this keeps it from going on: `what` it cannot do. A disk that fails stops all
    /// groups of the host, anything else this one.
    pub(crate) fn for_raft(self, what: impl Into<String>) -> raft::Error {
        let kind = match self.kind() {
            ErrorKind::Io => raft::ErrorKind::Io,
            ErrorKind::Corrupt => raft::ErrorKind::Corrupt,
            _ => raft::ErrorKind::Bug,
        };
        raft::Error::new(kind, what).with_source(self)
    }
}

impl From<raft::Error> for Error {
    /// What raft calls invalid is a limit of a command; the kinds mean the same here.
    fn from(cause: raft::Error) -> Self {
        let kind = match cause.kind() {
            raft::ErrorKind::Invalid => ErrorKind::Invalid,
            raft::ErrorKind::NotFound => ErrorKind::NotFound,
            raft::ErrorKind::NotLeader => ErrorKind::NotLeader,
            raft::ErrorKind::Overloaded => ErrorKind::Overloaded,
            raft::ErrorKind::Unavailable => ErrorKind::Unavailable,
            raft::ErrorKind::Unknown => ErrorKind::Unknown,
            raft::ErrorKind::Closed => ErrorKind::Closed,
            raft::ErrorKind::Corrupt => ErrorKind::Corrupt,
            raft::ErrorKind::Io => ErrorKind::Io,
            _ => ErrorKind::Bug,
        };
        let leader = cause.leader().map(|replica| replica.node().0);
        let error = Self::new(kind, cause.to_string()).with_leader(leader);
        match std::error::Error::source(&cause) {
            Some(_) => error.with_source(cause),
            None => error,
        }
    }
}
