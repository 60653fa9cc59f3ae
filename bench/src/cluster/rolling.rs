//! Every node is stopped with SIGTERM and started again, one after the other, while writes and reads come at a fixed
//! rate.

use super::Run;
use super::fixture::{Fixture, Writes, int, write};
use super::load::open;
use super::report::Line;
use crate::measure::{float, median};
use anyhow::Result;
use chatdb::Statement;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Requests each second; every fourth reads.
const RATE: f64 = 1000.0;
const READ: &str = "SELECT id FROM chat.messages WHERE channel = ? LIMIT 10";
/// Undisturbed load before the first restart and after the last.
const QUIET: Duration = Duration::from_secs(4);
/// Between a node that is back and the next that goes.
const PAUSE: Duration = Duration::from_secs(2);
const MOST: Duration = Duration::from_mins(3);

pub(super) async fn run(run: &mut Run, fixture: &mut Fixture) -> Result<()> {
    run.step("rolling: every node in turn");
    let dbs = run.clients(fixture).await?;
    let writes = Writes::new(300_000);
    let operation = move |number: u64| {
        let client = usize::try_from(number).unwrap_or(0) % dbs.len();
        let db = dbs[client].clone();
        let statement = if number.is_multiple_of(4) {
            let (channel, ..) = writes.message(client, number);
            Statement::new(READ).bind(vec![int(channel)])
        } else {
            writes.insert(client, number)
        };
        async move { write(&db, statement).await.map(drop) }
    };
    let is_stopped = Arc::new(AtomicBool::new(false));
    let load = tokio::spawn(open(RATE, MOST, Arc::clone(&is_stopped), operation));
    let restarted = restart_all(fixture).await;
    is_stopped.store(true, Ordering::Relaxed);
    let outcome = load.await??;
    restarted?;
    // The last second is cut.
    let whole = outcome.each_second.len().saturating_sub(1);
    let seconds: Vec<f64> = outcome.each_second[..whole]
        .iter()
        .map(|it| float(*it))
        .collect();
    let usual = median(seconds.iter().copied());
    let least = seconds.iter().copied().fold(f64::INFINITY, f64::min);
    let share = 100.0 * least / usual;
    run.tell(Line {
        what: format!("all nodes restarted in turn under {RATE:.0} requests/s"),
        must: "0 failed after retries, no second below 50 %".to_owned(),
        measured: format!(
            "{} failed of {}; slowest second {share:.0} % of the median",
            outcome.failed,
            outcome.operations + outcome.failed
        ),
        holds: Some(outcome.failed == 0 && share >= 50.0),
    });
    if let Some(error) = &outcome.error {
        run.note(format!(
            "a request failed during the rolling restart: {error}"
        ));
    }
    run.figures(
        "rolling restart",
        &[
            ("requests", vec![float(outcome.operations)]),
            ("failed", vec![float(outcome.failed)]),
            ("slowest second, % of the median", vec![share]),
            ("p50, ms", vec![outcome.latency_ms(500)]),
            ("p99, ms", vec![outcome.latency_ms(990)]),
            ("most, ms", vec![outcome.latency_ms(1000)]),
        ],
    );
    let points = (1_u32..)
        .zip(&seconds)
        .map(|(second, count)| (f64::from(second), *count));
    run.series("rolling: answered each second", points.collect());
    Ok(())
}

async fn restart_all(fixture: &mut Fixture) -> Result<()> {
    tokio::time::sleep(QUIET).await;
    for number in 1..=fixture.cluster.nodes.len() {
        fixture.cluster.terminate(number).await?;
        fixture.cluster.start(number).await?;
        // As an operator would: the next one goes when this one serves and every tablet is led.
        fixture.settle(3).await?;
        tokio::time::sleep(PAUSE).await;
    }
    tokio::time::sleep(QUIET).await;
    Ok(())
}
