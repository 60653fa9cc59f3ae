//! Load: clients that wait for their answers before they ask again, and requests that come at fixed times whether
//! the answers do or not.

use crate::measure::float;
use anyhow::{Context, Result, ensure};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Requests of the open loop that may be unanswered; more, and the rate is beyond what can be measured.
const UNANSWERED_MAX: u64 = 200_000;
/// Answers that are late after the end are waited for as long.
const LATE: Duration = Duration::from_secs(40);

/// What came of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    pub(super) per_second: f64,
    pub(super) operations: u64,
    pub(super) failed: u64,
    /// An error of those, if any failed.
    pub(super) error: Option<String>,
    /// Latencies in microseconds, in order.
    pub(super) latencies_us: Vec<u32>,
    /// Operations answered in each second.
    pub(super) each_second: Vec<u64>,
}

impl Outcome {
    /// The latency in milliseconds that this many thousandths did not exceed.
    pub(super) fn latency_ms(&self, thousandths: usize) -> f64 {
        share_ms(&self.latencies_us, thousandths)
    }

    /// Adds what another stretch of the same load gave; rates are averaged over both by their operations.
    pub(super) fn add(&mut self, other: Self) {
        let (mine, theirs) = (float(self.operations), float(other.operations));
        if mine + theirs > 0.0 {
            let weighted = self.per_second * mine + other.per_second * theirs;
            self.per_second = weighted / (mine + theirs);
        }
        self.operations += other.operations;
        self.failed += other.failed;
        self.error = self.error.take().or(other.error);
        self.latencies_us.extend(other.latencies_us);
        self.latencies_us.sort_unstable();
        self.each_second.extend(other.each_second);
    }
}

/// The value in milliseconds that this many thousandths of sorted microseconds do not exceed.
pub(super) fn share_ms(sorted_us: &[u32], thousandths: usize) -> f64 {
    let at = sorted_us.len().saturating_sub(1) * thousandths / 1000;
    sorted_us
        .get(at)
        .map_or(f64::NAN, |us| f64::from(*us) / 1000.0)
}

/// When the measurement begins and how long it lasts; the load goes on around it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) warm_up: Duration,
    pub(super) length: Duration,
}

#[derive(Debug, Default)]
struct Flags {
    is_measured: AtomicBool,
    is_over: AtomicBool,
    failed: AtomicU64,
}

/// Runs `clients` that call `operation(client, number)` over and over, and measures those that end inside the window.
/// `at_ends` is awaited when the window opens and when it closes.
pub(super) async fn closed<F, Fut, A, Ends>(
    clients: usize,
    window: Window,
    operation: F,
    mut at_ends: A,
) -> Result<Outcome>
where
    F: Fn(usize, u64) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<()>> + Send + 'static,
    A: FnMut() -> Ends,
    Ends: Future<Output = Result<()>>,
{
    let operation = Arc::new(operation);
    let flags = Arc::new(Flags::default());
    let mut tasks = JoinSet::new();
    for client in 0..clients {
        tasks.spawn(ask_again(
            client,
            Arc::clone(&operation),
            Arc::clone(&flags),
        ));
    }
    tokio::time::sleep(window.warm_up).await;
    at_ends().await?;
    let begun = Instant::now();
    flags.is_measured.store(true, Ordering::Relaxed);
    tokio::time::sleep(window.length).await;
    flags.is_measured.store(false, Ordering::Relaxed);
    let elapsed = begun.elapsed();
    at_ends().await?;
    flags.is_over.store(true, Ordering::Relaxed);
    let mut latencies_us = Vec::new();
    let mut error = None;
    while let Some(ended) = tasks.join_next().await {
        let (latencies, failure) = ended.context("a client ended early")?;
        latencies_us.extend(latencies);
        error = error.or(failure);
    }
    latencies_us.sort_unstable();
    let operations = latencies_us.len() as u64;
    Ok(Outcome {
        per_second: float(operations) / elapsed.as_secs_f64(),
        operations,
        failed: flags.failed.load(Ordering::Relaxed),
        error,
        latencies_us,
        each_second: Vec::new(),
    })
}

/// One client: latencies of its operations inside the window, and an error if it had one.
async fn ask_again<F, Fut>(
    client: usize,
    operation: Arc<F>,
    flags: Arc<Flags>,
) -> (Vec<u32>, Option<String>)
where
    F: Fn(usize, u64) -> Fut,
    Fut: Future<Output = Result<()>>,
{
    let (mut latencies, mut error, mut number) = (Vec::new(), None, 0);
    while !flags.is_over.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let outcome = operation(client, number).await;
        number += 1;
        if !flags.is_measured.load(Ordering::Relaxed) {
            continue;
        }
        match outcome {
            Ok(()) => latencies.push(micros(begun.elapsed())),
            Err(failure) => {
                flags.failed.fetch_add(1, Ordering::Relaxed);
                error = Some(format!("{failure:#}"));
            }
        }
    }
    (latencies, error)
}

#[derive(Debug, Default)]
struct Heard {
    latencies_us: Vec<u32>,
    each_second: Vec<u64>,
    failed: u64,
    error: Option<String>,
}

