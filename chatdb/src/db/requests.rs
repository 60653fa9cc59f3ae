//! The numbers that a client gives to its writes, and which of them are settled.
//!
//! A write is settled when nobody will send it again: it was answered, or whoever asked has gone. The
//! lowest number that is not settled travels with every write, and lets the tablets forget the answers
//! to all below it; see [`crate::tablet`].

use crate::node::environment::random;
use parking_lot::Mutex;
use std::collections::BTreeSet;

/// The numbers of one client.
#[derive(Debug)]
pub(crate) struct Requests {
    client: u64,
    numbers: Mutex<Numbers>,
}

#[derive(Debug, Default)]
struct Numbers {
    last: u64,
    open: BTreeSet<u64>,
}

/// A write that may still be sent; dropping it settles it.
#[derive(Debug)]
pub(crate) struct OpenRequest<'a> {
    requests: &'a Requests,
    number: u64,
    settled_below: u64,
}

impl Requests {
    /// A client that nobody else is.
    pub(crate) fn new() -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "64 random bits are wanted")]
        let client = random() as u64;
        Self {
            client,
            numbers: Mutex::default(),
        }
    }

    /// The next write.
    pub(crate) fn open(&self) -> OpenRequest<'_> {
        let mut numbers = self.numbers.lock();
        numbers.last += 1;
        let number = numbers.last;
        numbers.open.insert(number);
        OpenRequest {
            requests: self,
            number,
            settled_below: numbers.open.first().copied().unwrap_or(number),
        }
    }
}

impl OpenRequest<'_> {
    /// The client in the upper half, the number in the lower.
    pub(crate) fn id(&self) -> u128 {
        u128::from(self.requests.client) << 64 | u128::from(self.number)
    }

    pub(crate) fn settled_below(&self) -> u64 {
        self.settled_below
    }
}

impl Drop for OpenRequest<'_> {
    fn drop(&mut self) {
        self.requests.numbers.lock().open.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_settled_when_it_and_all_below_it_are() {
        let requests = Requests::new();
        let (first, second) = (requests.open(), requests.open());
        assert_ne!(first.id(), second.id());
        assert_eq!(second.settled_below(), 1);
        drop(second);
        assert_eq!(requests.open().settled_below(), 1);
        drop(first);
        assert_eq!(requests.open().settled_below(), 4);
    }
}
