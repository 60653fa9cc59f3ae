//! The crate's one error: a kind that says what to do, a line that says what happened.
//!
//! # Invariants
//!
//! * [`ErrorKind::Corrupt`] always carries a [`Corruption`]: file, offset, expected, found.
//! * `Display` is one line, lower case, and never prints the cause; `source()` gives the cause.
//! * An error is cheap to clone: one failed sync is reported to every waiter.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The result of every fallible call in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What the caller should do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request can never succeed as written. Correct it; do not retry.
    Invalid,
    /// The file or log entry asked for is not there, or no longer. Do not retry.
    NotFound,
    /// A bounded queue or budget is full. Run the pending steps, back off, retry.
    Overloaded,
    /// Stored bytes are not what was written. Alert an operator; never retry.
    Corrupt,
    /// The handle was closed. Open a new one.
    Closed,
    /// The disk failed. Stop the process: after a failed sync nothing in memory can be trusted
    /// to be on disk, and a second sync may report success without having written anything.
    Io,
    /// The disk is full. Free space, then open again.
    NoSpace,
}

impl ErrorKind {
    /// Whether the same call may succeed later without anybody changing anything.
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::Overloaded)
    }
}

/// Where stored bytes are wrong, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corruption {
    /// The damaged file.
    pub file: PathBuf,
    /// Offset of the damaged unit in `file`, in bytes.
    pub offset: u64,
    /// What a sound file would hold there.
    pub expected: String,
    /// What is there.
    pub found: String,
}

/// Why a call failed. See [`ErrorKind`] for what to do about it.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    corruption: Option<Corruption>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Arc::new(Inner {
            kind,
            message: message.into(),
            corruption: None,
            source: None,
        }))
    }

    /// A request that can never succeed as written.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// Something asked for by name or position that is not there.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// A full queue or budget.
    pub fn overloaded(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Overloaded, message)
    }

    /// A call on a handle that was closed; `what` names the handle.
    pub fn closed(what: &str) -> Self {
        Self::new(
            ErrorKind::Closed,
            format!("{what} is closed, open it again"),
        )
    }

    /// Damage found in `file` at `offset` bytes.
    pub fn corrupt(
        file: &Path,
        offset: u64,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        let corruption = Corruption {
            file: file.to_path_buf(),
            offset,
            expected: expected.into(),
            found: found.into(),
        };
        let message = format!(
            "{} is damaged at byte {}: expected {}, found {}; restore the file or replace this replica",
            corruption.file.display(),
            corruption.offset,
            corruption.expected,
            corruption.found
        );
        Self(Arc::new(Inner {
            kind: ErrorKind::Corrupt,
            message,
            corruption: Some(corruption),
            source: None,
        }))
    }

    /// A failed call to the file system: `action` is a verb phrase such as "write".
    pub fn io(action: &str, path: &Path, cause: std::io::Error) -> Self {
        let kind = match cause.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                ErrorKind::NoSpace
            }
            std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            _ => ErrorKind::Io,
        };
        let advice = match kind {
            ErrorKind::NoSpace => ": the disk is full, free space and open again",
            ErrorKind::NotFound => ": it does not exist",
            _ => "",
        };
        Self(Arc::new(Inner {
            kind,
            message: format!("cannot {action} {}{advice}", path.display()),
            corruption: None,
            source: Some(Arc::new(cause)),
        }))
    }

    /// The same failure, told by a caller that knows more about what was going on.
    #[must_use]
    pub fn context(&self, message: impl Into<String>) -> Self {
        Self(Arc::new(Inner {
            kind: self.0.kind,
            message: message.into(),
            corruption: self.0.corruption.clone(),
            source: Some(Arc::new(self.clone())),
        }))
    }

    /// What to do about it.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Where the damage is; `Some` exactly for [`ErrorKind::Corrupt`].
    pub fn corruption(&self) -> Option<&Corruption> {
        self.0.corruption.as_ref()
    }

    /// This error and its causes on one line, outermost first.
    pub fn chain(&self) -> String {
        let mut line = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            line.push_str(": ");
            line.push_str(&error.to_string());
            cause = error.source();
        }
        line
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.0.kind, self.chain())
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
