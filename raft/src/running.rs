//! An open group with the tasks that serve it, and how they end.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::error::Error;
use crate::group::Group;

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
        match tokio::time::timeout(limit, self.group.raft().shutdown()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(group, error = %error, "the raft group did not stop in order");
            }
            Err(_) => tracing::warn!(
                group,
                "the raft group was still at work when it was stopped"
            ),
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
