//! The raft logs of a cluster as the source of streams: this node's own, and those of others.
//!
//! A log that this node does not have, or no longer as far back, is asked of the other nodes that hold
//! the tablet. Only what none of them has is a gap.

use crate::command::{ChangeParts, WriteCommand};
use crate::error::{Error, ErrorKind, Result};
use crate::group0::{System, TabletRecord};
use crate::node::open::blocking;
use crate::node::tablets::{TabletPlace, Tablets};
use crate::peer::Peers;
use crate::stream::hub::Event;
use crate::stream::receiver::{Backlog, Source};
use bytes::Bytes;
use futures::future::BoxFuture;
use raft::{LogRead, NodeId};
use std::sync::Arc;
use std::time::Duration;

/// About how much of a log is read at once, in bytes.
const READ_BYTES: usize = 256 * 1024;

/// A replica that is behind the stream is given so much time to catch up before it is read again.
const BEHIND_PAUSE: Duration = Duration::from_millis(50);

/// A part of a log as nodes tell it to each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// The last entry that was looked at.
    pub(crate) upto: u64,
    /// The oldest entry that is left, when the one asked for is gone; else 0.
    pub(crate) oldest: u64,
    /// Events in order.
    pub(crate) events: Vec<ToldEvent>,
}

/// One event of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ToldEvent {
    pub(crate) index: u64,
    /// Number of the command in its entry.
    pub(crate) number: u32,
    pub(crate) timestamp_us: u64,
    pub(crate) command: Bytes,
}

/// The logs of all tablets and the catalog that names what is in them.
#[derive(Debug)]
pub(crate) struct NodeLog {
    node: NodeId,
    tablets: Arc<Tablets>,
    system: Arc<System>,
    peers: Arc<Peers>,
}

impl NodeLog {
    pub(super) fn new(
        node: NodeId,
        tablets: Arc<Tablets>,
        system: Arc<System>,
        peers: Arc<Peers>,
    ) -> Self {
        Self {
            node,
            tablets,
            system,
            peers,
        }
    }

    /// Tells another node what comes in this node's log from entry `from`; waits a while for it when
    /// there is nothing yet. From entry 0: where the log stands.
    pub(super) async fn tell(&self, group: u64, from: u64, wait: Duration) -> Result<Told> {
        let place = self.tablets.get(group);
        let place = place.ok_or_else(|| {
            let message = format!("node {} has no replica of tablet {group}", self.node.0);
            Error::new(ErrorKind::Unavailable, message)
        })?;
        let mut applied = place.group.applied();
        let reached = applied.wait_for(|applied| *applied >= from);
        // Nothing new is an answer too.
        drop(tokio::time::timeout(wait, reached).await);
        let applied = *place.group.applied().borrow();
        if from == 0 || applied < from {
            return Ok(Told::standing(applied));
        }
        let read = blocking(move || read(&place, from, applied)).await?;
        told(read, from)
    }

    /// The events that another node told, once this node has heard of their tables.
    pub(super) async fn events_of(&self, group: u64, told: Told) -> Result<Backlog> {
        if told.oldest > 0 {
            return Ok(Backlog::Purged {
                oldest: told.oldest,
            });
        }
        let mut events = Vec::with_capacity(told.events.len());
        for event in told.events {
            let weight = event.command.len();
            let command = WriteCommand::decode(&event.command)?;
            let newest = command.writes.iter().map(|write| write.table).max();
            if let Some(newest) = newest
                && !self.system.hear_table(newest).await
            {
                return Err(Error::new(ErrorKind::Closed, "the node is closing"));
            }
            let number = usize::try_from(event.number).unwrap_or(usize::MAX);
            let place = Event::place(group, event.index, number);
            events.push(Event::new(
                place,
                event.timestamp_us,
                Arc::new(command),
                weight,
            ));
        }
        Ok(Backlog::Events {
            events,
            upto: told.upto,
        })
    }

    /// Asks the other nodes that hold the tablet.
    async fn read_elsewhere(&self, group: u64, from: u64, upto: u64) -> Result<Backlog> {
        let topology = self.system.topology();
        let record = topology.tablet(group);
        let others = record.into_iter().flat_map(TabletRecord::nodes);
        let message = format!("nobody tells the log of tablet {group}");
        let mut outcome = Err(Error::new(ErrorKind::Unavailable, message));
        for node in others.filter(|node| *node != self.node) {
            let ask = self.peers.read_log(node, (group, from), Duration::ZERO);
            let Ok(told) = ask.await else {
                continue;
            };
            match self.events_of(group, told).await? {
                Backlog::Events {
                    mut events,
                    upto: last,
                } => {
                    // A replica that is behind has nothing to say.
                    if last >= from {
                        events.retain(|event| event.place.index <= upto);
                        let upto = last.min(upto);
                        return Ok(Backlog::Events { events, upto });
                    }
                }
                Backlog::Purged { oldest } => {
                    let least = match &outcome {
                        Ok(Backlog::Purged { oldest: least }) => oldest.min(*least),
                        _ => oldest,
                    };
                    outcome = Ok(Backlog::Purged { oldest: least });
                }
            }
        }
        outcome
    }
}

impl NodeLog {
    async fn read_anywhere(&self, group: u64, from: u64, upto: u64) -> Result<Backlog> {
        let own = match self.tablets.get(group) {
            Some(place) => Some(blocking(move || read(&place, from, upto)).await?),
            None => None,
        };
        match own {
            // An own replica that is behind the stream, or lost the beginning.
            Some(Backlog::Events { upto: last, .. }) if last < from => {
                if let Ok(read) = self.read_elsewhere(group, from, upto).await {
                    return Ok(read);
                }
                tokio::time::sleep(BEHIND_PAUSE).await;
                let (events, upto) = (Vec::new(), from.saturating_sub(1));
                Ok(Backlog::Events { events, upto })
            }
            Some(Backlog::Events { events, upto }) => Ok(Backlog::Events { events, upto }),
            Some(Backlog::Purged { oldest }) => {
                match self.read_elsewhere(group, from, upto).await {
                    Ok(Backlog::Purged { oldest: other }) => Ok(Backlog::Purged {
                        oldest: oldest.min(other),
                    }),
                    Ok(events) => Ok(events),
                    Err(_) => Ok(Backlog::Purged { oldest }),
                }
            }
            None => self.read_elsewhere(group, from, upto).await,
        }
    }
}

impl Source for NodeLog {
    fn read(&self, group: u64, from: u64, upto: u64) -> BoxFuture<'_, Result<Backlog>> {
        Box::pin(self.read_anywhere(group, from, upto))
    }

    fn changes(&self, event: &Event) -> Result<Vec<ChangeParts>> {
        event.command.changes(&self.system.catalog())
    }
}

/// Reads the log of an own replica. Blocks.
fn read(place: &TabletPlace, from: u64, upto: u64) -> Result<Backlog> {
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

fn told(read: Backlog, from: u64) -> Result<Told> {
    let (events, upto) = match read {
        Backlog::Events { events, upto } => (events, upto),
        Backlog::Purged { oldest } => {
            return Ok(Told {
                upto: from.saturating_sub(1),
                oldest,
                events: Vec::new(),
            });
        }
    };
    let events = events.iter().map(|event| {
        Ok(ToldEvent {
            index: event.place.index,
            number: event.command_number(),
            timestamp_us: event.timestamp_us,
            command: event.command.encode()?,
        })
    });
    Ok(Told {
        upto,
        oldest: 0,
        events: events.collect::<Result<_>>()?,
    })
}
