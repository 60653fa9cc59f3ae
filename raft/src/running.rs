//! An open group with the tasks that serve it, and how they end.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::error::Error;
use crate::group::Group;
use crate::types::Raft;

/// Ends openraft's task of a group. It goes on to the end when nobody waits for it.
///
/// Dropping openraft's own `shutdown` in the middle would leave its state "being waited for", and whoever calls the group
/// after that would panic.
pub(crate) async fn shut_down(raft: &Raft) {
    let raft = raft.clone();
    let group = tokio::spawn(async move { raft.shutdown().await });
    match group.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(error = %error, "a raft group did not stop in order"),
        Err(error) => tracing::warn!(error = %error, "the end of a raft group was not reached"),
    }
}

/// A group and the tasks that serve it.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) group: Group,
    pub(crate) batcher: JoinHandle<()>,
    pub(crate) keeper: JoinHandle<()>,
    /// Closed when the state machine has been dropped.
    pub(crate) machine: watch::Receiver<()>,
}

impl Running {
    /// Ends the group in order. Each of the three steps takes at most `limit`.
    pub(crate) async fn stop(self, why: &Error, limit: Duration) {
        let group = self.group.id().0;
        self.group.queue().close(why);
        if tokio::time::timeout(limit, self.batcher).await.is_err() {
            tracing::warn!(
                group,
                "proposals were still on their way when the group was stopped"
            );
        }
        self.keeper.abort();
        let ending = shut_down(self.group.raft());
        if tokio::time::timeout(limit, ending).await.is_err() {
            tracing::warn!(
                group,
                "the raft group was still at work when it was stopped"
            );
        }
        let mut machine = self.machine;
        let gone = async { while machine.changed().await.is_ok() {} };
        if tokio::time::timeout(limit, gone).await.is_err() {
            tracing::warn!(
                group,
                "the state machine was still at work when the group was stopped"
            );
        }
    }

    /// Ends the group at once, as a crash would; nobody waits for it.
    pub(crate) fn abandon(self, why: &Error) {
        self.group.queue().close(why);
        self.batcher.abort();
        self.keeper.abort();
        let raft = self.group.raft().clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            // The handle is dropped on purpose: nobody waits for the end of this group.
            drop(runtime.spawn(async move { raft.shutdown().await }));
        }
    }
}
