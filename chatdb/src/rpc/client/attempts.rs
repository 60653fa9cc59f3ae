//! One request over several endpoints: attempts, back-off, hedges, a deadline.
//!
//! # How it works
//!
//! Attempts of one request may overlap, and the first good answer counts. An attempt that failed in
//! a way that a repetition can heal is followed by another after a jittered wait that doubles. An
//! attempt that does not answer is not given up: after its *patience* the next endpoint is asked
//! too. Reads have a short patience, the recent p95 of the endpoint, as long as such hedges stay
//! a tenth of all reads; otherwise, and for writes that carry a request id, it is a second.
//!
//! # Invariants
//!
//! * What is not idempotent runs a second time only after an error that says that nothing was done.
//! * When the deadline passes, the error is `Unknown` if any attempt may have taken effect.
//! * At most [`ATTEMPTS_AT_ONCE`] attempts of a request run at any time.

use crate::error::{Error, ErrorKind, Result};
use crate::rpc::client::endpoint::{Endpoint, doubled, jittered};
use futures::stream::{FuturesUnordered, StreamExt};
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use tonic::transport::Channel;

/// Attempts of one request that may run at the same time.
const ATTEMPTS_AT_ONCE: usize = 3;
/// Waits between attempts: from this, doubled, up to that.
const WAIT_MIN: Duration = Duration::from_millis(10);
const WAIT_MAX: Duration = Duration::from_millis(500);
/// How long an attempt may be silent before another endpoint is asked as well.
const PATIENCE: Duration = Duration::from_secs(1);
/// A hedge waits at least this long, whatever the p95 is.
const HEDGE_MIN: Duration = Duration::from_millis(2);
/// One read earns this much of a hedge, in thousandths; and the most that is saved up.
const HEDGE_SHARE: i64 = 100;
const HEDGES_SAVED_MAX: i64 = 10_000;

/// What may be done about a request that fails or is slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Asking twice does no harm.
    Read,
    /// Carries a request id: asking twice takes effect once.
    Write,
    /// Asking twice is wrong unless nothing was done.
    Once,
}

/// The endpoints of one database, in the order in which they were named.
#[derive(Debug)]
pub(crate) struct Endpoints {
    all: Vec<Endpoint>,
    preferred: AtomicUsize,
    /// Saved hedges, in thousandths.
    hedges: AtomicI64,
    /// No attempt of a request begins after this, and no answer is waited for.
    deadline: Duration,
}

/// When the next attempt begins, and whether it is a hedge.
#[derive(Clone, Copy, Debug)]
struct Launch {
    at: Instant,
    is_hedge: bool,
}

impl Launch {
    fn at(at: Instant) -> Self {
        Self {
            at,
            is_hedge: false,
        }
    }
}

/// What came of an attempt.
struct Finished<T> {
    endpoint: usize,
    begun: Instant,
    outcome: Result<T>,
}

/// The attempts that a request made so far.
#[derive(Debug, Default)]
struct Tried {
    /// Endpoint and beginning of each running attempt.
    running: Vec<(usize, Instant)>,
    attempts: u32,
    last_error: Option<Error>,
    may_have_acted: bool,
}

impl Endpoints {
    pub(super) fn new(all: Vec<Endpoint>, first: usize, deadline: Duration) -> Self {
        let first = first % all.len().max(1);
        Self {
            all,
            preferred: AtomicUsize::new(first),
            hedges: AtomicI64::new(HEDGES_SAVED_MAX),
            deadline,
        }
    }

    pub(super) fn get(&self, number: usize) -> Result<&Endpoint> {
        self.all
            .get(number)
            .ok_or_else(|| Error::bug(format!("there is no endpoint {number}")))
    }

    /// The endpoint to ask next: the preferred one or the next after it that is open and not being
    /// asked already; when none is, the one that opens first.
    pub(super) fn choose(&self, avoid: &[(usize, Instant)]) -> usize {
        let count = self.all.len().max(1);
        let first = self.preferred.load(Ordering::Relaxed);
        let order = (0..count).map(|step| (first + step) % count);
        let mut soonest = (usize::MAX, None, first % count);
        for number in order {
            let Some(endpoint) = self.all.get(number) else {
                continue;
            };
            let asked = avoid.iter().filter(|(other, _)| *other == number).count();
            let until = endpoint.closed_until();
            if asked == 0 && until.is_none() {
                return number;
            }
            if (asked, until) < (soonest.0, soonest.1) {
                soonest = (asked, until, number);
            }
        }
        soonest.2
    }

