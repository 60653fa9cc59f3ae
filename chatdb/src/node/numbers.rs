//! The numbers of a node at one moment, for its page of metrics.

use crate::node::Node;
use lsm::exposition::MetricKind::{self, Counter, Gauge};
use lsm::log::LogMetrics;
use lsm::{AdmissionMetrics, Debt, EngineMetrics};
use raft::{Group, GroupMetrics, GroupStatus, Stages};
use std::sync::Arc;

/// Name, kind, meaning and number.
pub(crate) type Number = (&'static str, MetricKind, &'static str, u64);

/// Lines of kind, name, meaning and number.
macro_rules! numbers {
    ($($kind:ident $name:literal $help:literal $value:expr),* $(,)?) => {
        vec![$(($name, $kind, $help, $value)),*]
    };
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// What a node knows of itself.
pub(crate) struct Numbers {
    pub(crate) node: Vec<Number>,
    pub(crate) log: LogMetrics,
    pub(crate) admission: AdmissionMetrics,
    pub(crate) tablets: Vec<TabletNumbers>,
    pub(crate) stages: Arc<Stages>,
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
        let system = of_group(&self.group0);
        let mut tablets = vec![system];
        for (number, place) in self.tablets.list().iter().enumerate() {
            let engine = place.tablet.engine();
            tablets.push(TabletNumbers {
                is_first: number == 0,
                engine: Some(engine.metrics()),
                debt: engine.debt(self.environment.now_ms()),
                ..of_group(&place.group)
            });
        }
        Numbers {
            node: self.own_numbers(),
            log: self.log.metrics(),
            admission: self.admission.metrics(),
            tablets,
            stages: Arc::clone(&self.stages),
        }
    }

    fn own_numbers(&self) -> Vec<Number> {
        let memory = self.pressure.memory();
        let merges = self.pressure.merges();
        let allowed = self.options.concurrent_reads.max(1);
        let running = allowed.saturating_sub(self.readers.available_permits());
        let most_waiting = self.most_waiting_readers;
        let taken = most_waiting.saturating_sub(self.waiting_readers.available_permits());
        let streams = self.hub.depth();
        let uptime_s = self.started.elapsed().as_secs();
        numbers![
            Gauge "chatdb_uptime_seconds" "Seconds since the database was opened." uptime_s,
            Gauge "chatdb_memtable_bytes" "Bytes of the memtables of all tablets." memory.used(),
            Gauge "chatdb_memtable_budget_bytes" "Bytes from which on the largest memtable is flushed and writes are delayed." memory.bytes_max(),
            Gauge "chatdb_merge_pace_bytes" "Bytes that all merges together may read and write in a second, by how much is due." merges.bytes_per_second(),
            Counter "chatdb_merge_paced_bytes" "Bytes that merges have read and written, and an eighth of those they gave back to the file system." merges.passed_bytes(),
            Counter "chatdb_merge_waited_micros" "Microseconds that merges have waited for their pace." merges.waited_micros(),
            Gauge "chatdb_reads_running" "Reads that run." count(running),
            Gauge "chatdb_reads_running_limit" "Reads that may run at once." count(allowed),
            Gauge "chatdb_reads_waiting" "Reads that wait for their turn." count(taken.saturating_sub(running)),
            Gauge "chatdb_reads_waiting_limit" "Reads that may wait; more are refused." count(most_waiting.saturating_sub(allowed)),
            Gauge "chatdb_parsed_statements" "Parsed statements in memory." count(self.parsed.len()),
            Gauge "chatdb_subscribers" "Subscriptions." count(streams.subscribers),
            Gauge "chatdb_subscribers_behind" "Subscriptions that read the log of some group, because they began with a cursor or their queue was full." count(streams.behind),
            Gauge "chatdb_stream_topics" "Topics that somebody wants." count(streams.topics),
            Gauge "chatdb_stream_queue_changes" "Changes in all queues." count(streams.queued),
            Gauge "chatdb_stream_queue_changes_longest" "Changes in the longest queue." count(streams.longest),
            Gauge "chatdb_stream_queue_changes_limit" "Changes that one queue holds before its subscriber reads the log instead." count(self.options.subscriber_queue_items),
            Gauge "chatdb_stream_queue_bytes" "Bytes of the changes in all queues; a change in several queues counts in each." count(streams.queued_bytes),
            Gauge "chatdb_stream_queue_ephemeral" "Ephemeral events in all queues." count(streams.ephemeral),
        ]
    }
}

fn of_group(group: &Group) -> TabletNumbers {
    TabletNumbers {
        is_first: false,
        engine: None,
        debt: Debt::default(),
        raft: group.status(),
        counters: group.counters(),
    }
}

impl TabletNumbers {
    /// The work that waits in the engine.
    pub(crate) fn debt(&self) -> Vec<Number> {
        if self.engine.is_none() {
            return Vec::new();
        }
        numbers![
            Gauge "chatdb_debt_memtable_bytes" "Bytes that flushing has to write, those of the active memtable included." self.debt.memory_bytes,
            Gauge "chatdb_debt_compaction_bytes" "Bytes that the merges which are due now would read." self.debt.compaction_bytes,
            Gauge "chatdb_debt_runs" "Sorted runs of the table and window that has most of them: what a read merges at worst." count(self.debt.runs),
        ]
    }

    /// Where the raft group stands and what went through it.
    pub(crate) fn raft_numbers(&self) -> Vec<Number> {
        let (at, did) = (&self.raft, &self.counters);
        let index = |id: Option<raft::LogId>| id.map_or(0, |id| id.index);
        let leads = u64::from(at.leader == Some(at.replica));
        let failed = u64::from(at.failure.is_some());
        numbers![
            Gauge "raft_term" "Term of this replica's vote." at.term,
            Gauge "raft_leads" "1 if this replica leads the group." leads,
            Gauge "raft_has_failed" "1 if the group has stopped because of an error." failed,
            Gauge "raft_last_index" "Last entry of the log." at.last_index.unwrap_or(0),
            Gauge "raft_committed_index" "Last committed entry." index(at.committed),
            Gauge "raft_applied_index" "Last applied entry." index(at.applied),
            Gauge "raft_durable_index" "Last entry whose effects are in files; a restart replays from here." index(at.durable),
            Gauge "raft_purged_index" "Last entry that is gone from the log." index(at.purged),
            Gauge "raft_queue_commands" "Commands that wait for an entry." count(at.queued),
            Gauge "raft_queue_bytes" "Their bytes." count(at.queued_bytes),
            Counter "raft_commands" "Commands taken into the queue." did.commands,
            Counter "raft_refused" "Commands refused because the queue was full." did.refused,
            Counter "raft_entries" "Entries offered; commands / entries is the size of a batch." did.entries,
            Counter "raft_entry_bytes" "Bytes of those entries." did.entry_bytes,
            Counter "raft_retries" "Entries offered again because no leader had a valid lease." did.retries,
            Counter "raft_applied" "Entries that came back applied." did.applied,
            Counter "raft_failed" "Entries that were refused, or whose outcome is not known." did.failed,
        ]
    }
}
