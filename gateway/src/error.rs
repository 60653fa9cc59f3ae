//! The one error of this crate, for whoever starts or operates it.
//!
//! REST answers have their own form (`rest/error.rs`) and sockets theirs (close codes); both are
//! made from this one or from `chatdb::Error` in one place each.

use std::fmt;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What the caller should do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Fix the request or the option.
    Invalid,
    /// Stop: the named thing does not exist.
    NotFound,
    /// Change the credentials.
    Denied,
    /// Something else holds or changed it: look again.
    Conflict,
    /// Try again later.
    Unavailable,
    /// Alert an operator.
    Io,
    /// File a report.
    Bug,
}

/// An error: kind, one line of text, optional cause.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind` that says `message`: one line, lower case, what to do.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    /// Adds the cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The error and all its causes, in one line.
    pub fn chain(&self) -> String {
        let mut text = self.message.clone();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| {
            let source: &(dyn std::error::Error + 'static) = source;
            source
        })
    }
}

impl From<chatdb::Error> for Error {
    fn from(error: chatdb::Error) -> Self {
        let kind = match error.kind() {
            chatdb::ErrorKind::Invalid => ErrorKind::Invalid,
            chatdb::ErrorKind::NotFound => ErrorKind::NotFound,
            chatdb::ErrorKind::Denied => ErrorKind::Denied,
            chatdb::ErrorKind::Conflict => ErrorKind::Conflict,
            chatdb::ErrorKind::NotLeader
            | chatdb::ErrorKind::Overloaded
            | chatdb::ErrorKind::Unavailable
            | chatdb::ErrorKind::Unknown
            | chatdb::ErrorKind::Closed => ErrorKind::Unavailable,
            chatdb::ErrorKind::Corrupt | chatdb::ErrorKind::Io => ErrorKind::Io,
            _ => ErrorKind::Bug,
        };
        Self::new(kind, "the database refused").because(error)
    }
}
