//! What handlers take from a request: the caller, ids of the path, the query, the form of the body.
//!
//! A [`Form`] is read field by field: unknown keys are ignored, null counts as absent, ids come as
//! string or integer, and every fault is remembered with its path until [`Form::finish`].

use std::ops::RangeInclusive;

use axum::body::to_bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use http::request::Parts;
use http::{StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::Shared;
use super::error::{ApiError, ApiResult, FormErrors};
use crate::id::Id;

/// The account that asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) id: Id,
    pub(crate) bot: bool,
    pub(crate) token: Id,
}

impl FromRequestParts<Shared> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> ApiResult<Self> {
        let caller = parts.extensions.get::<Self>().copied();
        caller.ok_or_else(ApiError::unauthorized)
    }
}

/// Parameters of the path.
#[derive(Debug)]
pub(crate) struct Path<T>(pub(crate) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Shared> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &Shared) -> ApiResult<Self> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(rejection) => Err(FormErrors::one(
                &["path"],
                "NUMBER_TYPE_COERCE",
                format!("Value is not snowflake ({rejection})"),
            )),
        }
    }
}

/// Parameters of the query.
#[derive(Debug)]
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequestParts<Shared> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> ApiResult<Self> {
        match axum::extract::Query::try_from_uri(&parts.uri) {
            Ok(axum::extract::Query(value)) => Ok(Self(value)),
            Err(rejection) => Err(FormErrors::one(
                &["query"],
                "BASE_TYPE_INVALID",
                rejection.to_string(),
            )),
        }
    }
}

/// The body of a request as an object. No body is an empty one.
#[derive(Debug, Default)]
pub(crate) struct Form {
    fields: Map<String, Value>,
    errors: FormErrors,
}

impl FromRequest<Shared> for Form {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &Shared) -> ApiResult<Self> {
        let kind = request.headers().get(header::CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if kind.starts_with("multipart/") {
            let message = "This server takes no attachments yet: send application/json";
            return Err(ApiError::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                0,
                message,
            ));
        }
        let bytes_max = state.config.body_bytes_max;
        let body = to_bytes(request.into_body(), bytes_max).await;
        let bytes = body.map_err(|_| ApiError::too_large(bytes_max))?;
        Self::parse(&bytes)
    }
}

impl Form {
    /// Reads a body.
    pub(crate) fn parse(bytes: &[u8]) -> ApiResult<Self> {
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self::default());
        }
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(fields)) => Ok(Self {
                fields,
                errors: FormErrors::default(),
            }),
            Ok(_) => Err(FormErrors::one(
                &[],
                "DICT_TYPE_CONVERT",
                "Only objects can be used here",
            )),
            Err(error) => Err(ApiError::not_json(&error)),
        }
    }

    /// Whether the key is there, be it null.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.fields.contains_key(key)
    }

    /// A field of any shape; null and absent are `None`, another shape is a fault.
    pub(crate) fn get<T: DeserializeOwned>(&mut self, key: &str) -> Option<T> {
        let value = self.fields.remove(key)?;
        if value.is_null() {
            return None;
        }
        match serde_json::from_value(value) {
            Ok(value) => Some(value),
            Err(error) => {
                self.fault(key, "BASE_TYPE_INVALID", error.to_string());
                None
            }
        }
    }

    /// As [`Form::get`], telling null (`Some(None)`) and absent (`None`) apart.
    #[expect(
        clippy::option_option,
        reason = "absent keeps, null clears, a value sets"
    )]
    pub(crate) fn change<T: DeserializeOwned>(&mut self, key: &str) -> Option<Option<T>> {
        let there = self.has(key);
        let value = self.get(key);
        there.then_some(value)
    }

    /// A text of so many characters, if it is there.
    pub(crate) fn text(&mut self, key: &str, length: RangeInclusive<usize>) -> Option<String> {
        let text: String = self.get(key)?;
        let found = text.chars().count();
        if found > *length.end() {
            let message = format!("Must be {} or fewer in length.", length.end());
            self.fault(key, "BASE_TYPE_MAX_LENGTH", message);
        } else if found < *length.start() {
            let message = format!("Must be {} or more in length.", length.start());
            self.fault(key, "BASE_TYPE_MIN_LENGTH", message);
        }
        Some(text)
    }

    /// A text that has to be there.
    pub(crate) fn required(&mut self, key: &str, length: RangeInclusive<usize>) -> String {
        let there = self.has(key);
        let text = self.text(key, length);
        if text.is_none() && (!there || !self.is_faulty(key)) {
            self.fault(key, "BASE_TYPE_REQUIRED", "This field is required");
        }
        text.unwrap_or_default()
    }

    /// A number within bounds, if it is there.
    pub(crate) fn number(&mut self, key: &str, bounds: RangeInclusive<u32>) -> Option<u32> {
        let number: u32 = self.get(key)?;
        if bounds.contains(&number) {
            return Some(number);
        }
        let message = format!(
            "int value should be between {} and {}.",
            bounds.start(),
            bounds.end()
        );
        self.fault(key, "NUMBER_TYPE_RANGE", message);
        None
    }

    fn is_faulty(&self, key: &str) -> bool {
        self.errors.has(key)
    }

    /// Remembers a fault of a field.
    pub(crate) fn fault(&mut self, key: &str, code: &str, message: impl Into<String>) {
        self.errors.add(&[key], code, message);
    }

    /// Fails when a field was faulty.
    pub(crate) fn finish(&mut self) -> ApiResult<()> {
        std::mem::take(&mut self.errors).finish()
    }
}
