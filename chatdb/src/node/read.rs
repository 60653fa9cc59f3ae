//! Running a read plan: guards first, then engine pages on a thread that may block.
//!
//! A read takes one permit to wait and one to run, so that a burst queues up to a bound and is then
//! refused with `Overloaded` instead of growing without end. Dropping the caller's future stops the
//! read at its next engine page.
//!
//! A read over several tablets is done in parts, in the order of the statement: as far as this node
//! leads the tablets that come next in one part, each other tablet by its leader. Between parts stands
//! a page state, which any node can continue.
//!
//! A small read of one partition is done at once, on the caller's thread, as long as everything that it
//! looks at is in memory: handing it to another thread costs more than the read itself.
//!
//! The time of a read is the leader's clock, but never behind the tablet's own last write: a value
//! is gone when its time to live has passed, also in a tablet that nobody writes to.

use crate::db::statement::{Consistency, Statement};
use crate::error::{Error, ErrorKind, Result};
use crate::group0::{TabletRange, Topology};
use crate::node::Node;
use crate::node::execute::FORWARD_LIMIT;
use crate::node::open::blocking;
use crate::node::route::Worker;
use crate::node::tablets::TabletPlace;
use crate::plan::{ReadPlan, Shape, Source};
use crate::result::{Position, ResultSet, Row};
use crate::tablet::{ReadCursor, Tablet};
use crate::value::Value;
use raft::{Clock, NodeId, ReadGuard, ReadPolicy};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long another node may take for its tablet's part of a scan.
const SCAN_LIMIT: Duration = Duration::from_secs(30);
/// Rows of the largest page that is read on the caller's thread.
const SMALL_ROWS: u64 = 64;
/// How long a replica may take to apply a write that a read must see, before the leader is asked.
const AFTER_LIMIT: Duration = Duration::from_millis(500);

/// A tablet that a read may look at, and the promise under which it does.
struct Readable {
    first: u64,
    last: u64,
    tablet: Arc<Tablet>,
    guard: ReadGuard,
    /// How old its data may be; `None` at a leader.
    stale: Option<Duration>,
}

impl Readable {
    fn holds(&self, token: u64) -> bool {
        (self.first..=self.last).contains(&token)
    }
}

/// Tells the reading thread when nobody waits for it any more.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A part of a page.
struct Part {
    result: ResultSet,
    /// Whether it ended only because the next tablet is somebody else's.
    goes_on: bool,
}

impl Node {
    /// Reads one page.
    pub(super) async fn read(&self, statement: &Statement, plan: ReadPlan) -> Result<ResultSet> {
        let mut plan = Arc::new(plan);
        let page_rows = plan.page_rows;
        let mut whole: Option<ResultSet> = None;
        loop {
            let Some(token) = ReadCursor::new(&plan)?.token() else {
                return match whole {
                    Some(whole) => Ok(whole),
                    None => Ok(ReadCursor::new(&plan)?.finish()),
                };
            };
            let part = self.part(statement, &plan, token).await?;
            let next = part.result.page_state.clone();
            let whole = match &mut whole {
                None => whole.insert(part.result),
                Some(whole) => {
                    join(whole, part.result, plan.shape);
                    whole
                }
            };
            let rows = u64::try_from(whole.len()).unwrap_or(u64::MAX);
            let is_count = plan.shape == Shape::Count;
            let is_full = !is_count && (rows >= page_rows || !part.goes_on);
            let Some(next) = next.filter(|_| !is_full) else {
                return Ok(std::mem::take(whole));
            };
            let mut rest = ReadPlan::clone(&plan);
            rest.page_state = Some(next);
            if !is_count {
                rest.page_rows = page_rows - rows;
            }
            plan = Arc::new(rest);
        }
    }

    /// What comes next of a read: of this tablet, and if it is done here of those that follow.
    async fn part(&self, statement: &Statement, plan: &Arc<ReadPlan>, token: u64) -> Result<Part> {
        let worker = match statement.consistency {
            Consistency::One => Worker::Anyone,
            Consistency::Quorum | Consistency::Serial => Worker::Leader,
        };
        if worker == Worker::Leader {
            return self.part_of(statement, plan, (token, worker)).await;
        }
        let group = self.group_of(token)?;
        let place = self.tablets.get(group);
        let is_fresh = place.is_none_or(|place| self.is_fresh(&place));
        if is_fresh && self.has_applied(group, statement.after).await {
            return self.part_of(statement, plan, (token, worker)).await;
        }
        // The leader has what this replica does not get.
        let strict = statement.clone().consistency(Consistency::Quorum);
        let part = self.part_of(&strict, plan, (token, Worker::Leader)).await;
        part.map_err(|error| {
            if is_fresh {
                return error;
            }
            let limit = self.options.stale_reads.as_secs();
            let why = format!("the replica here may be more than {limit} s old (--stale-reads)");
            error.with_help("a read with consistency ONE came here", why)
        })
    }

