//! Requests that took effect, so that a retried write takes effect once.
//!
//! # Two kinds of request ids
//!
//! A client of ours numbers its writes and says with each which of its numbers are *settled*: it has
//! their answers or has given them up, and never sends them again. So the answers of a client that
//! are kept are those of its writes in flight, however many writes a second there are. What is below
//! the settled number is refused, never applied, even when its first copy arrives late: forgetting
//! is safe.
//!
//! An id that somebody made up alone says nothing about others. Those are remembered in a ring by
//! number and age; a retry that comes later than that is a new write.
//!
//! # Invariants
//!
//! * Replicated state: it changes only with the log and forgets by the log's clock, so that every
//!   replica gives a retry the same answer.
//! * A numbered request takes effect at most once, unless its client was silent for ten minutes or
//!   [`CLIENTS_MAX`] others were heard since.
//! * At most [`ANSWERS_MAX`] answers are kept; beyond it the lowest numbers count as settled.
//!
//! # Cost
//!
//! Two lookups in small trees per write. Each answer is about 60 bytes of memory and 3 of state.

use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};

/// Most ids without a client remembered.
pub(super) const REQUESTS_MAX: usize = 16 * 1024;
/// How long an id, or a silent client, is remembered, in milliseconds of the log's clock.
pub(super) const AGE_MS_MAX: u64 = 10 * 60 * 1000;
/// Longest response remembered whole, in bytes; of a longer one only its outcome is.
const RESPONSE_BYTES_MAX: usize = 64;
/// Most clients remembered; the one that was silent longest leaves first.
pub(super) const CLIENTS_MAX: usize = 4096;
/// Most answers of one client, and of all.
pub(super) const CLIENT_ANSWERS_MAX: usize = 4096;
pub(super) const ANSWERS_MAX: usize = 32 * 1024;

/// A remembered request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Remembered {
    pub(super) id: u128,
    pub(super) time_ms: u64,
    pub(super) response: Bytes,
}

/// How a write names itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestId {
    /// An id without order.
    Alone(u128),
    /// A number of a client, all of whose numbers below another are settled.
    Numbered {
        client: u64,
        number: u64,
        settled_below: u64,
    },
}

impl RequestId {
    /// The id of a command: a client's if it tells what is settled.
    pub(super) fn of(id: u128, settled_below: Option<u64>) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the halves of the id are wanted"
        )]
        match settled_below {
            None => Self::Alone(id),
            Some(settled_below) => Self::Numbered {
                client: (id >> 64) as u64,
                number: id as u64,
                settled_below,
            },
        }
    }
}

/// What is known of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It never took effect.
    New,
    /// It took effect with this response.
    Answered(Bytes),
    /// It is settled, and whether it took effect is forgotten.
    Settled,
}

/// The requests of one client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Client {
    pub(super) id: u64,
    pub(super) time_ms: u64,
    pub(super) settled_below: u64,
    pub(super) answers: BTreeMap<u64, Bytes>,
    /// Its place among all clients by when they were heard last.
    turn: u64,
}

/// The remembered requests.
#[derive(Debug, Default)]
pub(super) struct Dedupe {
    order: VecDeque<Remembered>,
    responses: BTreeMap<u128, Bytes>,
    clients: BTreeMap<u64, Client>,
    /// Clients by turn, the one that was silent longest first.
    turns: BTreeMap<u64, u64>,
    next_turn: u64,
    answers: usize,
}

impl Dedupe {
    /// What is known of the request at `time_ms`.
    pub(super) fn judge(&mut self, id: RequestId, time_ms: u64) -> Seen {
        self.forget(time_ms);
        match id {
            RequestId::Alone(id) => match self.responses.get(&id) {
                Some(response) => Seen::Answered(response.clone()),
                None => Seen::New,
            },
            RequestId::Numbered {
                client,
                number,
                settled_below,
            } => self.hear(client, time_ms, settled_below).judge(number),
        }
    }

    /// Remembers the response of a request that was judged new just before.
    pub(super) fn remember(&mut self, id: RequestId, time_ms: u64, response: &Bytes) {
        let response = short(response);
        match id {
            RequestId::Alone(id) => {
                self.responses.insert(id, response.clone());
                self.order.push_back(Remembered {
                    id,
                    time_ms,
                    response,
                });
                while self.order.len() > REQUESTS_MAX {
                    self.forget_oldest();
                }
            }
            RequestId::Numbered { client, number, .. } => self.answer(client, number, response),
        }
    }