/// Starts `operation(number)` at its time, `per_second` of them each second for so long, and waits for all answers.
/// A latency counts from the time at which the operation was due, so that a system that falls behind cannot hide it.
pub(super) async fn open<F, Fut>(
    per_second: f64,
    length: Duration,
    is_stopped: Arc<AtomicBool>,
    operation: F,
) -> Result<Outcome>
where
    F: Fn(u64) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<()>> + Send + 'static,
{
    let heard = Arc::new(Mutex::new(Heard::default()));
    let unanswered = Arc::new(AtomicU64::new(0));
    let runtime = tokio::runtime::Handle::current();
    let begun = Instant::now();
    let (hear, wait) = (Arc::clone(&heard), Arc::clone(&unanswered));
    // A thread of its own keeps time: the runtime's timers are a millisecond coarse.
    let keeper = std::thread::spawn(move || {
        let operation = Arc::new(operation);
        let mut number = 0_u64;
        loop {
            let due = begun + Duration::from_secs_f64(float(number) / per_second);
            if due >= begun + length || is_stopped.load(Ordering::Relaxed) {
                return number;
            }
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if wait.fetch_add(1, Ordering::Relaxed) > UNANSWERED_MAX {
                return number;
            }
            let (hear, wait) = (Arc::clone(&hear), Arc::clone(&wait));
            let operation = Arc::clone(&operation);
            runtime.spawn(async move {
                let outcome = operation(number).await;
                note(&hear, outcome, (begun, due));
                wait.fetch_sub(1, Ordering::Relaxed);
            });
            number += 1;
        }
    });
    let (sent, asked) = tokio::task::spawn_blocking(move || {
        let sent = keeper.join();
        (sent, begun.elapsed())
    })
    .await?;
    let sent = sent.map_err(|_| anyhow::anyhow!("the keeper of time panicked"))?;
    let end = Instant::now() + LATE;
    while unanswered.load(Ordering::Relaxed) > 0 && Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let heard = std::mem::take(&mut *heard.lock());
    let mut latencies_us = heard.latencies_us;
    latencies_us.sort_unstable();
    let operations = latencies_us.len() as u64;
    ensure!(
        operations + heard.failed == sent,
        "{sent} requests were sent, {operations} answered and {} failed",
        heard.failed
    );
    Ok(Outcome {
        per_second: float(operations) / asked.as_secs_f64(),
        operations,
        failed: heard.failed,
        error: heard.error,
        latencies_us,
        each_second: heard.each_second,
    })
}

fn note(heard: &Mutex<Heard>, outcome: Result<()>, (begun, due): (Instant, Instant)) {
    let latency = due.elapsed();
    let second = usize::try_from(begun.elapsed().as_secs()).unwrap_or(usize::MAX);
    let mut heard = heard.lock();
    match outcome {
        Ok(()) => {
            heard.latencies_us.push(micros(latency));
            if heard.each_second.len() <= second {
                heard.each_second.resize(second + 1, 0);
            }
            heard.each_second[second] += 1;
        }
        Err(failure) => {
            heard.failed += 1;
            heard.error = Some(format!("{failure:#}"));
        }
    }
}

fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_what_ends_inside_the_window_counts() {
        let window = Window {
            warm_up: Duration::from_millis(100),
            length: Duration::from_millis(300),
        };
        let mut ends = 0;
        let operation = |_, number: u64| async move {
            tokio::time::sleep(Duration::from_millis(10)).await;
            ensure!(number.is_multiple_of(2), "every second one fails");
            Ok(())
        };
        let at_ends = || {
            ends += 1;
            async { Ok(()) }
        };
        let outcome = closed(4, window, operation, at_ends)
            .await
            .expect("it runs");
        assert_eq!(ends, 2);
        // Four clients for 300 ms at 10 ms each are 120 at most, half of which fail.
        assert!((4..=64).contains(&outcome.operations), "{outcome:?}");
        assert!((4..=64).contains(&outcome.failed), "{outcome:?}");
        assert!(outcome.error.is_some());
        assert!(outcome.latency_ms(500) >= 10.0);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn who_stands_still_is_late_for_all_that_was_due_meanwhile() {
        // One at a time, and the first takes 200 ms: those behind it were due long before they begin.
        let door = Arc::new(tokio::sync::Mutex::new(()));
        let operation = move |number: u64| {
            let door = Arc::clone(&door);
            async move {
                let _inside = door.lock().await;
                let ms = 200 * u64::from(number == 0);
                tokio::time::sleep(Duration::from_millis(ms)).await;
                Ok(())
            }
        };
        let length = Duration::from_millis(400);
        let is_stopped = Arc::new(AtomicBool::new(false));
        let outcome = open(100.0, length, is_stopped, operation)
            .await
            .expect("it runs");
        assert_eq!((outcome.operations, outcome.failed), (40, 0));
        // A closed loop would have seen one slow request of forty; here nearly half were late.
        assert!(outcome.latency_ms(700) > 20.0, "{outcome:?}");
        assert!(outcome.latency_ms(1000) >= 190.0, "{outcome:?}");
    }
}
