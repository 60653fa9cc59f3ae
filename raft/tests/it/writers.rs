//! Writers on a real directory. Prints what it measured: `cargo test -p raft --release writers --
//! --nocapture`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use lsm::vfs::OsVfs;
use raft::{GroupId, HostOptions};

use crate::support::{Ledger, ONE, SEGMENT_BYTES, life, open_host};

/// Runs `writers` closed loops over `groups` groups for `time`, with up to `in_flight` entries of a
/// group on their way; returns writes and syncs.
async fn run(groups: u64, writers: u64, in_flight: usize, time: Duration) -> (u64, u64) {
    let dir = tempfile::tempdir().expect("a directory");
    let vfs = Arc::new(OsVfs);
    let options = HostOptions {
        entries_in_flight_max: in_flight,
        ..HostOptions::default()
    };
    let host = open_host(vfs, dir.path(), SEGMENT_BYTES, options).expect("the host starts");
    let mut opened = Vec::new();
    for id in 0..groups {
        let machine = Ledger::default().machine();
        opened.push(
            host.open_group(GroupId(id), ONE, machine, true)
                .await
                .expect("it opens"),
        );
    }
    let (stop, writes) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let before = host.log().metrics();
    #[expect(clippy::disallowed_methods, reason = "a test measures real time")]
    let begin = Instant::now();
    let command = Bytes::from(vec![7; 128]);
    let mut tasks = Vec::new();
    for (group, _) in opened.iter().cycle().zip(0..writers) {
        let (group, command) = (group.clone(), command.clone());
        let (stop, writes) = (Arc::clone(&stop), Arc::clone(&writes));
        tasks.push(tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                group.propose(command.clone()).await.expect("it proposes");
                writes.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    tokio::time::sleep(time).await;
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.expect("a writer does not panic");
    }
    let (elapsed, after) = (begin.elapsed().as_secs_f64(), host.log().metrics());
    host.stop().await.expect("the host stops");
    let (writes, syncs) = (writes.load(Ordering::Relaxed), after.syncs - before.syncs);
    let entries = after.entries - before.entries;
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let (per_second, mean) = (
        writes as f64 / elapsed,
        elapsed * 1e6 * writers as f64 / writes as f64,
    );
    println!(
        "{groups} groups, {writers} writers, {in_flight} in flight, 128 bytes: {per_second:.0} durable writes/s, mean \
         {mean:.0} us, {entries} entries, {syncs} syncs, {:.1} writes per sync",
        per_second * elapsed / f64::from(u32::try_from(syncs.max(1)).expect("a few")),
    );
    (writes, syncs)
}

#[test]
fn sixty_four_writers_on_a_real_directory_share_their_syncs() {
    for (groups, writers, in_flight) in [(1, 64, 1), (1, 64, 2), (5, 64, 1), (1, 1, 1)] {
        let (writes, syncs) = life(run(groups, writers, in_flight, Duration::from_millis(700)));
        if writers > 1 {
            assert!(syncs * 4 < writes, "{syncs} syncs for {writes} writes");
        }
    }
}
