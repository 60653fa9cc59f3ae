//! Reads under the leader's lease, for each core that the leader's process used.
//!
//! A read is one statement with `QUORUM` of data in memory: planned, sent to the leader's replica, its lease checked before and after.
//! *In process* the leading node runs inside this program, as a gateway beside its database does, and is asked through
//! `Db::execute`; the other two nodes are processes. *Over gRPC* it is a process, and its processor time alone counts.

use super::Run;
use super::fixture::{Fixture, Writes, int, make_table, write};
use super::load::{Outcome, Window, closed};
use super::processes::cpu_seconds;
use super::report::{Line, spread};
use crate::measure::{float, median};
use anyhow::{Context, Result, ensure};
use chatdb::{ClusterOptions, Db, EmbeddedOptions, ResultSet, Statement};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

const POINT: &str = "SELECT body FROM chat.messages WHERE channel = ? AND id = ?";
const PAGE: &str = "SELECT id, author, body FROM chat.messages WHERE channel = ? LIMIT 50";
const WARM_UP: Duration = Duration::from_secs(1);
/// Messages that are loaded: about 25 in each channel. With --quick, five.
const MESSAGES: u64 = 100_000;
const MESSAGES_QUICK: u64 = 20_000;
const LOADERS: usize = 256;
/// Readers in this process; more than cores, so that none waits for another.
const READERS: usize = 8;
const REMOTE_READERS: usize = 64;
/// Rounds that are measured again because a leadership moved meanwhile.
const MOVES_MAX: usize = 5;
/// How long the measured node may be without a tablet that it leads, and how often that is looked at.
const LED_WITHIN: Duration = Duration::from_mins(1);
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Where the messages of a tablet are: their channels and ids.
type Places = BTreeMap<u64, Vec<(u64, u64)>>;

pub(super) async fn run(run: &mut Run) -> Result<()> {
    run.step("reads: in process");
    let (point, page) = in_process(run).await?;
    run.step("reads: over gRPC");
    let (remote_point, remote_page) = over_grpc(run).await?;
    run.tell(Line {
        what: "point reads under the lease, one core of the leader, in process".to_owned(),
        must: ">= 100,000/s".to_owned(),
        measured: format!("{} /s", spread(&point, 0)),
        holds: Some(median(point.iter().copied()) >= 100_000.0),
    });
    run.tell(Line {
        what: "the same over gRPC, one core of the leader's process".to_owned(),
        must: "-".to_owned(),
        measured: format!("{} /s", spread(&remote_point, 0)),
        holds: None,
    });
    run.figures(
        "reads under the lease, per second and core of the leader",
        &[
            ("point read, in process", point),
            ("newest page of a channel, in process", page),
            ("point read, gRPC", remote_point),
            ("newest page of a channel, gRPC", remote_page),
        ],
    );
    Ok(())
}

async fn in_process(run: &Run) -> Result<(Vec<f64>, Vec<f64>)> {
    let mut fixture = Fixture::prepare(&run.options, 3, &[]).await?;
    let first = &fixture.cluster.nodes[0];
    let mut options = EmbeddedOptions::new(&first.data);
    let mut place = ClusterOptions::new(first.node(), format!("http://{}", first.rpc()));
    "zone1".clone_into(&mut place.zone);
    options.cluster = Some(place);
    let listen = first.rpc();
    let db = Db::open(options).await?;
    let server = db.serve(listen).await?;
    for number in 2..=3 {
        fixture.cluster.start(number).await?;
    }
    fixture.settle(3).await?;
    make_table(&db).await?;
    let places = load(run, &db).await?;
    let own = [std::process::id()];
    let mut rates = (Vec::new(), Vec::new());
    let rounds = run.options.rounds().min(3);
    for _ in 0..rounds + MOVES_MAX {
        // The first node of a cluster hands leaderships to those that came later, soon after.
        fixture.settle(3).await?;
        let led = led_at_last(&db).await?;
        let there = led_places(&places, &led)?;
        let point = read(run, (&db, READERS), &there, (&own, Kind::Point)).await?;
        let page = read(run, (&db, READERS), &there, (&own, Kind::Page)).await?;
        // Where a tablet is led by another node meanwhile, that one answered a part of the reads.
        if led.is_subset(&led_by(&db).await?) {
            rates.0.push(point);
            rates.1.push(page);
        }
        if rates.0.len() == rounds {
            break;
        }
    }
    ensure!(
        rates.0.len() == rounds,
        "leaderships do not rest: {} of {rounds} rounds were without a move",
        rates.0.len()
    );
    server.stop().await?;
    db.close().await?;
    Ok(rates)
}