    /// The client, heard now.
    fn hear(&mut self, id: u64, time_ms: u64, settled_below: u64) -> &mut Client {
        match self.clients.get(&id) {
            Some(client) => {
                self.turns.remove(&client.turn);
            }
            None if self.clients.len() >= CLIENTS_MAX => self.forget_client(),
            None => {}
        }
        let turn = self.next_turn;
        self.next_turn += 1;
        self.turns.insert(turn, id);
        let client = self.clients.entry(id).or_default();
        client.id = id;
        client.turn = turn;
        client.time_ms = time_ms;
        self.answers -= client.settle(settled_below);
        client
    }

    fn answer(&mut self, client: u64, number: u64, response: Bytes) {
        let Some(client) = self.clients.get_mut(&client) else {
            return;
        };
        client.answers.insert(number, response);
        self.answers += 1;
        if client.answers.len() > CLIENT_ANSWERS_MAX {
            self.answers -= client.settle_lowest();
        }
        if self.answers > ANSWERS_MAX {
            let silent = self.turns.values().copied();
            let first = silent
                .filter_map(|id| self.clients.get(&id))
                .find(|client| !client.answers.is_empty())
                .map(|client| client.id);
            if let Some(client) = first.and_then(|id| self.clients.get_mut(&id)) {
                self.answers -= client.settle(u64::MAX);
            }
        }
    }

    /// Puts a client back that was kept as bytes; they come in the order of [`Self::clients`]. False
    /// when it is there already.
    pub(super) fn restore(&mut self, client: Client) -> bool {
        if self.clients.contains_key(&client.id) {
            return false;
        }
        let turn = self.next_turn;
        self.next_turn += 1;
        self.turns.insert(turn, client.id);
        self.answers += client.answers.len();
        self.clients.insert(client.id, Client { turn, ..client });
        true
    }

    fn forget(&mut self, time_ms: u64) {
        let too_old = time_ms.saturating_sub(AGE_MS_MAX);
        while self
            .order
            .front()
            .is_some_and(|oldest| oldest.time_ms < too_old)
        {
            self.forget_oldest();
        }
        while let Some((_, id)) = self.turns.first_key_value() {
            let client = self.clients.get(id);
            if client.is_some_and(|client| client.time_ms >= too_old) {
                break;
            }
            self.forget_client();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.order.pop_front() {
            self.responses.remove(&oldest.id);
        }
    }

    /// Forgets the client that was silent longest.
    fn forget_client(&mut self) {
        if let Some((_, id)) = self.turns.pop_first()
            && let Some(client) = self.clients.remove(&id)
        {
            self.answers -= client.answers.len();
        }
    }

    /// All ids without a client, oldest first.
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &Remembered> {
        self.order.iter()
    }

    /// All clients, the one that was silent longest first.
    pub(super) fn clients(&self) -> impl Iterator<Item = &Client> {
        self.turns.values().filter_map(|id| self.clients.get(id))
    }

    pub(super) fn client_count(&self) -> usize {
        self.clients.len()
    }
}

impl Client {
    /// A client that was kept as bytes.
    pub(super) fn new(id: u64, time_ms: u64, settled_below: u64) -> Self {
        Self {
            id,
            time_ms,
            settled_below,
            ..Self::default()
        }
    }

    fn judge(&self, number: u64) -> Seen {
        match self.answers.get(&number) {
            Some(response) => Seen::Answered(response.clone()),
            None if number < self.settled_below => Seen::Settled,
            None => Seen::New,
        }
    }

    /// Forgets the answers below the number; tells how many there were.
    fn settle(&mut self, below: u64) -> usize {
        let before = self.answers.len();
        let kept = |client: &Self| client.answers.first_key_value().map(|(number, _)| *number);
        while let Some(number) = kept(self).filter(|number| *number < below) {
            self.answers.pop_first();
            self.settled_below = self.settled_below.max(number.saturating_add(1));
        }
        if below < u64::MAX {
            self.settled_below = self.settled_below.max(below);
        }
        before - self.answers.len()
    }