    /// Whether there are others to choose from.
    pub(super) fn has_several(&self) -> bool {
        self.all.len() > 1
    }

    /// The connection of each endpoint.
    pub(super) fn channels(&self) -> impl Iterator<Item = (usize, Channel)> {
        let all = self.all.iter().enumerate();
        all.map(|(number, endpoint)| (number, endpoint.channel()))
    }

    /// Notes that the endpoint answers; it stays the one that is asked as long as it does.
    pub(super) fn succeeded(&self, number: usize, took: Option<Duration>) {
        if let Some(endpoint) = self.all.get(number) {
            endpoint.succeeded(took);
        }
        let preferred = self.preferred.load(Ordering::Relaxed);
        let is_closed = |endpoint: &Endpoint| endpoint.closed_until().is_some();
        if preferred != number && self.all.get(preferred).is_some_and(is_closed) {
            self.preferred.store(number, Ordering::Relaxed);
        }
    }

    /// Notes that the endpoint does not answer.
    pub(super) fn failed(&self, number: usize) {
        if let Some(endpoint) = self.all.get(number) {
            endpoint.failed();
        }
    }

    /// Runs the request: `attempt` asks the endpoint of this number, within the time that is left.
    pub(super) async fn run<T, F>(
        &self,
        class: Class,
        attempt: impl Fn(usize, Duration) -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        self.run_at(None, class, attempt).await
    }

    /// The same, beginning with the endpoint that is wished for, unless that is closed.
    pub(super) async fn run_at<T, F>(
        &self,
        wished: Option<usize>,
        class: Class,
        attempt: impl Fn(usize, Duration) -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let deadline = Instant::now() + self.deadline;
        if class == Class::Read {
            self.save_hedge();
        }
        let is_open = |number: &usize| {
            let endpoint = self.all.get(*number);
            endpoint.is_some_and(|endpoint| endpoint.closed_until().is_none())
        };
        let mut wished = wished.filter(is_open);
        let mut tried = Tried::default();
        let mut running = FuturesUnordered::new();
        let mut launch = Some(Launch::at(Instant::now()));
        loop {
            let next = launch.map_or(deadline, |launch| launch.at.min(deadline));
            tokio::select! {
                biased;
                Some(finished) = running.next(), if !running.is_empty() => {
                    if let Some(result) = self.judge(class, finished, &mut tried) {
                        return result;
                    }
                    let soon = Instant::now() + self.wait(&tried);
                    if launch.is_none_or(|launch| launch.at > soon) {
                        launch = Some(Launch::at(soon));
                    }
                }
                () = sleep_until(next) => {
                    let now = Instant::now();
                    if now >= deadline {
                        return Err(self.late(class, tried));
                    }
                    if launch.is_some_and(|launch| launch.is_hedge) && !self.take_hedge() {
                        launch = Some(Launch::at(now + PATIENCE));
                        continue;
                    }
                    let number = wished.take().unwrap_or_else(|| self.choose(&tried.running));
                    launch = self.patience(class, number, &tried);
                    tried.running.push((number, now));
                    tried.attempts += 1;
                    let asked = attempt(number, deadline - now);
                    running.push(async move {
                        let outcome = asked.await;
                        Finished { endpoint: number, begun: now, outcome }
                    });
                }
            }
        }
    }

    /// The end of the request, or nothing when another attempt may follow.
    fn judge<T>(
        &self,
        class: Class,
        finished: Finished<T>,
        tried: &mut Tried,
    ) -> Option<Result<T>> {
        let Finished {
            endpoint,
            begun,
            outcome,
        } = finished;
        let is_this = |other: &(usize, Instant)| *other == (endpoint, begun);
        if let Some(at) = tried.running.iter().position(is_this) {
            tried.running.swap_remove(at);
        }
        let error = match outcome {
            Ok(answer) => {
                let is_read = class == Class::Read;
                self.succeeded(endpoint, is_read.then(|| begun.elapsed()));
                self.note_silent(is_read, tried);
                return Some(Ok(answer));
            }
            Err(error) => error,
        };
        match self.retry(class, &error) {
            Retry::Never => {
                self.succeeded(endpoint, None);
                return Some(Err(error));
            }
            Retry::Elsewhere => self.failed(endpoint),
            // It answers; only the leader, or its queue, is not there.
            Retry::Anywhere => {}
        }
        tried.may_have_acted |= !error.is_retryable();
        tried.last_error = Some(error);
        None
    }

