//! The numbers of a node at one moment, for its page of metrics.

use crate::node::Node;
use lsm::exposition::MetricKind::{self, Counter, Gauge};
use lsm::log::LogMetrics;
use lsm::{Debt, EngineMetrics};
use raft::{Group, GroupMetrics, GroupStatus};

/// Name, kind, meaning and number.
pub(crate) type Number = (&'static str, MetricKind, &'static str, u64);

/// What a node knows of itself.
pub(crate) struct Numbers {
    pub(crate) node: Vec<Number>,
    pub(crate) log: LogMetrics,
    pub(crate) tablets: Vec<TabletNumbers>,
}

/// What is known of a tablet; group 0 has no engine.
pub(crate) struct TabletNumbers {
    pub(crate) is_first: bool,
    pub(crate) engine: Option<EngineMetrics>,
    debt: Debt,
    pub(crate) raft: GroupStatus,
    counters: GroupMetrics,
}

impl Node {
    pub(crate) fn numbers(&self) -> Numbers {
        let system = of_group(&self.group0, None, Debt::default());
        let mut tablets = vec![system];
        for (number, place) in self.tablets.iter().enumerate() {
            let engine = place.tablet.engine();
            let metrics = Some(engine.metrics());
            tablets.push(TabletNumbers {
                is_first: number == 0,
                ..of_group(&place.group, metrics, engine.debt())
            });
        }
        Numbers {
            node: self.own_numbers(),
            log: self.log.metrics(),
            tablets,
        }
    }

    fn own_numbers(&self) -> Vec<Number> {
        let memory = self.pressure.memory();
        let allowed = self.options.concurrent_reads.max(1);
        let running = allowed.saturating_sub(self.readers.available_permits());
        let most_waiting = self.most_waiting_readers;
        let taken = most_waiting.saturating_sub(self.waiting_readers.available_permits());
        let streams = self.hub.depth();
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let uptime_s = self.started.elapsed().as_secs();
        vec![
            (
                "chatdb_uptime_seconds",
                Gauge,
                "Seconds since the database was opened.",
                uptime_s,
            ),
            (
                "chatdb_memtable_bytes",
                Gauge,
                "Bytes of the memtables of all tablets.",
                memory.used(),
            ),
            (
                "chatdb_memtable_budget_bytes",
                Gauge,
                "Bytes from which on the largest memtable is flushed and writes are delayed.",
                memory.bytes_max(),
            ),
            (
                "chatdb_reads_running",
                Gauge,
                "Reads that run.",
                count(running),
            ),
            (
                "chatdb_reads_running_limit",
                Gauge,
                "Reads that may run at once.",
                count(allowed),
            ),
            (
                "chatdb_reads_waiting",
                Gauge,
                "Reads that wait for their turn.",
                count(taken.saturating_sub(running)),
            ),
            (
                "chatdb_reads_waiting_limit",
                Gauge,
                "Reads that may wait; more are refused.",
                count(most_waiting.saturating_sub(allowed)),
            ),
            (
                "chatdb_parsed_statements",
                Gauge,
                "Parsed statements in memory.",
                count(self.parsed.len()),
            ),
            (
                "chatdb_subscribers",
                Gauge,
                "Subscriptions.",
                count(streams.subscribers),
            ),
            (
                "chatdb_subscribers_behind",
                Gauge,
                "Subscriptions that read the log of some group, because they began with a cursor or their queue was full.",
                count(streams.behind),
            ),
            (
                "chatdb_stream_topics",
                Gauge,
                "Topics that somebody wants.",
                count(streams.topics),
            ),
            (
                "chatdb_stream_queue_changes",
                Gauge,
                "Changes in all queues.",
                count(streams.queued),
            ),
            (
                "chatdb_stream_queue_changes_longest",
                Gauge,
                "Changes in the longest queue.",
                count(streams.longest),
            ),
            (
                "chatdb_stream_queue_changes_limit",
                Gauge,
                "Changes that one queue holds before its subscriber reads the log instead.",
                count(self.options.subscriber_queue_items),
            ),
            (
                "chatdb_stream_queue_bytes",
                Gauge,
                "Bytes of the changes in all queues; a change in several queues counts in each.",
                count(streams.queued_bytes),
            ),
            (
                "chatdb_stream_queue_ephemeral",
                Gauge,
                "Ephemeral events in all queues.",
                count(streams.ephemeral),
            ),
        ]
    }
}

