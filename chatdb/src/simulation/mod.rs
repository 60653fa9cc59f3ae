//! Whole nodes in virtual time: a cluster of real nodes in one process, whose time, network, disks and random numbers
//! follow from a seed.
//!
//! Everything between a client's statement and the bytes of a file is what runs in production: the client of the gRPC
//! service, HTTP/2, planner, routing, raft with its shared log, tablets, storage engine, steward and decisions of group
//! 0. In place of the operating system stand [`system`] (clock and random bytes), [`network`] (sockets), lsm's
//! `FaultyVfs` (files) and [`world`] (threads: every host is one runtime of one thread). What is not the same as in
//! production is told in `docs/TESTING.md`.
//!
//! # The oracle
//!
//! `load` knows for each row and counter what was acknowledged; the histories of `registers` must be linearizable;
//! `listener` hears every acknowledged write once, those of a partition in order; when all is healed, `verdict` finds every
//! tablet with its replicas, which hold the same, within a bounded time.

mod churn;
mod lanes;
mod listener;
mod load;
mod network;
mod registers;
mod scenario;
mod system;
mod verdict;
mod world;

use std::process::{Command, Output};
use std::sync::atomic::{AtomicU64, Ordering};

/// Seeds of `make test`.
const SEEDS: u64 = 200;
/// The test that a life is run by, in a process of its own, when `LIFE` names its seed.
const LIVES: &str =
    "simulation::whole_nodes_lose_double_and_reorder_nothing_through_crashes_and_cut_ways";

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("a number"))
}

/// One seed in a process of its own: nothing that ran before can be told from what it does.
fn run(seed: u64) -> Output {
    let this = std::env::current_exe().expect("it is a file");
    Command::new(this)
        .args(["--exact", LIVES, "--nocapture"])
        .args(["--test-threads", "1"])
        .env("LIFE", seed.to_string())
        .output()
        .expect("it runs")
}

fn tell(line: &str) {
    println!("{line}");
}

/// The line in which a life tells what it came to.
fn told(output: &Output) -> Option<String> {
    let text = String::from_utf8_lossy(&output.stdout);
    let begin = text.find("seed ")?;
    let line = text.get(begin..)?.lines().next()?;
    output.status.success().then(|| line.to_owned())
}

/// What a life that failed wrote first when it did.
fn why(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let begin = text.find("panicked at").unwrap_or(0);
    let lines = text.get(begin..).unwrap_or_default().lines().take(4);
    lines.collect::<Vec<_>>().join("\n")
}

/// Lives of the seeds from `first` on, on all cores; how many failed.
fn live(first: u64, seeds: u64) -> usize {
    let next = AtomicU64::new(first);
    let lives = || {
        let mut failed = 0;
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + seeds {
                return failed;
            }
            let output = run(seed);
            if let Some(line) = told(&output) {
                tell(&line);
            } else {
                failed += 1;
                tell(&format!(
                    "SEED {seed} FAILED: FIRST={seed} SEEDS=1 repeats it"
                ));
                tell(&why(&output));
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(lives)).collect();
        threads
            .into_iter()
            .map(|it| it.join().expect("it ends"))
            .sum()
    })
}

#[test]
fn whole_nodes_lose_double_and_reorder_nothing_through_crashes_and_cut_ways() {
    if let Some(seed) = number("LIFE") {
        return one_life(seed);
    }
    let (first, seeds) = (
        number("FIRST").unwrap_or(0),
        number("SEEDS").unwrap_or(SEEDS),
    );
    assert_eq!(live(first, seeds), 0, "so many seeds failed, see above");
}

#[test]
fn a_seed_gives_the_same_run_byte_by_byte_in_every_process() {
    let lines: Vec<String> = [901, 902, 901]
        .into_iter()
        .map(|seed| told(&run(seed)).expect("it ends well"))
        .collect();
    assert_eq!(lines[0], lines[2]);
    assert_ne!(lines[0], lines[1], "the trace tells seeds from each other");
}

/// Lives the life of a seed: replaces the clock of the process, and ends it with the first panic.
fn one_life(seed: u64) {
    // A panic on any task of any host is the end.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        hook(panic);
        std::process::abort();
    }));
    if std::env::var_os("LOG").is_some() {
        let filter = tracing_subscriber::EnvFilter::from_env("LOG");
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .init();
    }
    let life = std::thread::spawn(move || scenario::live(seed));
    let tally = life.join().expect("it ends");
    tell(&format!("seed {seed}: {tally:?}"));
}