    fn retry(&self, class: Class, error: &Error) -> Retry {
        match error.kind() {
            ErrorKind::NotLeader | ErrorKind::Overloaded => Retry::Anywhere,
            ErrorKind::Unavailable => Retry::Elsewhere,
            ErrorKind::Unknown | ErrorKind::Closed if class != Class::Once => Retry::Elsewhere,
            // The disk of one node; the others have theirs.
            ErrorKind::Io if class != Class::Once && self.all.len() > 1 => Retry::Elsewhere,
            _ => Retry::Never,
        }
    }

    /// The wait before the next attempt: none while there is an open endpoint that this request did
    /// not ask yet.
    fn wait(&self, tried: &Tried) -> Duration {
        let untried = usize::try_from(tried.attempts).is_ok_and(|count| count < self.all.len());
        let is_open = |endpoint: &Endpoint| endpoint.closed_until().is_none();
        let fails_over = tried.last_error.as_ref().map(Error::kind) != Some(ErrorKind::Overloaded);
        if untried && fails_over && self.all.iter().any(is_open) {
            return Duration::ZERO;
        }
        jittered(doubled(WAIT_MIN, tried.attempts, WAIT_MAX))
    }

    /// When to ask another endpoint if the one that is asked now stays silent.
    fn patience(&self, class: Class, number: usize, tried: &Tried) -> Option<Launch> {
        let at_once = tried.running.len() + 1;
        if class == Class::Once || self.all.len() < 2 || at_once >= ATTEMPTS_AT_ONCE {
            return None;
        }
        let p95 = self.all.get(number).and_then(Endpoint::p95);
        let hedge = p95.filter(|p95| *p95 < PATIENCE && class == Class::Read && at_once == 1);
        let now = Instant::now();
        Some(match hedge {
            Some(p95) => Launch {
                at: now + p95.max(HEDGE_MIN),
                is_hedge: true,
            },
            None => Launch::at(now + PATIENCE),
        })
    }

    fn save_hedge(&self) {
        if self.hedges.load(Ordering::Relaxed) < HEDGES_SAVED_MAX {
            self.hedges.fetch_add(HEDGE_SHARE, Ordering::Relaxed);
        }
    }

    fn take_hedge(&self) -> bool {
        let taken = self.hedges.fetch_sub(1000, Ordering::Relaxed);
        if taken < 1000 {
            self.hedges.fetch_add(1000, Ordering::Relaxed);
        }
        taken >= 1000
    }

    /// Another endpoint has answered while these were silent: for a while that counts as their
    /// answer time, for longer than patience as a failure.
    fn note_silent(&self, is_read: bool, tried: &Tried) {
        for &(number, begun) in &tried.running {
            let silent = begun.elapsed();
            let Some(endpoint) = self.all.get(number) else {
                continue;
            };
            if silent >= PATIENCE {
                endpoint.failed();
            } else if is_read {
                endpoint.slow(silent);
            }
        }
    }

    fn late(&self, class: Class, tried: Tried) -> Error {
        let may_have_acted = tried.may_have_acted || !tried.running.is_empty();
        let seconds = self.deadline.as_secs_f32();
        match tried.last_error {
            Some(error) if class == Class::Read || !may_have_acted => error,
            _ => Error::new(
                ErrorKind::Unknown,
                format!(
                    "no answer within {seconds} s, after {} attempts",
                    tried.attempts
                ),
            ),
        }
    }
}

