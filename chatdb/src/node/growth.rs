//! When a tablet is to be split: it is large, or much is written to it.
//!
//! The leader of a tablet looks at its own replica. A tablet is cut where half of its bytes lie on each
//! side; one that cannot be cut into parts that are worth it, because most of it is one partition, stays.

use crate::db::options::EmbeddedOptions;
use crate::node::tablets::TabletPlace;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// How often a tablet is looked at.
const INTERVAL: Duration = Duration::from_secs(5);
/// How long much has to be written before that counts.
const LOAD_PERIOD: Duration = Duration::from_mins(1);
/// The smaller part of a split has at least one in so many bytes.
const SHARE: u64 = 4;

/// The sizes and loads of the tablets that this node leads.
#[derive(Debug)]
pub(super) struct Growth {
    /// Bytes in files; 0 = never.
    bytes_max: u64,
    /// Bytes written in a second; 0 = never.
    load_max: u64,
    seen: BTreeMap<u64, Seen>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    looked: Instant,
    /// Since when the load is measured, and what had been written then.
    since: Instant,
    written: u64,
}

impl Growth {
    pub(super) fn new(options: &EmbeddedOptions) -> Self {
        Self {
            bytes_max: options.split_bytes,
            load_max: options.split_load,
            seen: BTreeMap::new(),
        }
    }

    /// Where the tablet is to be cut now.
    pub(super) fn look(&mut self, place: &TabletPlace, now: Instant) -> Option<u64> {
        let written = place.tablet.written_bytes();
        let seen = self.seen.entry(place.tablet.group_id()).or_insert(Seen {
            looked: now,
            since: now,
            written,
        });
        if now.duration_since(seen.looked) < INTERVAL {
            return None;
        }
        seen.looked = now;
        let period = now.duration_since(seen.since);
        let mut is_loaded = false;
        if period >= LOAD_PERIOD {
            let rate = written.saturating_sub(seen.written) / period.as_secs().max(1);
            is_loaded = self.load_max > 0 && rate > self.load_max;
            (seen.since, seen.written) = (now, written);
        }
        let spread = place.tablet.engine().token_at_half()?;
        let is_large = self.bytes_max > 0 && spread.all > self.bytes_max;
        let smaller = spread.below.min(spread.all.saturating_sub(spread.below));
        let is_worth_it = smaller >= spread.all / SHARE;
        ((is_large || is_loaded) && is_worth_it).then_some(spread.token)
    }
}
