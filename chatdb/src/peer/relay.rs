//! Ephemeral events on their way to the other nodes.
//!
//! Each other node has a queue of its own, which drops its oldest event when it is full, and a task
//! that sends what is there. A node that is away or slow costs the others nothing and the publisher
//! one lock. Events that wait for a node that does not answer grow old there and are dropped.

use crate::peer::Lines;
use crate::rpc::client::endpoint::jittered;
use crate::rpc::proto;
use bytes::Bytes;
use parking_lot::Mutex;
use raft::NodeId;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Events that wait for one node; the oldest leave first.
const WAITING_MAX: usize = 1024;
/// Events of one message.
const TOGETHER_MAX: usize = 64;
/// An event that waited longer is of no use to anybody.
const AGE_MAX: Duration = Duration::from_secs(5);
/// Waits between calls that break: from this, doubled, up to that.
const WAIT_MIN: Duration = Duration::from_millis(50);
const WAIT_MAX: Duration = Duration::from_secs(2);

/// The queues by node.
#[derive(Debug)]
pub(super) struct Relays {
    lines: Arc<Lines>,
    queues: Mutex<BTreeMap<NodeId, Arc<Queue>>>,
    stop: CancellationToken,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<VecDeque<(Instant, proto::EphemeralEvent)>>,
    bell: Notify,
}

impl Relays {
    pub(super) fn new(lines: Arc<Lines>) -> Self {
        Self {
            lines,
            queues: Mutex::default(),
            stop: CancellationToken::new(),
        }
    }

    pub(super) fn offer(&self, topic: &str, payload: &Bytes) {
        let others = self.lines.others();
        let mut queues = self.queues.lock();
        queues.retain(|node, _| others.contains(node));
        for node in others {
            let queue = queues.entry(node).or_insert_with(|| self.start(node));
            queue.push(proto::EphemeralEvent {
                topic: topic.to_owned(),
                payload: payload.clone(),
            });
        }
    }

    pub(super) fn close(&self) {
        self.stop.cancel();
    }

    fn start(&self, node: NodeId) -> Arc<Queue> {
        let queue = Arc::new(Queue::default());
        let (lines, sent) = (Arc::clone(&self.lines), Arc::clone(&queue));
        let stop = self.stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = send(&lines, node, &sent) => {}
            }
        });
        queue
    }
}

impl Drop for Relays {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Queue {
    fn push(&self, event: proto::EphemeralEvent) {
        let mut waiting = self.waiting.lock();
        if waiting.len() >= WAITING_MAX {
            waiting.pop_front();
        }
        waiting.push_back((Instant::now(), event));
        drop(waiting);
        self.bell.notify_one();
    }

    /// Waits for events; those that are too old are dropped.
    async fn take(&self) -> Vec<proto::EphemeralEvent> {
        loop {
            let events: Vec<_> = {
                let mut waiting = self.waiting.lock();
                let count = waiting.len().min(TOGETHER_MAX);
                let fresh = waiting.drain(..count);
                let fresh = fresh.filter(|(since, _)| since.elapsed() < AGE_MAX);
                fresh.map(|(_, event)| event).collect()
            };
            if !events.is_empty() {
                return events;
            }
            let bell = self.bell.notified();
            if self.waiting.lock().is_empty() {
                bell.await;
            }
        }
    }
}

/// Sends what comes into the queue until group 0 says that the node is gone.
async fn send(lines: &Arc<Lines>, node: NodeId, queue: &Arc<Queue>) {
    let mut wait = WAIT_MIN;
    while lines.others().contains(&node) {
        let first = queue.take().await;
        let begun = Instant::now();
        if let Ok(mut client) = lines.client(node) {
            let caller = Some(lines.caller(node));
            let first = proto::RelayRequest {
                caller,
                events: first,
            };
            let more = futures::stream::unfold(Arc::clone(queue), |queue| async move {
                let events = queue.take().await;
                let request = proto::RelayRequest {
                    caller: None,
                    events,
                };
                Some((request, queue))
            });
            let requests = futures::StreamExt::chain(futures::stream::iter([first]), more);
            // The call goes on as long as both nodes do; why it ended does not matter.
            if let Err(status) = client.relay(requests).await {
                tracing::debug!(node = node.0, %status, "the relay of ephemeral events broke");
            }
        }
        if begun.elapsed() > WAIT_MAX {
            wait = WAIT_MIN;
        }
        tokio::time::sleep(jittered(wait)).await;
        wait = (wait * 2).min(WAIT_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: usize) -> proto::EphemeralEvent {
        proto::EphemeralEvent {
            topic: number.to_string(),
            payload: Bytes::new(),
        }
    }

    #[tokio::test]
    async fn a_full_queue_drops_its_oldest_and_gives_the_rest_in_order() {
        let queue = Queue::default();
        for number in 0..WAITING_MAX + 10 {
            queue.push(event(number));
        }
        let mut taken = Vec::new();
        while taken.len() < WAITING_MAX {
            let together = queue.take().await;
            assert!(together.len() <= TOGETHER_MAX);
            taken.extend(together);
        }
        let expected: Vec<_> = (10..WAITING_MAX + 10).map(event).collect();
        assert_eq!(taken, expected);
    }
}