    /// Whether a read with consistency ONE may look at the replica.
    fn is_fresh(&self, place: &TabletPlace) -> bool {
        let stale = place.group.staleness();
        stale.is_some_and(|stale| stale <= self.options.stale_reads)
    }

    /// Whether the own replica of the tablet has the write, soon. Without a replica here another node looks.
    async fn has_applied(&self, group: u64, after: Option<Position>) -> bool {
        let Some(after) = after else {
            return true;
        };
        let entry = entry_with(&self.system.topology(), group, after);
        match (entry, self.tablets.get(group)) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(entry), Some(place)) => {
                let applied = place.group.wait_applied(entry, AFTER_LIMIT);
                applied.await.is_ok()
            }
        }
    }

    async fn part_of(
        &self,
        statement: &Statement,
        plan: &Arc<ReadPlan>,
        (token, worker): (u64, Worker),
    ) -> Result<Part> {
        let here = |place: Arc<TabletPlace>| async move {
            if worker == Worker::Leader && !place.leads() {
                return Err(self.does_not_lead(&place));
            }
            self.read_here(plan, statement, (token, None)).await
        };
        let there = |node: NodeId, group: u64| async move {
            let mut asked = statement.clone().page_state(plan.page_state.clone());
            asked.page_size = Some(u32::try_from(plan.page_rows).unwrap_or(u32::MAX));
            let limit = match plan.source {
                Source::Partitions(_) => FORWARD_LIMIT,
                Source::Scan(_) => SCAN_LIMIT,
            };
            let forwarded = self.streams.peers.forward(node, group, vec![asked], limit);
            let result = forwarded.await?;
            let goes_on = self.is_elsewhere(plan, &result, group)?;
            Ok(Part { result, goes_on })
        };
        let may_repeat = true;
        let find = || self.group_of(token);
        self.at_tablet((find, worker), may_repeat, here, there)
            .await
    }

    /// Whether a result of one tablet ended at its end.
    fn is_elsewhere(&self, plan: &ReadPlan, result: &ResultSet, group: u64) -> Result<bool> {
        let Some(state) = &result.page_state else {
            return Ok(false);
        };
        let mut rest = plan.clone();
        rest.page_state = Some(state.clone());
        match ReadCursor::new(&rest)?.token() {
            Some(token) => Ok(self.group_of(token)? != group),
            None => Ok(false),
        }
    }

    /// Reads for another node what comes next, as far as it is in this tablet.
    pub(super) async fn read_forwarded(
        &self,
        group: u64,
        statement: &Statement,
        plan: ReadPlan,
    ) -> Result<ResultSet> {
        let token = ReadCursor::new(&plan)?.token();
        let token = token.filter(|token| self.group_of(*token).ok() == Some(group));
        let Some(token) = token else {
            let message = format!("the read does not go on in tablet {group}");
            return Err(Error::new(ErrorKind::NotLeader, message));
        };
        let place = self.tablets.get(group);
        let place = place.ok_or_else(|| self.has_no(group))?;
        if statement.consistency != Consistency::One && !place.leads() {
            return Err(self.does_not_lead(&place));
        }
        let is_one = statement.consistency == Consistency::One;
        if is_one && !(self.is_fresh(&place) && self.has_applied(group, statement.after).await) {
            return Err(self.does_not_lead(&place));
        }
        let plan = Arc::new(plan);
        let part = self.read_here(&plan, statement, (token, Some(group)));
        Ok(part.await?.result)
    }

    /// Reads from `token` on from the tablets of this node, as far as they come next; of one alone with
    /// `only`.
    async fn read_here(
        &self,
        plan: &Arc<ReadPlan>,
        statement: &Statement,
        (token, only): (u64, Option<u64>),
    ) -> Result<Part> {
        if is_small(plan)
            && let Some(part) = self.read_in_memory(plan, statement, (token, only)).await?
        {
            return Ok(part);
        }
        let waiting = Arc::clone(&self.waiting_readers).try_acquire_owned();
        let waiting = waiting.map_err(|_| {
            Error::new(
                ErrorKind::Overloaded,
                "too many reads wait already; retry later",
            )
        })?;
        let running = Arc::clone(&self.readers).acquire_owned().await;
        let running = running.map_err(|cause| {
            Error::new(ErrorKind::Closed, "the database is closed").with_source(cause)
        })?;
        let readable = self.readable(plan, statement, (token, only)).await?;
        let is_stopped = Arc::new(AtomicBool::new(false));
        let _stop = StopOnDrop(Arc::clone(&is_stopped));
        let (plan, clock) = (Arc::clone(plan), self.environment.clock.clone());
        blocking(move || {
            let result = run(ReadCursor::new(&plan)?, &readable, (&is_stopped, &clock));
            drop((waiting, running));
            result?.ok_or_else(|| Error::bug("a read of the disk misses something in memory"))
        })
        .await
    }

    /// Reads on the caller's thread; none when something is not in memory.
    async fn read_in_memory(
        &self,
        plan: &ReadPlan,
        statement: &Statement,
        from: (u64, Option<u64>),
    ) -> Result<Option<Part>> {
        let readable = self.readable(plan, statement, from).await?;
        if readable.iter().any(|place| place.tablet.is_out_of_memory()) {
            return Ok(None);
        }
        let cursor = ReadCursor::new(plan)?.in_memory();
        let part = run(
            cursor,
            &readable,
            (&AtomicBool::new(false), &self.environment.clock),
        )?;
        if part.is_none() {
            for place in &readable {
                place.tablet.note_out_of_memory();
            }
        }
        Ok(part)
    }

    /// The tablets of this node that the plan reads, each with its guard; one of them holds `token`.
    async fn readable(
        &self,
        plan: &ReadPlan,
        statement: &Statement,
        (token, only): (u64, Option<u64>),
    ) -> Result<Vec<Readable>> {
        let consistency = statement.consistency;
        let policy = match consistency {
            Consistency::One => ReadPolicy::Local,
            Consistency::Quorum => ReadPolicy::Lease,
            Consistency::Serial => ReadPolicy::ReadIndex,
        };
        let topology = self.system.topology();
        let mut readable = Vec::new();
        for range in concerned(&topology, plan)? {
            let place = self.tablets.get(range.group);
            let is_wanted = only.is_none_or(|only| only == range.group);
            let place = place.filter(|place| match consistency {
                Consistency::One => {
                    self.is_fresh(place) && has_now(&topology, place, statement.after)
                }
                Consistency::Quorum | Consistency::Serial => place.leads(),
            });
            let Some(place) = place.filter(|_| is_wanted) else {
                continue;
            };
            let stale = match consistency {
                Consistency::One => place.group.staleness().filter(|stale| !stale.is_zero()),
                Consistency::Quorum | Consistency::Serial => None,
            };
            let guard = place.group.read_guard(policy).await?;
            // After the guard: what was split off before the read began is not read here.
            let (first, last) = place.tablet.tokens();
            readable.push(Readable {
                first: range.first.max(first),
                last: range.last.min(last),
                tablet: Arc::clone(&place.tablet),
                guard,
                stale,
            });
        }
        if readable.iter().any(|place| place.holds(token)) {
            return Ok(readable);
        }
        // A tablet was split, and the map here does not know where the token is now.
        let message = format!("no tablet here holds token {token:016x} any more");
        Err(Error::new(ErrorKind::NotLeader, message))
    }
}

