//! Why replication stopped for good, and who is told.
//!
//! A group that fails stops alone; a disk that fails stops all groups of the host. Whatever happens after
//! the first failure is its consequence, so the first one stays.

use tokio::sync::watch;

use crate::error::{Error, ErrorKind};
use crate::id::GroupId;

/// Why a group, or all of them, stopped for good.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The group; `None` for the shared log, which stops all groups.
    pub group: Option<GroupId>,
    /// What happened.
    pub error: Error,
}

impl Failure {
    /// Whether it stops all groups: the disk has failed, under the log or under a state machine.
    pub(crate) fn stops_all(&self) -> bool {
        self.group.is_none() || self.error.kind() == ErrorKind::Io
    }

    /// Tells whoever watches the host. The first failure stays, but one that stops all groups
    /// takes the place of one that stops its own.
    pub(crate) fn report(self, failures: &watch::Sender<Option<Self>>) {
        failures.send_if_modified(|failure| {
            let weaker = |old: &Self| self.stops_all() && !old.stops_all();
            let news = failure.as_ref().is_none_or(weaker);
            if news {
                *failure = Some(self);
            }
            news
        });
    }
}

/// Waits for a failure that stops all groups; `None` when the host is gone.
pub(crate) async fn stopping(mut failure: watch::Receiver<Option<Failure>>) -> Option<Failure> {
    let stops_all = |failure: &Option<Failure>| failure.as_ref().is_some_and(Failure::stops_all);
    failure.wait_for(stops_all).await.ok()?.clone()
}
