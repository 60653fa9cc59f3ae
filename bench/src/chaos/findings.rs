//! What a run has found to be wrong, and how often requests failed in which way.

use parking_lot::Mutex;
use std::collections::BTreeMap;

/// Findings kept in words; more are only counted.
const KEPT_MAX: usize = 40;

/// What is wrong, from all tasks.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    violations: Vec<String>,
    violation_count: u64,
    /// Errors by kind and first words.
    errors: BTreeMap<String, u64>,
}

impl Findings {
    /// Something that must never happen.
    pub(crate) fn violation(&self, text: String) {
        let mut inner = self.inner.lock();
        inner.violation_count += 1;
        if inner.violations.len() < KEPT_MAX {
            inner.violations.push(text);
        }
    }

    /// An error that a client got, which faults may cause.
    pub(crate) fn error(&self, error: &chatdb::Error) {
        let kind = format!("{:?}", error.kind());
        *self.inner.lock().errors.entry(kind).or_default() += 1;
    }

    /// The violations in words, and how many there are.
    pub(crate) fn violations(&self) -> (Vec<String>, u64) {
        let inner = self.inner.lock();
        (inner.violations.clone(), inner.violation_count)
    }

    pub(crate) fn has_any(&self) -> bool {
        self.inner.lock().violation_count > 0
    }

    /// Errors by kind.
    pub(crate) fn errors(&self) -> BTreeMap<String, u64> {
        self.inner.lock().errors.clone()
    }
}