    fn settle_lowest(&mut self) -> usize {
        let lowest = self
            .answers
            .first_key_value()
            .map_or(0, |(number, _)| *number);
        self.settle(lowest.saturating_add(1))
    }
}

/// A response as it is remembered. The usual one takes no memory.
fn short(response: &Bytes) -> Bytes {
    match response.as_ref() {
        [0] => Bytes::from_static(&[0]),
        [1] => Bytes::from_static(&[1]),
        long if long.len() > RESPONSE_BYTES_MAX => {
            Bytes::copy_from_slice(long.get(..2).unwrap_or_default())
        }
        other => Bytes::copy_from_slice(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tablet::state::State;

    const DONE: Bytes = Bytes::from_static(&[0]);

    fn numbered(client: u64, number: u64, settled_below: u64) -> RequestId {
        RequestId::Numbered {
            client,
            number,
            settled_below,
        }
    }

    /// Applies the request unless it is known; tells what was known.
    fn run(dedupe: &mut Dedupe, id: RequestId, time_ms: u64) -> Seen {
        let seen = dedupe.judge(id, time_ms);
        if seen == Seen::New {
            dedupe.remember(id, time_ms, &DONE);
        }
        seen
    }

    #[test]
    fn a_number_takes_effect_once_and_never_after_its_client_settled_it() {
        let mut dedupe = Dedupe::default();
        assert_eq!(run(&mut dedupe, numbered(1, 5, 5), 0), Seen::New);
        assert_eq!(run(&mut dedupe, numbered(1, 5, 5), 0), Seen::Answered(DONE));
        assert_eq!(run(&mut dedupe, numbered(2, 5, 1), 0), Seen::New);
        // 6 was sent before 7, arrives after it, and is not settled: it takes effect.
        assert_eq!(run(&mut dedupe, numbered(1, 7, 6), 0), Seen::New);
        assert_eq!(run(&mut dedupe, numbered(1, 6, 6), 0), Seen::New);
        // A late first copy of a number that was given up does not.
        assert_eq!(run(&mut dedupe, numbered(1, 10, 10), 0), Seen::New);
        assert_eq!(run(&mut dedupe, numbered(1, 8, 8), 0), Seen::Settled);
        assert_eq!(run(&mut dedupe, numbered(1, 7, 6), 0), Seen::Settled);
    }

    #[test]
    fn at_forty_thousand_writes_a_second_the_state_stays_small_and_every_retry_is_known() {
        let (mut dedupe, in_flight) = (Dedupe::default(), 128);
        for number in 1..=400_000_u64 {
            let time_ms = number / 40;
            for client in [1, 2] {
                let settled_below = number.saturating_sub(in_flight);
                let id = numbered(client, number, settled_below);
                assert_eq!(run(&mut dedupe, id, time_ms), Seen::New);
            }
            if number % 97 == 0 {
                let id = numbered(1, number - number % in_flight.min(number), 0);
                assert_eq!(run(&mut dedupe, id, time_ms), Seen::Answered(DONE));
            }
        }
        let state = State {
            dedupe,
            ..State::default()
        };
        let bytes = state.encode();
        assert!(bytes.len() < 1024 + 64, "{} bytes", bytes.len());
        let mut again = State::decode(&bytes).unwrap();
        assert_eq!(again.encode(), bytes);
        let retry = numbered(2, 399_990, 0);
        assert_eq!(again.dedupe.judge(retry, 10_000), Seen::Answered(DONE));
        // For comparison: what a ring of ids costs at each flush.
        let mut ring = Dedupe::default();
        for id in 0..40_000_u128 {
            run(&mut ring, RequestId::Alone(id << 64), 1_700_000_000_000);
        }
        let state = State {
            dedupe: ring,
            ..State::default()
        };
        assert!(state.encode().len() > 390_000);
    }

    #[test]
    fn bounds_hold_and_what_they_push_out_is_refused_and_not_applied_again() {
        let mut dedupe = Dedupe::default();
        let per_client = u64::try_from(CLIENT_ANSWERS_MAX).unwrap();
        for number in 1..=2 * per_client {
            run(&mut dedupe, numbered(1, number, 1), 0);
        }
        assert_eq!(dedupe.clients[&1].answers.len(), CLIENT_ANSWERS_MAX);
        assert_eq!(run(&mut dedupe, numbered(1, 1, 1), 0), Seen::Settled);
        for client in 2..=20 {
            for number in 1..=per_client {
                run(&mut dedupe, numbered(client, number, 1), 0);
            }
        }
        assert!(dedupe.answers <= ANSWERS_MAX);
        let kept: usize = dedupe.clients().map(|client| client.answers.len()).sum();
        assert_eq!(kept, dedupe.answers);
        assert_eq!(
            run(&mut dedupe, numbered(1, 2 * per_client, 1), 0),
            Seen::Settled
        );
        let others = u64::try_from(CLIENTS_MAX).unwrap();
        for client in 100..100 + others {
            run(&mut dedupe, numbered(client, 1, 1), 1);
        }
        assert_eq!(dedupe.client_count(), CLIENTS_MAX);
        assert_eq!(dedupe.turns.len(), CLIENTS_MAX);
        // Ten silent minutes later everything is forgotten.
        run(&mut dedupe, numbered(7, 1, 1), 2 + AGE_MS_MAX);
        assert_eq!((dedupe.client_count(), dedupe.answers), (1, 1));
    }
}
