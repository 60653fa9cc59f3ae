//! The raft logs of a node as the source of streams that are behind.

use crate::command::ChangeParts;
use crate::error::{Error, ErrorKind, Result};
use crate::group0::System;
use crate::node::tablets::Tablets;
use crate::stream::hub::Event;
use crate::stream::receiver::{Backlog, Source};
use raft::LogRead;
use std::sync::Arc;

/// About how much of a log is read at once, in bytes.
const READ_BYTES: usize = 256 * 1024;

/// The logs of all tablets and the catalog that names what is in them.
#[derive(Debug)]
pub(super) struct NodeLog {
    tablets: Arc<Tablets>,
    system: Arc<System>,
}

impl NodeLog {
    pub(super) fn new(tablets: Arc<Tablets>, system: Arc<System>) -> Self {
        Self { tablets, system }
    }
}

impl Source for NodeLog {
    fn read(&self, group: u64, from: u64, upto: u64) -> Result<Backlog> {
        let place = self.tablets.get(group).ok_or_else(|| {
            let message = format!("tablet {group} has left this node");
            Error::new(ErrorKind::Unavailable, message)
        })?;
        let (tablet, raft) = (&place.tablet, &place.group);
        let oldest = tablet.oldest_for_streams();
        if from < oldest {
            return Ok(Backlog::Purged { oldest });
        }
        match raft.read_log(from, READ_BYTES)? {
            LogRead::Purged { oldest } => Ok(Backlog::Purged { oldest }),
            LogRead::Batches { batches, next } => {
                let last = next.saturating_sub(1).min(upto);
                match tablet.events(&batches, last)? {
                    Ok(events) => Ok(Backlog::Events { events, upto: last }),
                    Err(oldest) => Ok(Backlog::Purged { oldest }),
                }
            }
        }
    }

    fn changes(&self, event: &Event) -> Result<Vec<ChangeParts>> {
        event.command.changes(&self.system.catalog())
    }
}
