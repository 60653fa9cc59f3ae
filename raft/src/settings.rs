//! openraft's settings. See the notes of each.
//!
//! Whatever openraft would do by a timer of its own is off: the pulse and the keeper do it.

use openraft::{Config, SnapshotPolicy};

use crate::error::{Error, ErrorKind, Result};
use crate::options::HostOptions;

/// The settings for `options`.
///
/// Errors: [`Invalid`](ErrorKind::Invalid) when openraft refuses the timing.
pub(crate) fn config(options: &HostOptions) -> Result<Config> {
    let timing = options.timing;
    let config = Config {
        cluster_name: "chatdb".to_owned(),
        heartbeat_interval: timing.heartbeat_ms,
        // A member that has just confirmed entries needs none.
        heartbeat_min_interval: Some(timing.heartbeat_ms / 2),
        // The deadline of votes. As the name says, it would also be the shortest of openraft's own
        // election timeouts, which the pulse takes the place of.
        election_timeout_min: timing.lease_ms - 1,
        election_timeout_max: timing.lease_ms,
        enable_pre_vote: Some(true),
        // A leader that restarts runs for election: its first own entry then commits what its
        // earlier life left, instead of trusting a committed position that was never synced.
        enable_leader_restore: Some(false),
        // The pulse times heartbeats and candidacies.
        enable_tick: false,
        // An answer that comes late may say "conflict" where the follower has confirmed meanwhile. With this
        // the leader looks for the end of that log anew instead of failing an assertion. What a majority has
        // confirmed stays so either way (docs/decisions/0009).
        allow_log_reversion: Some(true),
        // The snapshot point moves when the owner says so, and the keeper purges by hand.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        purge_batch_size: 1,
        max_payload_entries: 1024,
        replication_lag_threshold: 256,
        api_channel_size: Some(4096),
        notification_channel_size: Some(4096),
        ..Config::default()
    };
    config.validate().map_err(|source| {
        Error::new(
            ErrorKind::Invalid,
            "the timing of heartbeats and elections cannot work",
        )
        .with_source(source)
    })
}
