//! One node as a client sees it: its connection, how fast it answers, whether it answers at all.
//!
//! The connection is made at the first call and again after it broke, by the transport. An endpoint
//! that failed is closed for a while that doubles with every failure in a row; it is asked again
//! only when that has passed, or when no other is better.

use crate::error::{Error, ErrorKind, Result};
use crate::node::environment::random;
use crate::node::network::Network;
use crate::rpc::client::pipeline::Pipeline;
use crate::rpc::client::{Client, channel, named};
use crate::rpc::limits::{REQUEST_BYTES_MAX, RESPONSE_BYTES_MAX};
use crate::rpc::proto::database_client::DatabaseClient;
use bytes::Bytes;
use parking_lot::Mutex;
use quick_cache::sync::Cache;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint as Transport};

/// A failed endpoint stays closed for this long at first, and at most.
const CLOSED_MIN: Duration = Duration::from_millis(100);
const CLOSED_MAX: Duration = Duration::from_secs(5);
/// Answer times remembered, and how many are needed before they mean something.
const TIMES: usize = 128;
const TIMES_MIN: usize = 32;
/// The estimate is made again after so many answers.
const ESTIMATE_EVERY: usize = 16;
/// Statements that stay prepared at one endpoint.
const PREPARED_MAX: usize = 1024;

/// What an endpoint knows of a statement's text.
#[derive(Clone, Debug)]
pub(super) enum Prepared {
    /// It was sent so many times.
    Sent(u32),
    /// It is being prepared.
    Asked,
    /// It has this id there.
    Known(Bytes),
}

/// One node of the list.
#[derive(Debug)]
pub(crate) struct Endpoint {
    address: String,
    transport: Transport,
    network: Arc<dyn Network>,
    /// The connection, and the stub over it.
    line: Mutex<(Channel, Client)>,
    health: Mutex<Health>,
    /// By keyspace and text.
    pub(super) prepared: Cache<String, Prepared>,
    /// Writes.
    pub(super) pipeline: Pipeline,
}

#[derive(Debug, Default)]
struct Health {
    failures: u32,
    closed_until: Option<Instant>,
    times: Vec<Duration>,
    next: usize,
    since_estimate: usize,
    p95: Option<Duration>,
}

fn line(channel: Channel) -> (Channel, Client) {
    let client = DatabaseClient::new(channel.clone())
        .max_encoding_message_size(REQUEST_BYTES_MAX)
        .max_decoding_message_size(RESPONSE_BYTES_MAX);
    (channel, client)
}

impl Endpoint {
    /// The endpoint of this address; connects when it is first used.
    pub(super) fn new(address: &str, network: &Arc<dyn Network>) -> Result<Self> {
        let address = named(address, network)?;
        let transport = channel(&address)?;
        Ok(Self {
            line: Mutex::new(line(network.line(&transport))),
            network: Arc::clone(network),
            address,
            transport,
            health: Mutex::default(),
            prepared: Cache::new(PREPARED_MAX),
            pipeline: Pipeline::default(),
        })
    }

    /// Connects now.
    pub(super) async fn connect(&self) -> Result<()> {
        let channel = self
            .network
            .connect(&self.transport)
            .await
            .map_err(|cause| {
                let message = format!("no database answers at {}", self.address);
                Error::new(ErrorKind::Unavailable, message).with_source(cause)
            })?;
        *self.line.lock() = line(channel);
        Ok(())
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn client(&self) -> Client {
        self.line.lock().1.clone()
    }

    /// The connection, for another service.
    pub(super) fn channel(&self) -> Channel {
        self.line.lock().0.clone()
    }

    /// The endpoint did its work; reads also tell how long they took.
    pub(super) fn succeeded(&self, took: Option<Duration>) {
        let mut health = self.health.lock();
        health.failures = 0;
        health.closed_until = None;
        if let Some(took) = took {
            health.record(took);
        }
    }

    /// A read got its answer elsewhere after waiting for so long.
    pub(super) fn slow(&self, waited: Duration) {
        self.health.lock().record(waited);
    }

    /// The endpoint did not answer, or said that it cannot.
    pub(super) fn failed(&self) {
        let mut health = self.health.lock();
        let wait = jittered(doubled(CLOSED_MIN, health.failures, CLOSED_MAX));
        health.failures = health.failures.saturating_add(1);
        health.closed_until = Some(Instant::now() + wait);
    }

    /// When it may be asked again, if it is closed now.
    pub(super) fn closed_until(&self) -> Option<Instant> {
        let until = self.health.lock().closed_until?;
        (until > Instant::now()).then_some(until)
    }

    /// The time within which 95 of 100 recent reads were answered; `None` while few are known.
    pub(super) fn p95(&self) -> Option<Duration> {
        self.health.lock().p95
    }
}

impl Health {
    fn record(&mut self, took: Duration) {
        if self.times.len() < TIMES {
            self.times.push(took);
        } else if let Some(oldest) = self.times.get_mut(self.next) {
            *oldest = took;
        }
        self.next = (self.next + 1) % TIMES;
        self.since_estimate += 1;
        if self.times.len() >= TIMES_MIN && self.since_estimate >= ESTIMATE_EVERY {
            self.since_estimate = 0;
            let mut sorted = self.times.clone();
            sorted.sort_unstable();
            self.p95 = sorted.get(sorted.len() * 95 / 100).copied();
        }
    }
}

/// `min` doubled `times` times, at most `max`.
pub(super) fn doubled(min: Duration, times: u32, max: Duration) -> Duration {
    min.saturating_mul(2_u32.saturating_pow(times.min(16)))
        .min(max)
}

/// Between half of the time and all of it, so that those who failed together do not return together.
pub(crate) fn jittered(time: Duration) -> Duration {
    let part = u32::try_from(random() % 512).unwrap_or(0);
    time / 2 + time / 1024 * part
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_is_the_time_of_95_in_100_of_the_recent_answers_and_forgets_old_ones() {
        let mut health = Health::default();
        for _ in 0..TIMES_MIN - 1 {
            health.record(Duration::from_millis(1));
        }
        assert_eq!(health.p95, None, "too few answers mean nothing");
        for ms in 1..=200 {
            health.record(Duration::from_millis(ms));
        }
        let p95 = health.p95.unwrap();
        let recent = Duration::from_millis(180)..=Duration::from_millis(198);
        assert!(recent.contains(&p95), "{p95:?}");
        for _ in 0..TIMES + ESTIMATE_EVERY {
            health.record(Duration::from_millis(2));
        }
        assert_eq!(health.p95, Some(Duration::from_millis(2)));
    }

    #[test]
    fn waits_double_up_to_their_bound_and_scatter_over_the_upper_half() {
        let ms = Duration::from_millis;
        assert_eq!(doubled(ms(100), 0, ms(5000)), ms(100));
        assert_eq!(doubled(ms(100), 3, ms(5000)), ms(800));
        assert_eq!(doubled(ms(100), u32::MAX, ms(5000)), ms(5000));
        let waits: Vec<Duration> = (0..64).map(|_| jittered(ms(1000))).collect();
        assert!(waits.iter().all(|wait| (ms(500)..=ms(1000)).contains(wait)));
        assert!(waits.iter().any(|wait| *wait != waits[0]));
    }
}
