//! A leader is killed with SIGKILL; how long until each of its groups acknowledges the next write.

use super::Run;
use super::fixture::{Fixture, Writes, write};
use super::report::Line;
use crate::chaos::cluster::Pages;
use crate::chaos::timeline::Timeline;
use crate::measure::float;
use anyhow::{Result, ensure};
use chatdb::Db;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const WRITERS: usize = 32;
const PAUSE: Duration = Duration::from_millis(4);
/// How long a group may take before the run gives it up.
const NEXT_WITHIN: Duration = Duration::from_secs(30);

pub(super) async fn run(run: &mut Run, fixture: &mut Fixture) -> Result<()> {
    let timeline = Arc::new(Timeline::new());
    let is_over = Arc::new(AtomicBool::new(false));
    let failed = Arc::new(AtomicU64::new(0));
    let dbs = run.clients(fixture).await?;
    let mut writers = start_writers(&dbs, (&timeline, &is_over, &failed));
    for kill in 0..run.options.kills() {
        run.step(&format!(
            "kill: leader {} of {}",
            kill + 1,
            run.options.kills()
        ));
        kill_leader(fixture, &timeline).await?;
    }
    is_over.store(true, Ordering::Relaxed);
    while writers.join_next().await.is_some() {}
    let figures = timeline.figures();
    let ms = |share: usize| figures.failover_ms(share).unwrap_or(f64::NAN);
    ensure!(
        figures.failovers_open == 0,
        "{} groups took no write again",
        figures.failovers_open
    );
    let count = figures.failovers.len();
    run.tell(Line {
        what: format!("leader killed until its group's next acknowledged write, p99 of {count}"),
        must: "<= 3,000 ms".to_owned(),
        measured: format!(
            "{:.0} ms (p50 {:.0}, most {:.0})",
            ms(990),
            ms(500),
            ms(1000)
        ),
        holds: Some(ms(1000) <= 3000.0),
    });
    run.figures(
        "leader killed until the next write",
        &[
            ("groups", vec![float(count as u64)]),
            ("p50, ms", vec![ms(500)]),
            ("p99, ms", vec![ms(990)]),
            ("most, ms", vec![ms(1000)]),
            (
                "writes that failed after all retries",
                vec![float(failed.load(Ordering::Relaxed))],
            ),
        ],
    );
    Ok(())
}

/// Writers that go on until it is over, each with a pause between its writes.
fn start_writers(
    dbs: &[Db],
    (timeline, is_over, failed): (&Arc<Timeline>, &Arc<AtomicBool>, &Arc<AtomicU64>),
) -> JoinSet<()> {
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let db = dbs[writer % dbs.len()].clone();
        let (timeline, is_over) = (Arc::clone(timeline), Arc::clone(is_over));
        let failed = Arc::clone(failed);
        writers.spawn(async move {
            let writes = Writes::new(200_000);
            for number in 0.. {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                let sent = Instant::now();
                match write(&db, writes.insert(writer, number)).await {
                    Ok(written) => timeline.acknowledged(written.position.map(|it| it.group), sent),
                    Err(_) => {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
    }
    writers
}

/// Kills the node that leads most, waits until its groups go on, starts it and waits until all is well.
async fn kill_leader(fixture: &mut Fixture, timeline: &Timeline) -> Result<()> {
    let pages = Pages::of(&fixture.cluster);
    let mut victim = (1, std::collections::BTreeSet::new());
    for number in 1..=fixture.cluster.nodes.len() {
        let led = pages.led_by(number).await;
        if led.len() > victim.1.len() {
            victim = (number, led);
        }
    }
    let (node, led) = victim;
    let at = Instant::now();
    fixture.cluster.kill(node).await?;
    timeline.death(at, led);
    while timeline.figures().failovers_open > 0 && at.elapsed() < NEXT_WITHIN {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    fixture.cluster.start(node).await?;
    fixture.settle(3).await?;
    // Its replicas catch up before the next leader dies, as they would between two accidents.
    tokio::time::sleep(Duration::from_secs(1)).await;
    Ok(())
}
