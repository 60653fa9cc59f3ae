//! Request ids that took effect, so that a retried write takes effect once.
//!
//! Replicated state: it changes only with the log and forgets by the log's clock, so that every
//! replica gives a retry the same answer. Bounded in number and age; a retry that comes later than
//! that is a new write.

use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};

/// Most request ids remembered.
pub(super) const REQUESTS_MAX: usize = 16 * 1024;
/// How long a request id is remembered, in milliseconds of the log's clock.
pub(super) const AGE_MS_MAX: u64 = 10 * 60 * 1000;
/// Longest response remembered whole, in bytes; of a longer one only its outcome is.
const RESPONSE_BYTES_MAX: usize = 64;

/// A remembered request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Remembered {
    pub(super) id: u128,
    pub(super) time_ms: u64,
    pub(super) response: Bytes,
}

/// The table of remembered requests, oldest first.
#[derive(Debug, Default)]
pub(super) struct Dedupe {
    order: VecDeque<Remembered>,
    responses: BTreeMap<u128, Bytes>,
}

impl Dedupe {
    /// The response that the request got before, if it is remembered at `time_ms`.
    pub(super) fn find(&mut self, id: u128, time_ms: u64) -> Option<Bytes> {
        self.forget(time_ms);
        self.responses.get(&id).cloned()
    }

    /// Remembers the response of a request that is not remembered yet.
    pub(super) fn remember(&mut self, id: u128, time_ms: u64, response: &Bytes) {
        let kept = response.len().min(if response.len() > RESPONSE_BYTES_MAX {
            2
        } else {
            64
        });
        let response = Bytes::copy_from_slice(response.get(..kept).unwrap_or_default());
        self.responses.insert(id, response.clone());
        self.order.push_back(Remembered {
            id,
            time_ms,
            response,
        });
        while self.order.len() > REQUESTS_MAX {
            self.forget_oldest();
        }
    }

    fn forget(&mut self, time_ms: u64) {
        let too_old = time_ms.saturating_sub(AGE_MS_MAX);
        while self
            .order
            .front()
            .is_some_and(|oldest| oldest.time_ms < too_old)
        {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.order.pop_front() {
            self.responses.remove(&oldest.id);
        }
    }

    /// Everything remembered, oldest first.
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &Remembered> {
        self.order.iter()
    }
}
