//! Datagrams that wait for the socket: one buffer for all of them, sealed in place where they lie.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::Range;

/// The queue; its buffer is emptied whenever everything was taken.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    pub(crate) bytes: Vec<u8>,
    queue: VecDeque<(SocketAddr, Range<usize>)>,
    bytes_max: usize,
    pub(crate) dropped: u64,
    pub(crate) sent: (u64, u64),
}

impl Outbox {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            ..Self::default()
        }
    }

    /// Where the next datagram begins; `None` if there is no room for it.
    pub(crate) fn begin(&mut self) -> Option<usize> {
        if self.bytes.len() >= self.bytes_max {
            self.dropped += 1;
            return None;
        }
        Some(self.bytes.len())
    }

    /// What stands behind `start` goes to `to`.
    pub(crate) fn end(&mut self, start: usize, to: SocketAddr) {
        let range = start..self.bytes.len();
        self.sent.0 += 1;
        self.sent.1 += range.len() as u64;
        self.queue.push_back((to, range));
    }

    /// What stands behind `start` goes nowhere.
    pub(crate) fn cancel(&mut self, start: usize) {
        self.bytes.truncate(start);
    }

    /// A datagram that is whole already.
    pub(crate) fn push(&mut self, datagram: &[u8], to: SocketAddr) {
        if let Some(start) = self.begin() {
            self.bytes.extend_from_slice(datagram);
            self.end(start, to);
        }
    }

    /// The oldest datagram.
    pub(crate) fn pop(&mut self) -> Option<(SocketAddr, &[u8])> {
        if self.queue.is_empty() {
            self.bytes.clear();
            return None;
        }
        let (to, range) = self.queue.pop_front()?;
        Some((to, &self.bytes[range]))
    }
}