/// The entry of a tablet from which on its replica has the write, 0 if the write was of other tokens; `None` when
/// that cannot be told, because the write went to a tablet that the map does not have yet: it was split off one that the
/// map has, and the tokens may have gone with it.
fn entry_with(topology: &Topology, group: u64, after: Position) -> Option<u64> {
    if group == after.group {
        return Some(after.index);
    }
    topology.tablet(after.group)?;
    // What the tablet began with has everything of the tablets that held its tokens before.
    let born = topology.tablet(group)?.born;
    let mut older = born;
    for _ in &topology.tablets {
        let Some(parent) = older.map(|born| born.parent) else {
            break;
        };
        if parent == after.group {
            return born.map(|born| born.index);
        }
        older = topology.tablet(parent).and_then(|record| record.born);
    }
    Some(0)
}

/// Whether the replica has the write already.
fn has_now(topology: &Topology, place: &TabletPlace, after: Option<Position>) -> bool {
    let Some(after) = after else {
        return true;
    };
    let entry = entry_with(topology, place.tablet.group_id(), after);
    entry.is_some_and(|entry| *place.group.applied().borrow() >= entry)
}

/// Adds a later part of the page.
fn join(whole: &mut ResultSet, part: ResultSet, shape: Shape) {
    whole.stats.add(&part.stats);
    if shape == Shape::Count {
        let count = |result: &ResultSet| match result.rows.first().map(Row::values) {
            Some([Value::BigInt(count)]) => *count,
            _ => 0,
        };
        let sum = count(whole).saturating_add(count(&part));
        let counted = ResultSet::new(Arc::clone(&whole.columns), vec![vec![Value::BigInt(sum)]]);
        whole.rows = counted.rows;
    } else {
        whole.rows.extend(part.rows);
    }
    whole.page_state = part.page_state;
}

