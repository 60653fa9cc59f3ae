//! Keeps a group tidy: moves the raft snapshot point and purges the log behind it.
//!
//! openraft purges only behind a raft snapshot. Ours is the state machine's durable state, so when
//! the owner says that it is durable up to an index, the snapshot point is moved there first and
//! then the log is purged, no further than streams still read ([`Order::keep_from`]) and no further
//! than a raft snapshot that is being sent, for a while ([`Outbox`](crate::snapshot::Outbox)).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::id::LogId;
use crate::replica::Replica;
use crate::types::{Raft, to_raft_id};

/// How long a move of the snapshot point may take before it is asked for again.
const SNAPSHOT_WAIT: Duration = Duration::from_secs(5);

/// How often a raft snapshot that is being sent is looked after.
const PIN_LOOK: Duration = Duration::from_secs(5);

/// What the owner last said about durability.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Order {
    /// The last entry whose effects are durable.
    pub(crate) durable: Option<LogId>,
    /// Entries from here on are still read by streams.
    pub(crate) keep_from: u64,
}

/// What the keeper of one group works with.
pub(crate) struct Keeper {
    pub(crate) replica: Arc<Replica>,
    pub(crate) raft: Raft,
    pub(crate) orders: watch::Receiver<Order>,
}

impl Keeper {
    /// Works until the group is stopped.
    pub(crate) async fn run(mut self) {
        loop {
            let pinned = self.replica.outbox.pinned();
            tokio::select! {
                biased;
                () = self.replica.outbox.made() => {}
                () = tokio::time::sleep(PIN_LOOK), if pinned.is_some() => {
                    // The transfer may have ended, and with it the reason to keep the log.
                    let order = *self.orders.borrow();
                    if order.durable.is_some() && self.obey(order).await.is_none() {
                        return;
                    }
                }
                changed = self.orders.changed() => {
                    let order = *self.orders.borrow_and_update();
                    if changed.is_err() || self.obey(order).await.is_none() {
                        return;
                    }
                }
            }
        }
    }

    /// Moves the snapshot point, then purges. `None` when the group has stopped.
    async fn obey(&self, order: Order) -> Option<()> {
        let durable = order.durable?;
        self.move_snapshot(durable).await?;
        let pinned = self
            .replica
            .outbox
            .pinned()
            .map_or(u64::MAX, |last| last.saturating_add(1));
        let first_kept = durable.index.min(order.keep_from).min(pinned);
        let upto = first_kept.checked_sub(1);
        let purged = self.replica.log.state(self.replica.group).purged;
        let more = upto.filter(|upto| purged.is_none_or(|purged| purged.index < *upto));
        if let Some(upto) = more {
            self.raft.trigger().purge_log(upto).await.ok()?;
        }
        Some(())
    }

    async fn move_snapshot(&self, durable: LogId) -> Option<()> {
        let target = Some(to_raft_id(durable));
        let mut progress = self.raft.watch_snapshot_progress();
        while progress.get() < target {
            self.raft.trigger().snapshot().await.ok()?;
            let moved = tokio::time::timeout(SNAPSHOT_WAIT, progress.wait_until_ge(&target)).await;
            match moved {
                Ok(Ok(_)) => break,
                Ok(Err(_)) => return None,
                Err(_) => {
                    let (group, index) = (self.replica.group.0, durable.index);
                    tracing::warn!(group, index, "moving the raft snapshot point takes long");
                }
            }
        }
        Some(())
    }
}
