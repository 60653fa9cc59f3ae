//! Running a read plan: guards first, then engine pages on a thread that may block.
//!
//! A read takes one permit to wait and one to run, so that a burst queues up to a bound and is then
//! refused with `Overloaded` instead of growing without end. Dropping the caller's future stops the
//! read at its next engine page.
//!
//! The time of a read is the leader's clock, but never behind the tablet's own last write: a value
//! is gone when its time to live has passed, also in a tablet that nobody writes to.

use crate::db::statement::Consistency;
use crate::error::{Error, ErrorKind, Result};
use crate::group0::{TabletRange, Topology};
use crate::node::Node;
use crate::node::environment::now_ms;
use crate::node::open::blocking;
use crate::plan::ReadPlan;
use crate::result::ResultSet;
use crate::tablet::{ReadCursor, Tablet};
use raft::{ReadGuard, ReadPolicy};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A tablet that a read may look at, and the promise under which it does.
struct Readable {
    first: u64,
    last: u64,
    tablet: Arc<Tablet>,
    guard: ReadGuard,
}

/// Tells the reading thread when nobody waits for it any more.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Node {
    /// Reads one page.
    pub(super) async fn read(&self, plan: ReadPlan, consistency: Consistency) -> Result<ResultSet> {
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
        let readable = self.readable(&plan, consistency).await?;
        let is_stopped = Arc::new(AtomicBool::new(false));
        let _stop = StopOnDrop(Arc::clone(&is_stopped));
        blocking(move || {
            let result = run(&plan, &readable, &is_stopped);
            drop((waiting, running));
            result
        })
        .await
    }

    /// The tablets that the plan reads, each with its guard.
    async fn readable(&self, plan: &ReadPlan, consistency: Consistency) -> Result<Vec<Readable>> {
        let policy = match consistency {
            Consistency::One => ReadPolicy::Local,
            Consistency::Quorum => ReadPolicy::Lease,
            Consistency::Serial => ReadPolicy::ReadIndex,
        };
        let topology = self.system.topology();
        let mut readable = Vec::new();
        for range in concerned(&topology, plan)? {
            let place = self.open_tablet(range.group)?;
            readable.push(Readable {
                first: range.first,
                last: range.last,
                tablet: Arc::clone(&place.tablet),
                guard: place.group.read_guard(policy).await?,
            });
        }
        Ok(readable)
    }
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

fn run(plan: &ReadPlan, readable: &[Readable], is_stopped: &AtomicBool) -> Result<ResultSet> {
    let mut cursor = ReadCursor::new(plan)?;
    while let Some(token) = cursor.token() {
        if is_stopped.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Closed, "the read was canceled"));
        }
        let place = readable
            .iter()
            .find(|place| place.first <= token && token <= place.last);
        let place =
            place.ok_or_else(|| Error::bug(format!("no tablet to read token {token:016x}")))?;
        let now = now_ms().max(place.tablet.time_ms());
        cursor.step(place.tablet.engine(), place.last, now)?;
    }
    for place in readable {
        place.guard.confirm()?;
    }
    Ok(cursor.finish())
}
