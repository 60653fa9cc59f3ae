//! The log on a disk that forgets, fails and lies.

use std::sync::atomic::Ordering;

use lsm::log::Log;
use lsm::vfs::{Fault, FaultyVfs};

use crate::log_support::{Call, Random, observe, open, prefix_len, run, script, steps};

/// Opens the log after a fault and checks that it holds a prefix with all that was acknowledged.
fn check(vfs: &FaultyVfs, script: &[Call], acknowledged: usize, story: &str) -> (Log, usize) {
    let log = open(vfs).unwrap_or_else(|error| panic!("{story}: {error:?}"));
    let found = observe(&log).unwrap_or_else(|error| panic!("{story}: {error:?}"));
    let steps = steps(script);
    let Some(len) = prefix_len(&found, &steps, acknowledged) else {
        panic!(
            "{story}: recovered no prefix of {} steps with {acknowledged}",
            steps.len()
        );
    };
    (log, len)
}

fn count_calls(script: &[Call]) -> u64 {
    let vfs = FaultyVfs::new(0);
    let log = open(&vfs).unwrap();
    assert!(run(&log, script).error.is_none());
    log.close().unwrap();
    assert!(
        log.metrics().recycled > 0 && log.metrics().rolls > 3,
        "{:?}",
        log.metrics()
    );
    vfs.calls()
}

#[test]
fn a_power_cut_at_any_call_loses_nothing_acknowledged_and_resurrects_nothing() {
    for seed in 0..3 {
        let script = script(seed, 260);
        for call in 0..count_calls(&script) {
            let vfs = FaultyVfs::new(seed << 32 | call);
            vfs.crash_at(call);
            let Ok(log) = open(&vfs) else {
                vfs.restart();
                drop(check(
                    &vfs,
                    &script,
                    0,
                    &format!("seed {seed}, call {call}, in open"),
                ));
                continue;
            };
            let outcome = run(&log, &script);
            let acknowledged = outcome.acknowledged.load(Ordering::Relaxed);
            drop(log.close());
            drop(log);
            // The second power cut hits recovery; the third one comes after it.
            for (round, distance) in [Random(seed ^ call).below(24), u64::MAX / 2]
                .iter()
                .enumerate()
            {
                vfs.restart();
                vfs.crash_at(vfs.calls() + distance);
                drop(open(&vfs));
                vfs.restart();
                let story = format!("seed {seed}, call {call}, round {round}");
                let (log, len) = check(&vfs, &script, acknowledged, &story);
                drop(log);
                vfs.restart();
                let (log, again) = check(&vfs, &script, acknowledged, &story);
                assert_eq!(len, again, "{story}: what recovery showed is gone");
                drop(log);
            }
        }
    }
}

#[test]
fn a_killed_process_loses_nothing_written_and_a_later_power_cut_changes_nothing() {
    for seed in 10..30 {
        let script = script(seed, 80);
        let vfs = FaultyVfs::new(seed);
        let log = open(&vfs).unwrap();
        let outcome = run(&log, &script);
        drop(log);
        let all = steps(&script).len();
        let acknowledged = outcome.acknowledged.load(Ordering::Relaxed);
        let (log, len) = check(&vfs, &script, acknowledged, &format!("seed {seed}"));
        assert_eq!(len, all, "seed {seed}");
        drop(log);
        vfs.restart();
        check(
            &vfs,
            &script,
            len,
            &format!("seed {seed}, after the power cut"),
        );
    }
}

#[test]
fn an_error_of_any_call_stops_the_log_and_loses_nothing_acknowledged() {
    let script = script(77, 200);
    for call in 0..count_calls(&script) {
        for fault in [Fault::Eio, Fault::NoSpace] {
            let vfs = FaultyVfs::new(call);
            vfs.fail_at(call, fault);
            let story = format!("call {call}, {fault:?}");
            let mut acknowledged = 0;
            if let Ok(log) = open(&vfs) {
                let outcome = run(&log, &script);
                acknowledged = outcome.acknowledged.load(Ordering::Relaxed);
                let closed = log.close();
                assert!(
                    outcome.error.is_some() || closed.is_err(),
                    "{story}: went unnoticed"
                );
                if outcome.error.is_some() {
                    assert!(log.flush().is_err(), "{story}: the failure does not stick");
                }
            }
            // Restarted without a power cut, the log sees bytes whose sync failed. It must not
            // take them for durable.
            let (log, len) = check(&vfs, &script, acknowledged, &story);
            drop(log);
            vfs.restart();
            check(&vfs, &script, len, &format!("{story}, after a power cut"));
        }
    }
}