/// What to do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Retry {
    Never,
    /// Soon, preferably at another endpoint.
    Anywhere,
    /// At another endpoint: this one is closed for a while.
    Elsewhere,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::environment::Environment;
    use futures::FutureExt;
    use parking_lot::Mutex;

    fn endpoints(count: usize, deadline_ms: u64) -> Endpoints {
        // Nothing listens there, and nothing connects before it is asked.
        let network = Environment::system().network;
        let all =
            (0..count).map(|number| Endpoint::new(&format!("127.0.0.1:{}", number + 1), &network));
        let all = all.collect::<Result<_>>().unwrap();
        Endpoints::new(all, 0, Duration::from_millis(deadline_ms))
    }

    /// Runs a request whose attempts end in these errors, then in success; tells who was asked.
    async fn ask(
        endpoints: &Endpoints,
        class: Class,
        errors: &[ErrorKind],
    ) -> (Result<()>, Vec<usize>) {
        let asked = Mutex::new(Vec::new());
        let attempt = |number, _| {
            let mut asked = asked.lock();
            let error = errors.get(asked.len());
            asked.push(number);
            let outcome = error.map_or(Ok(()), |kind| Err(Error::new(*kind, "made up")));
            std::future::ready(outcome)
        };
        let outcome = endpoints.run(class, attempt).await;
        (outcome, asked.into_inner())
    }

    #[tokio::test]
    async fn what_is_not_idempotent_runs_again_only_when_nothing_was_done() {
        let harmless = [
            ErrorKind::Unavailable,
            ErrorKind::NotLeader,
            ErrorKind::Overloaded,
        ];
        for class in [Class::Read, Class::Write, Class::Once] {
            let (outcome, asked) = ask(&endpoints(2, 5_000), class, &harmless).await;
            outcome.unwrap();
            assert_eq!(asked.len(), 4, "{class:?}");
        }
        for kind in [ErrorKind::Unknown, ErrorKind::Closed, ErrorKind::Io] {
            let (outcome, asked) = ask(&endpoints(2, 5_000), Class::Once, &[kind]).await;
            assert_eq!((outcome.unwrap_err().kind(), asked), (kind, vec![0]));
            for class in [Class::Read, Class::Write] {
                let (outcome, asked) = ask(&endpoints(2, 5_000), class, &[kind]).await;
                outcome.unwrap();
                assert_eq!(asked, [0, 1], "{class:?} after {kind:?}");
            }
        }
        for kind in [ErrorKind::Invalid, ErrorKind::NotFound, ErrorKind::Conflict] {
            let (outcome, asked) = ask(&endpoints(2, 5_000), Class::Read, &[kind]).await;
            assert_eq!((outcome.unwrap_err().kind(), asked), (kind, vec![0]));
        }
    }

    #[tokio::test]
    async fn an_endpoint_that_failed_is_left_alone_and_the_one_that_answered_is_asked_first() {
        let endpoints = endpoints(3, 5_000);
        let (outcome, asked) = ask(&endpoints, Class::Read, &[ErrorKind::Unavailable]).await;
        outcome.unwrap();
        assert_eq!(asked, [0, 1]);
        for _ in 0..5 {
            let (outcome, asked) = ask(&endpoints, Class::Read, &[]).await;
            outcome.unwrap();
            assert_eq!(asked, [1]);
        }
    }

    #[tokio::test]
    async fn at_its_deadline_a_write_that_may_have_arrived_is_unknown_and_one_that_did_not_is_not()
    {
        let arrived = [ErrorKind::Unknown; 64];
        let (outcome, asked) = ask(&endpoints(1, 150), Class::Write, &arrived).await;
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Unknown);
        assert!(asked.len() > 2, "{asked:?}");
        let refused = [ErrorKind::Overloaded; 64];
        let (outcome, _) = ask(&endpoints(1, 150), Class::Write, &refused).await;
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Overloaded);
        let silent = endpoints(2, 150);
        let never = |_, _| std::future::pending::<Result<()>>();
        let error = silent.run(Class::Once, never).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unknown);
    }

    #[tokio::test]
    async fn hedges_stay_a_tenth_of_the_reads_however_slow_the_preferred_endpoint_is() {
        let endpoints = endpoints(2, 5_000);
        let asked = Mutex::new([0_u32; 2]);
        for _ in 0..64 {
            endpoints.get(0).unwrap().slow(Duration::from_millis(2));
        }
        for _ in 0..200 {
            // A hedge that wins makes the estimate grow, so it is kept where it was.
            for _ in 0..16 {
                endpoints.get(0).unwrap().slow(Duration::from_millis(2));
            }
            let attempt = |number: usize, _| {
                asked.lock()[number] += 1;
                let ms = [6, 1][number];
                tokio::time::sleep(Duration::from_millis(ms)).map(Ok)
            };
            endpoints.run(Class::Read, attempt).await.unwrap();
        }
        let [first, second] = *asked.lock();
        assert_eq!(first, 200);
        assert!((1..=30).contains(&second), "{second} hedges of 200 reads");
    }

    #[tokio::test]
    async fn a_silent_endpoint_is_passed_over_after_a_second_and_closed() {
        let endpoints = endpoints(2, 5_000);
        let attempt = |number: usize, _| async move {
            if number == 0 {
                std::future::pending::<()>().await;
            }
            Ok(number)
        };
        assert_eq!(endpoints.run(Class::Write, attempt).await.unwrap(), 1);
        let begun = Instant::now();
        assert_eq!(endpoints.run(Class::Write, attempt).await.unwrap(), 1);
        assert!(begun.elapsed() < PATIENCE / 2);
    }
}