/// The tablets that the node leads, as soon as it leads one.
///
/// The map names a leader for each tablet, this node among them. A stall of it, which shares the processors with its readers,
/// makes another one lead until that hands it back, ten seconds later.
async fn led_at_last(db: &Db) -> Result<BTreeSet<u64>> {
    let begun = Instant::now();
    loop {
        let led = led_by(db).await?;
        if !led.is_empty() {
            return Ok(led);
        }
        ensure!(
            begun.elapsed() < LED_WITHIN,
            "the measured node was handed no leadership in {} s",
            LED_WITHIN.as_secs()
        );
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// The tablets that the node leads.
async fn led_by(db: &Db) -> Result<BTreeSet<u64>> {
    let status = db.status().await?;
    let led = status.tablets.iter().filter(|tablet| tablet.leader);
    Ok(led.map(|tablet| tablet.group).collect())
}

async fn over_grpc(run: &Run) -> Result<(Vec<f64>, Vec<f64>)> {
    let fixture = Fixture::start(&run.options, 3, &[]).await?;
    let places = load(run, &fixture.connect().await?).await?;
    let status = fixture.settle(3).await?;
    let tablets = status["tablets"].as_array().context("no tablets")?;
    let leader = |tablet: &serde_json::Value| tablet["leader"].as_u64().unwrap_or(0);
    let mut count: BTreeMap<u64, usize> = BTreeMap::new();
    for tablet in tablets {
        *count.entry(leader(tablet)).or_default() += 1;
    }
    let (node, _) = count
        .iter()
        .max_by_key(|(_, count)| **count)
        .context("no leader")?;
    let led = tablets.iter().filter(|tablet| leader(tablet) == *node);
    let led: BTreeSet<u64> = led.filter_map(|tablet| tablet["group"].as_u64()).collect();
    let there = led_places(&places, &led)?;
    let at = fixture
        .cluster
        .nodes
        .iter()
        .find(|it| it.number as u64 == *node);
    let at = at.context("the leader is no node of ours")?;
    let db = Db::connect(&format!("http://{}", at.rpc())).await?;
    let process = [at.process().context("the leader does not run")?];
    let mut rates = (Vec::new(), Vec::new());
    for _ in 0..run.options.rounds().min(3) {
        rates
            .0
            .push(read(run, (&db, REMOTE_READERS), &there, (&process, Kind::Point)).await?);
        rates
            .1
            .push(read(run, (&db, REMOTE_READERS), &there, (&process, Kind::Page)).await?);
    }
    Ok(rates)
}

/// Writes messages and notes in which tablet each is.
async fn load(run: &Run, db: &Db) -> Result<Places> {
    let messages = if run.options.quick {
        MESSAGES_QUICK
    } else {
        MESSAGES
    };
    let writes = Writes::new(0);
    let places = Arc::new(Mutex::new(Places::new()));
    let mut tasks = tokio::task::JoinSet::new();
    for loader in 0..LOADERS {
        let (db, writes, places) = (db.clone(), writes.clone(), Arc::clone(&places));
        tasks.spawn(async move {
            for number in 0..messages / LOADERS as u64 {
                let written = write(&db, writes.insert(loader, number)).await?;
                let position = written.position.context("a write has a position")?;
                let (channel, id, _) = writes.message(loader, number);
                places
                    .lock()
                    .entry(position.group)
                    .or_default()
                    .push((channel, id));
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(std::mem::take(&mut *places.lock()))
}

fn led_places(places: &Places, led: &BTreeSet<u64>) -> Result<Arc<[(u64, u64)]>> {
    let there = places.iter().filter(|(group, _)| led.contains(group));
    let there: Arc<[(u64, u64)]> = there.flat_map(|(_, it)| it).copied().collect();
    ensure!(!there.is_empty(), "the measured node leads no tablet");
    Ok(there)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Point,
    Page,
}

impl Kind {
    fn statement(self, (channel, id): (u64, u64)) -> Statement {
        match self {
            Self::Point => Statement::new(POINT).bind(vec![int(channel), int(id)]),
            Self::Page => Statement::new(PAGE).bind(vec![int(channel)]),
        }
    }

    fn check(self, result: &ResultSet) -> Result<()> {
        match self {
            Self::Point => ensure!(result.len() == 1, "a message is missing"),
            Self::Page => ensure!(!result.is_empty(), "a channel is empty"),
        }
        Ok(())
    }
}

/// Reads for a while; how many for each second of the processes' processor time.
async fn read(
    run: &Run,
    (db, readers): (&Db, usize),
    there: &Arc<[(u64, u64)]>,
    (processes, kind): (&[u32], Kind),
) -> Result<f64> {
    let (db, places) = (db.clone(), Arc::clone(there));
    let operation = move |client: usize, number: u64| {
        let mixed = crate::messages::Seeded::new((client as u64) << 40 | number).next();
        let at = usize::try_from(mixed % places.len() as u64).unwrap_or(0);
        let (db, statement) = (db.clone(), kind.statement(places[at]));
        async move { kind.check(&db.execute(statement).await?) }
    };
    let seen = Mutex::new(Vec::new());
    let at_ends = || {
        seen.lock().push(cpu_seconds(processes));
        async { Ok(()) }
    };
    let window: Window = run.window(WARM_UP);
    let outcome: Outcome = closed(readers, window, operation, at_ends).await?;
    ensure!(
        outcome.failed == 0,
        "{} reads failed: {:?}",
        outcome.failed,
        outcome.error
    );
    let seen = seen.into_inner();
    let used = seen
        .last()
        .zip(seen.first())
        .map_or(0.0, |(after, before)| after - before);
    Ok(float(outcome.operations) / used)
}