fn of_group(group: &Group, engine: Option<EngineMetrics>, debt: Debt) -> TabletNumbers {
    TabletNumbers {
        is_first: false,
        engine,
        debt,
        raft: group.status(),
        counters: group.counters(),
    }
}

impl TabletNumbers {
    /// The work that waits in the engine.
    pub(crate) fn debt(&self) -> Vec<(&'static str, &'static str, u64)> {
        if self.engine.is_none() {
            return Vec::new();
        }
        vec![
            (
                "chatdb_debt_memtable_bytes",
                "Bytes that flushing has to write, those of the active memtable included.",
                self.debt.memory_bytes,
            ),
            (
                "chatdb_debt_compaction_bytes",
                "Bytes that merges have to read until no window has more files than a tier.",
                self.debt.compaction_bytes,
            ),
            (
                "chatdb_debt_files",
                "Files of the table and window that has most of them: what a read merges at worst.",
                u64::try_from(self.debt.files).unwrap_or(u64::MAX),
            ),
        ]
    }

    /// Where the raft group stands and what went through it.
    pub(crate) fn raft_numbers(&self) -> Vec<Number> {
        let (at, did) = (&self.raft, &self.counters);
        let index = |id: Option<raft::LogId>| id.map_or(0, |id| id.index);
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let leads = u64::from(at.leader == Some(at.replica));
        let failed = u64::from(at.failure.is_some());
        vec![
            ("raft_term", Gauge, "Term of this replica's vote.", at.term),
            (
                "raft_leads",
                Gauge,
                "1 if this replica leads the group.",
                leads,
            ),
            (
                "raft_has_failed",
                Gauge,
                "1 if the group has stopped because of an error.",
                failed,
            ),
            (
                "raft_last_index",
                Gauge,
                "Last entry of the log.",
                at.last_index.unwrap_or(0),
            ),
            (
                "raft_committed_index",
                Gauge,
                "Last committed entry.",
                index(at.committed),
            ),
            (
                "raft_applied_index",
                Gauge,
                "Last applied entry.",
                index(at.applied),
            ),
            (
                "raft_durable_index",
                Gauge,
                "Last entry whose effects are in files; a restart replays from here.",
                index(at.durable),
            ),
            (
                "raft_purged_index",
                Gauge,
                "Last entry that is gone from the log.",
                index(at.purged),
            ),
            (
                "raft_queue_commands",
                Gauge,
                "Commands that wait for an entry.",
                count(at.queued),
            ),
            (
                "raft_queue_bytes",
                Gauge,
                "Their bytes.",
                count(at.queued_bytes),
            ),
            (
                "raft_commands",
                Counter,
                "Commands taken into the queue.",
                did.commands,
            ),
            (
                "raft_refused",
                Counter,
                "Commands refused because the queue was full.",
                did.refused,
            ),
            (
                "raft_entries",
                Counter,
                "Entries offered; commands / entries is the size of a batch.",
                did.entries,
            ),
            (
                "raft_entry_bytes",
                Counter,
                "Bytes of those entries.",
                did.entry_bytes,
            ),
            (
                "raft_retries",
                Counter,
                "Entries offered again because no leader had a valid lease.",
                did.retries,
            ),
            (
                "raft_applied",
                Counter,
                "Entries that came back applied.",
                did.applied,
            ),
            (
                "raft_failed",
                Counter,
                "Entries that were refused, or whose outcome is not known.",
                did.failed,
            ),
        ]
    }
}
