//! What a request that cannot be served gets back: status, code, text, and where in the body.
//!
//! The codes are those that bots of the public API look for. Everything that the database or the
//! server itself may say becomes an answer here and nowhere else.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};

use crate::error::{Error, ErrorKind};

/// Result of a handler.
pub(crate) type ApiResult<T> = Result<T, ApiError>;

/// An answer that is not success.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    code: u32,
    message: String,
    errors: Option<Value>,
}

/// Something that is named by a request and does not exist.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unknown {
    Channel,
    Guild,
    Invite,
    Member,
    Message,
    Overwrite,
    Role,
    User,
    Emoji,
    Ban,
}

impl Unknown {
    fn describe(self) -> (u32, &'static str) {
        match self {
            Self::Channel => (10003, "Unknown Channel"),
            Self::Guild => (10004, "Unknown Guild"),
            Self::Invite => (10006, "Unknown Invite"),
            Self::Member => (10007, "Unknown Member"),
            Self::Message => (10008, "Unknown Message"),
            Self::Overwrite => (10009, "Unknown Permission Overwrite"),
            Self::Role => (10011, "Unknown Role"),
            Self::User => (10013, "Unknown User"),
            Self::Emoji => (10014, "Unknown Emoji"),
            Self::Ban => (10026, "Unknown Ban"),
        }
    }
}

impl From<Unknown> for ApiError {
    fn from(unknown: Unknown) -> Self {
        let (code, message) = unknown.describe();
        Self::new(StatusCode::NOT_FOUND, code, message)
    }
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: u32, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            errors: None,
        }
    }

    /// The error as one line, for the command line.
    pub(crate) fn line(&self) -> String {
        match &self.errors {
            Some(errors) => format!("{}: {errors}", self.message),
            None => self.message.clone(),
        }
    }

    /// The request names no account, or a token that is not valid.
    pub(crate) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, 0, "401: Unauthorized")
    }

    /// The account sees neither guild nor channel.
    pub(crate) fn missing_access() -> Self {
        Self::new(StatusCode::FORBIDDEN, 50001, "Missing Access")
    }

    /// The account may not do this here.
    pub(crate) fn missing_permissions() -> Self {
        Self::new(StatusCode::FORBIDDEN, 50013, "Missing Permissions")
    }

    /// A well-formed request that makes no sense here.
    pub(crate) fn refused(code: u32, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// The body is not JSON; `error` knows line and column.
    pub(crate) fn not_json(error: &serde_json::Error) -> Self {
        let place = format!("line {} column {}", error.line(), error.column());
        let message = format!("The request body contains invalid JSON ({place}).");
        Self::new(StatusCode::BAD_REQUEST, 50109, message)
    }

    /// The body is longer than this server reads.
    pub(crate) fn too_large(bytes_max: usize) -> Self {
        let message = format!("Request entity too large: at most {bytes_max} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, 40005, message)
    }
}

/// Collects what is wrong with a form, by path, so that one answer tells all of it.
#[derive(Debug, Default)]
pub(crate) struct FormErrors(Map<String, Value>);

impl FormErrors {
    /// Adds one fault at a path such as `["embeds", "0", "title"]`.
    pub(crate) fn add(&mut self, path: &[&str], code: &str, message: impl Into<String>) {
        let mut place = &mut self.0;
        for key in path {
            let entry = place.entry((*key).to_owned());
            let entry = entry.or_insert_with(|| Value::Object(Map::new()));
            let Value::Object(inner) = entry else { return };
            place = inner;
        }
        let list = place
            .entry("_errors")
            .or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(list) = list {
            list.push(json!({"code": code, "message": message.into()}));
        }
    }

    /// Whether something is wrong under this key.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// Fails when anything was added.
    pub(crate) fn finish(self) -> ApiResult<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let mut error = ApiError::refused(50035, "Invalid Form Body");
        error.errors = Some(Value::Object(self.0));
        Err(error)
    }

    /// The answer to exactly one fault.
    pub(crate) fn one(path: &[&str], code: &str, message: impl Into<String>) -> ApiError {
        let mut errors = Self::default();
        errors.add(path, code, message);
        let fallback = || ApiError::refused(50035, "Invalid Form Body");
        errors.finish().err().unwrap_or_else(fallback)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut body = json!({"message": self.message, "code": self.code});
        if let (Some(errors), Value::Object(map)) = (self.errors, &mut body) {
            map.insert("errors".to_owned(), errors);
        }
        let kind = HeaderValue::from_static("application/json");
        (
            self.status,
            [(header::CONTENT_TYPE, kind)],
            body.to_string(),
        )
            .into_response()
    }
}

impl From<chatdb::Error> for ApiError {
    fn from(error: chatdb::Error) -> Self {
        Self::from(Error::from(error))
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        match error.kind() {
            ErrorKind::Unavailable => {
                tracing::warn!(error = error.chain(), "request not served");
                let message = "Service unavailable: retry; the outcome of a write is not known";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, 0, message)
            }
            ErrorKind::Conflict => Self::new(
                StatusCode::CONFLICT,
                0,
                "Changed at the same time: read again",
            ),
            _ => {
                tracing::error!(error = error.chain(), "request failed");
                let message = "500: Internal Server Error";
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, 0, message)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_told_by_path_and_all_at_once() {
        let mut errors = FormErrors::default();
        errors.add(&["content"], "BASE_TYPE_MAX_LENGTH", "too long");
        errors.add(&["embeds", "0", "title"], "BASE_TYPE_REQUIRED", "missing");
        let error = errors.finish().unwrap_err();
        let found = error.errors.unwrap();
        assert_eq!(
            found["content"]["_errors"][0]["code"],
            "BASE_TYPE_MAX_LENGTH"
        );
        assert_eq!(
            found["embeds"]["0"]["title"]["_errors"][0]["message"],
            "missing"
        );
    }
}
