//! The wire between a session and the connection that serves it.
//!
//! A connection is a task that sleeps until its socket or its link wakes it. Others never touch the
//! socket: they leave a wish here (something to write, a close code) and wake the task.
//!
//! Cost: one notification cell and two atomics; waking a task that is already awake is one compare.

use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};

use tokio::sync::Notify;

use super::CloseCode;

/// Handle of one live connection.
#[derive(Debug, Default)]
pub struct Link {
    wake: Notify,
    /// Wanted close code; 0 means none.
    close: AtomicU16,
    /// Second (of the session clock) until which the client must be heard of.
    deadline_s: AtomicU64,
    /// Set while the node drains: the connection says op 7 before it closes.
    reconnect: std::sync::atomic::AtomicBool,
}

impl Link {
    /// A link whose client must be heard of until `deadline_s`.
    pub fn new(deadline_s: u64) -> Self {
        Self {
            deadline_s: AtomicU64::new(deadline_s),
            ..Self::default()
        }
    }

    /// Wakes the connection because there is something to write.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Waits for the next wake-up; one that came before is not lost.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Asks the connection to close. The first code wins; tells whether it was this one.
    pub fn close(&self, code: CloseCode) -> bool {
        let first =
            self.close
                .compare_exchange(0, code.code(), Ordering::AcqRel, Ordering::Acquire);
        if first.is_ok() {
            self.wake();
        }
        first.is_ok()
    }

    /// Asks the connection to tell its client to reconnect (op 7) and to close.
    pub fn reconnect(&self) {
        self.reconnect.store(true, Ordering::Release);
        self.wake();
    }

    /// The close code that somebody asked for.
    pub fn wanted_close(&self) -> Option<u16> {
        Some(self.close.load(Ordering::Acquire)).filter(|code| *code != 0)
    }

    /// Whether the client is to be sent elsewhere.
    pub fn wants_reconnect(&self) -> bool {
        self.reconnect.load(Ordering::Acquire)
    }

    /// The client was heard of.
    pub fn extend(&self, deadline_s: u64) {
        self.deadline_s.store(deadline_s, Ordering::Relaxed);
    }

    /// Second until which the client must be heard of.
    pub fn deadline_s(&self) -> u64 {
        self.deadline_s.load(Ordering::Relaxed)
    }
}