/// The tablets that a plan looks at, each once.
fn concerned(topology: &Topology, plan: &ReadPlan) -> Result<Vec<TabletRange>> {
    let Some(tokens) = plan.tokens() else {
        return Ok(topology.tablets.iter().map(|it| it.range).collect());
    };
    let mut seen = BTreeSet::new();
    let mut distinct = Vec::new();
    for token in tokens {
        let record = topology
            .tablet_of(token)
            .ok_or_else(|| Error::bug(format!("no tablet holds token {token:016x}")))?;
        if seen.insert(record.range.group) {
            distinct.push(record.range);
        }
    }
    Ok(distinct)
}

/// Whether a plan looks at a few rows that lie together.
fn is_small(plan: &ReadPlan) -> bool {
    let is_one = matches!(&plan.source, Source::Partitions(partitions) if partitions.len() == 1);
    let rows = match plan.shape {
        Shape::Rows => plan.page_rows.min(plan.limit),
        Shape::Partitions | Shape::Count => u64::MAX,
    };
    is_one && plan.slices.len() == 1 && (plan.slices_are_rows || rows <= SMALL_ROWS)
}

/// Reads what comes next of the tablets given; none when the cursor misses something in memory.
fn run(
    mut cursor: ReadCursor<'_>,
    readable: &[Readable],
    (is_stopped, clock): (&AtomicBool, &Clock),
) -> Result<Option<Part>> {
    let mut goes_on = false;
    let mut stale = None;
    while let Some(token) = cursor.token() {
        if is_stopped.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Closed, "the read was canceled"));
        }
        let place = readable.iter().find(|place| place.holds(token));
        let Some(place) = place else {
            goes_on = true;
            break;
        };
        stale = stale.max(place.stale);
        let now = (clock.wall_us() / 1000).max(place.tablet.time_ms());
        cursor.step(place.tablet.engine(), place.last, now)?;
        if cursor.is_missing() {
            return Ok(None);
        }
    }
    for place in readable {
        place.guard.confirm()?;
    }
    let mut result = cursor.finish_part();
    let millis = |stale: Duration| u64::try_from(stale.as_millis()).unwrap_or(u64::MAX);
    result.stats.stale_ms = stale.map(millis);
    Ok(Some(Part { result, goes_on }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group0::Born;
    use crate::group0::TabletRecord;

    fn tablet(group: u64, born: Option<(u64, u64)>) -> TabletRecord {
        TabletRecord {
            range: TabletRange {
                group,
                first: group,
                last: group,
            },
            version: 0,
            replicas: Vec::new(),
            leaving: Vec::new(),
            is_settled: true,
            splitting: None,
            born: born.map(|(parent, index)| Born {
                parent,
                index,
                decided: 0,
            }),
        }
    }

    fn entry(topology: &Topology, group: u64, after: (u64, u64)) -> Option<u64> {
        let (written, index) = after;
        let after = Position {
            group: written,
            index,
            op: 0,
        };
        entry_with(topology, group, after)
    }

    #[test]
    fn a_read_after_a_write_to_a_tablet_that_the_map_does_not_have_trusts_no_replica() {
        // Tablet 3 was split off tablet 2 and written to, and this node has not heard of it.
        let mut topology = Topology::default();
        topology.tablets = vec![tablet(1, None), tablet(2, None)];
        assert_eq!(entry(&topology, 2, (3, 198)), None);
        assert_eq!(entry(&topology, 2, (2, 198)), Some(198));
        topology.tablets.push(tablet(3, Some((2, 192))));
        assert_eq!(entry(&topology, 3, (3, 198)), Some(198));
        assert_eq!(entry(&topology, 2, (3, 198)), Some(0), "of other tokens");
        assert_eq!(entry(&topology, 1, (3, 198)), Some(0), "of other tokens");
    }

    #[test]
    fn a_write_of_before_a_split_is_in_what_the_new_tablet_began_with() {
        let mut topology = Topology::default();
        topology.tablets = vec![
            tablet(1, None),
            tablet(2, Some((1, 50))),
            tablet(3, Some((2, 90))),
        ];
        assert_eq!(entry(&topology, 2, (1, 40)), Some(50));
        assert_eq!(entry(&topology, 3, (2, 80)), Some(90));
        assert_eq!(entry(&topology, 3, (1, 40)), Some(90));
    }
}
