//! A seed gives the same run, call by call and microsecond by microsecond, in every process.

use std::collections::BTreeMap;

/// What the lives of some seeds come to in a process of their own: by seed, the trace of its calls included.
fn told(first: u64, seeds: u64) -> BTreeMap<String, String> {
    let this = std::env::current_exe().expect("it is a file");
    let lives = "lives::through_crashes_cut_ways_and_replicas_that_come_and_go_nothing_acknowledged_is_lost";
    let told = std::process::Command::new(this)
        .args(["--exact", lives, "--nocapture"])
        .envs([("FIRST", first), ("SEEDS", seeds)].map(|(name, it)| (name, it.to_string())))
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&told.stdout);
    assert!(told.status.success(), "{text}");
    let tallies = text.lines().filter_map(|line| line.split_once(": Tally"));
    let seeds = tallies.filter(|(name, _)| name.starts_with("seed "));
    seeds
        .map(|(name, tally)| (name.to_owned(), tally.to_owned()))
        .collect()
}

#[test]
fn a_seed_gives_the_same_run_call_by_call_in_every_process() {
    let first = told(7_000, 4);
    assert_eq!(first.len(), 4, "{first:?}");
    assert!(first.values().all(|tally| tally.contains("trace")));
    let traces: std::collections::BTreeSet<_> = first.values().collect();
    assert_eq!(traces.len(), 4, "the trace tells seeds from each other");
    assert_eq!(first, told(7_000, 4));
    // Also alone, whatever ran before it in the process.
    let last = "seed 7003";
    assert_eq!(told(7_003, 1).get(last), first.get(last));
}
