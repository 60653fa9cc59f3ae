//! `WITH` options of a table: reading them from a statement, checking them, printing them.

use crate::cql::ast::{Literal, OptionValue};
use crate::error::{Error, Result};

/// Longest comment, in bytes.
const COMMENT_BYTES_MAX: usize = 4096;
/// Longest time to live, in seconds: 20 years, as in Cassandra.
pub(crate) const TTL_SECONDS_MAX: u32 = 20 * 365 * 86_400;
/// Longest bucket, in days.
const BUCKET_DAYS_MAX: u32 = 36_500;
/// Most entries of `compaction`.
const COMPACTION_ENTRIES_MAX: usize = 32;
/// Longest name and longest value of a compaction setting, in bytes. The catalog holds them, and
/// what it cannot read again must not get into it.
const SETTING_BYTES_MAX: usize = 256;

/// The time bucket of a table: an int column of the partition key numbers windows of `days`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// The int partition key column; the client supplies it.
    pub column: String,
    /// Length of a window, in days.
    pub days: u32,
    /// Where window 0 begins, in milliseconds of Unix time.
    pub origin_ms: i64,
}

/// `WITH` options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableOptions {
    /// Whether an `UPDATE` of a missing row makes the row. Default: true.
    pub upsert: bool,
    /// Seconds that a write without its own TTL lives; 0 = for ever.
    pub default_ttl_s: u32,
    /// The time bucket, if the table has one. It cannot change later.
    pub bucket: Option<Bucket>,
    /// Settings of compaction by name; kept and shown, not yet acted upon.
    pub compaction: Vec<(String, String)>,
    /// Free text.
    pub comment: String,
}

impl Default for TableOptions {
    fn default() -> Self {
        Self {
            upsert: true,
            default_ttl_s: 0,
            bucket: None,
            compaction: Vec::new(),
            comment: String::new(),
        }
    }
}

/// The comment of a table or a keyspace, if it is not too long.
pub(super) fn checked_comment(text: &str) -> Result<String> {
    if text.len() > COMMENT_BYTES_MAX {
        let limit = format!("a comment is longer than {COMMENT_BYTES_MAX} bytes");
        return Err(Error::invalid(limit));
    }
    Ok(text.to_owned())
}

impl TableOptions {
    /// Sets one option. `Ok(false)` when this is not an option that can be set here.
    pub(super) fn set(&mut self, name: &str, value: &OptionValue) -> Result<bool> {
        match (name, value) {
            ("upsert", OptionValue::Literal(Literal::Boolean(upsert))) => self.upsert = *upsert,
            ("default_time_to_live", OptionValue::Literal(Literal::Integer(seconds))) => {
                self.default_ttl_s = checked_ttl(*seconds)?;
            }
            ("comment", OptionValue::Literal(Literal::Text(text))) => {
                self.comment = checked_comment(text)?;
            }
            ("compaction", OptionValue::Map(entries)) => {
                if entries.len() > COMPACTION_ENTRIES_MAX {
                    return Err(Error::invalid("compaction has too many settings"));
                }
                let entries = entries.iter();
                let entries = entries.map(|(name, value)| (name.clone(), plain(value)));
                let entries: Vec<(String, String)> = entries.collect();
                let longest = entries
                    .iter()
                    .map(|(name, value)| name.len().max(value.len()));
                if longest.max().unwrap_or(0) > SETTING_BYTES_MAX {
                    return Err(Error::invalid(format!(
                        "a compaction setting is longer than {SETTING_BYTES_MAX} bytes"
                    )));
                }
                self.compaction = entries;
            }
            ("upsert", _) => return Err(takes(name, "true or false")),
            ("default_time_to_live", _) => return Err(takes(name, "a number of seconds")),
            ("comment", _) => return Err(takes(name, "text in single quotes")),
            ("compaction", _) => return Err(takes(name, "{'name': value, ...}")),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Each option that is not its default, as it is written after `WITH`.
    pub(super) fn texts(&self) -> Vec<String> {
        let mut texts = Vec::new();
        if let Some(Bucket {
            column,
            days,
            origin_ms,
        }) = &self.bucket
        {
            let column = escape(column);
            texts.push(format!(
                "bucket = {{'column': '{column}', 'days': {days}, 'origin_ms': {origin_ms}}}"
            ));
        }
        if self.default_ttl_s > 0 {
            texts.push(format!("default_time_to_live = {}", self.default_ttl_s));
        }
        if !self.upsert {
            texts.push("upsert = false".to_owned());
        }
        if !self.compaction.is_empty() {
            let entries: Vec<String> = self
                .compaction
                .iter()
                .map(|(name, value)| format!("'{}': '{}'", escape(name), escape(value)))
                .collect();
            texts.push(format!("compaction = {{{}}}", entries.join(", ")));
        }
        if !self.comment.is_empty() {
            texts.push(format!("comment = '{}'", escape(&self.comment)));
        }
        texts
    }
}

/// A time to live in seconds, 0 meaning for ever; `Invalid` when out of range.
pub(crate) fn checked_ttl(seconds: i64) -> Result<u32> {
    u32::try_from(seconds)
        .ok()
        .filter(|seconds| *seconds <= TTL_SECONDS_MAX)
        .ok_or_else(|| {
            Error::invalid(format!(
                "a TTL of {seconds} s is outside 0..={TTL_SECONDS_MAX}"
            ))
        })
}

/// Reads `{'column': name, 'days': n, 'origin_ms': n}`.
pub(super) fn bucket(value: &OptionValue) -> Result<Bucket> {
    let form = "{'column': name, 'days': 10, 'origin_ms': 0}";
    let OptionValue::Map(entries) = value else {
        return Err(takes("bucket", form));
    };
    let mut column = None;
    let mut days = None;
    let mut origin_ms = 0;
    for (name, value) in entries {
        match (name.as_str(), value) {
            ("column", Literal::Text(text)) => column = Some(text.clone()),
            ("days", Literal::Integer(number)) => {
                days = u32::try_from(*number)
                    .ok()
                    .filter(|days| *days <= BUCKET_DAYS_MAX);
            }
            ("origin_ms", Literal::Integer(number)) if *number >= 0 => origin_ms = *number,
            _ => return Err(takes("bucket", form).with_help("not known", name.clone())),
        }
    }
    match (column, days) {
        (Some(column), Some(days)) if days > 0 => Ok(Bucket {
            column,
            days,
            origin_ms,
        }),
        _ => Err(takes("bucket", form)),
    }
}

/// The error that an option takes another kind of value.
pub(super) fn takes(name: &str, form: &str) -> Error {
    Error::invalid(format!("option {name} takes {form}"))
}

fn plain(literal: &Literal) -> String {
    match literal {
        Literal::Text(text) => text.clone(),
        other => other.to_string(),
    }
}

fn escape(text: &str) -> String {
    text.replace('\'', "''")
}
