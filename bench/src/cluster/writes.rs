//! Durable writes of single messages with many in flight, etcd beside them in turns.

use super::Run;
use super::etcd::{self, Etcd};
use super::fixture::{Fixture, Writes, write};
use super::load::{Outcome, Window, closed};
use super::processes::cpu_seconds;
use super::report::{Line, spread};
use crate::measure::{float, median};
use anyhow::Result;
use chatdb::Db;
use parking_lot::Mutex;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const WARM_UP: Duration = Duration::from_secs(2);

/// One round of one contender.
#[derive(Clone, Debug, Default)]
struct Round {
    per_second: f64,
    p99_ms: f64,
    /// Syncs per operation of the node that synced most.
    syncs: f64,
    /// Cores that the nodes used, and the clients.
    node_cores: f64,
    client_cores: f64,
}

/// What was used by the nodes when a window opened and closed.
#[derive(Clone, Debug, Default)]
struct Used {
    syncs: Vec<f64>,
    nodes: f64,
    clients: f64,
}

pub(super) async fn run(run: &mut Run, fixture: &Fixture) -> Result<()> {
    let etcd_dir = Fixture::dir(&run.options)?;
    let etcd = match start_etcd(&run.options.etcd, etcd_dir.path()).await {
        Ok(etcd) => Some(etcd),
        Err(error) => {
            run.note(format!("etcd was left out: {error:#}"));
            None
        }
    };
    let dbs = run.clients(fixture).await?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..run.options.rounds() {
        run.step(&format!("writes: chatdb, round {}", round + 1));
        ours.push(chatdb_round(run, fixture, &dbs, round).await?);
        if let Some(etcd) = &etcd {
            run.step(&format!("writes: etcd, round {}", round + 1));
            theirs.push(etcd_round(run, etcd, round).await?);
        }
    }
    if let Some(etcd) = etcd {
        etcd.stop().await?;
    }
    tell(run, &ours, &theirs);
    Ok(())
}

async fn start_etcd(program: &Path, dir: &Path) -> Result<Etcd> {
    let found = which(program);
    let found = found.ok_or_else(|| {
        anyhow::anyhow!(
            "{} is not there (apt-get install etcd-server)",
            program.display()
        )
    })?;
    Etcd::start(&found, 3, dir).await
}

/// The program in the search path, or where its name says.
fn which(program: &Path) -> Option<PathBuf> {
    if program.components().count() > 1 {
        return program.exists().then(|| program.to_owned());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
}

async fn chatdb_round(run: &Run, fixture: &Fixture, dbs: &[Db], round: usize) -> Result<Round> {
    let processes = fixture.processes();
    let writes = Writes::new(1000 * (round as u64 + 1));
    let dbs = dbs.to_vec();
    let operation = move |client: usize, number: u64| {
        let db = dbs[client % dbs.len()].clone();
        let statement = writes.insert(client, number);
        async move { write(&db, statement).await.map(drop) }
    };
    let seen = Mutex::new(Vec::new());
    let at_ends = || async {
        let used = Used {
            syncs: fixture.syncs().await?,
            nodes: cpu_seconds(&processes),
            clients: cpu_seconds(&[std::process::id()]),
        };
        seen.lock().push(used);
        Ok(())
    };
    let outcome = closed(run.options.clients, run.window(WARM_UP), operation, at_ends).await?;
    Ok(round_of(&outcome, &seen.into_inner(), run.window(WARM_UP)))
}

async fn etcd_round(run: &Run, etcd: &Etcd, round: usize) -> Result<Round> {
    let processes = etcd.processes();
    let writes = Writes::new(1000 * (round as u64 + 1));
    let mut channels = Vec::new();
    for _ in 0..run.options.connections {
        channels.extend(etcd.connect().await?);
    }
    let next = Arc::new(AtomicU64::new(0));
    let operation = move |client: usize, number: u64| {
        // A connection to each node for each handle, in turns: as many as the clients of chatdb have.
        let at = usize::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap_or(0);
        let channel = channels[at % channels.len()].clone();
        let (room, id, body) = writes.message(client, number);
        let key = [room.to_be_bytes(), id.to_be_bytes()].concat();
        let value = [&(room ^ 7).to_be_bytes()[..], body.as_bytes()].concat();
        async move { etcd::put(channel, key, value).await }
    };
    let seen = Mutex::new(Vec::new());
    let at_ends = || async {
        let used = Used {
            syncs: etcd.syncs().await?,
            nodes: cpu_seconds(&processes),
            clients: cpu_seconds(&[std::process::id()]),
        };
        seen.lock().push(used);
        Ok(())
    };
    let outcome = closed(run.options.clients, run.window(WARM_UP), operation, at_ends).await?;
    Ok(round_of(&outcome, &seen.into_inner(), run.window(WARM_UP)))
}

fn round_of(outcome: &Outcome, seen: &[Used], window: Window) -> Round {
    let [before, after] = seen else {
        return Round::default();
    };
    let seconds = window.length.as_secs_f64();
    let pairs = before.syncs.iter().zip(&after.syncs);
    let most = pairs
        .map(|(before, after)| after - before)
        .fold(0.0, f64::max);
    Round {
        per_second: outcome.per_second,
        p99_ms: outcome.latency_ms(990),
        syncs: most / float(outcome.operations.max(1)),
        node_cores: (after.nodes - before.nodes) / seconds,
        client_cores: (after.clients - before.clients) / seconds,
    }
}

fn tell(run: &mut Run, ours: &[Round], theirs: &[Round]) {
    let of = |rounds: &[Round], figure: &dyn Fn(&Round) -> f64| -> Vec<f64> {
        rounds.iter().map(figure).collect()
    };
    let rate = of(ours, &|it| it.per_second);
    let syncs = of(ours, &|it| it.syncs);
    run.knee = Some(median(rate.iter().copied()));
    let clients = run.options.clients;
    run.tell(Line {
        what: format!("durable writes, three replicas, {clients} in flight"),
        must: ">= 12,000/s".to_owned(),
        measured: format!("{} /s", spread(&rate, 0)),
        holds: Some(median(rate.iter().copied()) >= 12_000.0),
    });
    run.tell(Line {
        what: "syncs of the log for each of them, on the node that syncs most".to_owned(),
        must: "< 0.05".to_owned(),
        measured: spread(&syncs, 4),
        holds: Some(median(syncs.iter().copied()) < 0.05),
    });
    if !theirs.is_empty() {
        let pairs = ours.iter().zip(theirs);
        let ratio: Vec<f64> = pairs
            .map(|(our, etcd)| our.per_second / etcd.per_second)
            .collect();
        run.tell(Line {
            what: "the same beside etcd 3.4, three nodes, in turns".to_owned(),
            must: ">= 3x".to_owned(),
            measured: format!("{}x", spread(&ratio, 2)),
            holds: Some(median(ratio.iter().copied()) >= 3.0),
        });
    }
    for (name, rounds) in [("chatdb", ours), ("etcd", theirs)] {
        if rounds.is_empty() {
            continue;
        }
        run.figures(
            &format!("writes, {name}"),
            &[
                ("writes per second", of(rounds, &|it| it.per_second)),
                ("p99, ms", of(rounds, &|it| it.p99_ms)),
                ("syncs per write and node", of(rounds, &|it| it.syncs)),
                ("cores of the nodes", of(rounds, &|it| it.node_cores)),
                ("cores of the clients", of(rounds, &|it| it.client_cores)),
            ],
        );
    }
}
