//! The worker number of this process, leased from the database.
//!
//! Two processes that share a database must never mint the same id. An id holds its time, so a lease
//! is a number *and a window of time*: who holds it mints ids of that number whose time lies in the
//! window, and nothing else. The row of a number says until when its window goes; whoever takes the
//! number later begins its own window there.
//!
//! # Invariants
//!
//! * Windows of one number never overlap, because each begins where the row said the one before
//!   ended, and a row is changed by one conditional write. So ids differ even when clocks differ, when
//!   a process sleeps for an hour in the middle, or when two believe that they hold the number.
//! * A generator refuses to mint beyond its window: that is the fence. A renewal that comes too late
//!   finds the row changed, and the process takes another number.
//!
//! # Cost
//!
//! One conditional write per process every [`RENEW_EVERY`]; one read of a small table at start.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chatdb::{Db, Error, ErrorKind, Result};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::id::{Generator, WORKER_MAX, Window};
use crate::store::workers::{self, Held};

/// How far a window reaches beyond the time of its renewal, in milliseconds. A process that dies
/// keeps its number from others for so long.
const WINDOW_MS: i64 = 60_000;
/// How often a window is extended. Three attempts may fail before ids run out.
const RENEW_EVERY: Duration = Duration::from_secs(15);

/// Who leases: random, so that a process that starts again is somebody else.
#[derive(Clone, Debug)]
pub(crate) struct Holder(Bytes);

impl Holder {
    pub(crate) fn new() -> Self {
        let name: [u8; 16] = clock::random_bytes();
        Self(Bytes::copy_from_slice(&name))
    }
}

/// Takes a number: `wanted`, or the lowest that is free at `now_ms`.
pub(crate) async fn acquire(
    db: &Db,
    holder: &Holder,
    wanted: Option<u16>,
    now_ms: i64,
) -> Result<Window> {
    let held = workers::all(db).await?;
    let find = |worker: u16| held.iter().find(|row| row.worker == worker);
    let is_free = |worker: &u16| find(*worker).is_none_or(|row| row.until_ms <= now_ms);
    let numbers = match wanted {
        Some(worker) => worker..=worker,
        None => 0..=WORKER_MAX,
    };
    for worker in numbers.filter(is_free) {
        let from_ms = find(worker).map_or(now_ms, |row| row.until_ms.max(now_ms));
        let next = Held {
            worker,
            holder: holder.0.clone(),
            until_ms: from_ms.saturating_add(WINDOW_MS),
        };
        if workers::take(db, find(worker), &next).await? {
            return Ok(Window {
                worker,
                from_ms,
                until_ms: next.until_ms,
            });
        }
    }
    let what = match wanted.and_then(find) {
        Some(row) => {
            let seconds = row.until_ms.saturating_sub(now_ms) / 1000 + 1;
            format!(
                "worker {} belongs to another process for {seconds} s more",
                row.worker
            )
        }
        None => "every worker number belongs to another process".to_owned(),
    };
    Err(Error::new(ErrorKind::Conflict, what).with_help("try", "flux serve without --worker"))
}

/// Extends the window, or answers that the number is somebody else's by now.
async fn renew(db: &Db, holder: &Holder, ids: &Generator, now_ms: i64) -> Result<bool> {
    let window = ids.window();
    let until_ms = now_ms.saturating_add(WINDOW_MS).max(window.until_ms);
    let is_ours = workers::extend(db, (window.worker, &holder.0), until_ms).await?;
    if is_ours {
        ids.extend(until_ms);
    }
    Ok(is_ours)
}

/// Extends the window, or takes another number when this one is lost.
pub(crate) async fn keep(db: &Db, holder: &Holder, ids: &Generator, now_ms: i64) -> Result<()> {
    if renew(db, holder, ids, now_ms).await? {
        return Ok(());
    }
    let lost = ids.window().worker;
    let window = acquire(db, holder, None, now_ms).await?;
    tracing::warn!(
        lost,
        now = window.worker,
        "the worker number was taken over"
    );
    ids.switch(window);
    Ok(())
}

/// Keeps the lease until `stop`.
pub(crate) async fn run(db: Db, holder: Holder, ids: Arc<Generator>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(RENEW_EVERY) => {}
            () = stop.cancelled() => return,
        }
        if let Err(error) = keep(&db, &holder, &ids, clock::now_ms()).await {
            tracing::warn!(%error, "the worker number could not be renewed, trying again");
        }
    }
}

/// Gives the number back: the next holder begins behind the newest id.
pub(crate) async fn release(db: &Db, holder: &Holder, ids: &Generator) -> Result<()> {
    let (worker, newest_ms) = ids.close();
    let until_ms = newest_ms.saturating_add(1);
    workers::extend(db, (worker, &holder.0), until_ms).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{EPOCH_MS, Id};
    use crate::store::schema;
    use chatdb::EmbeddedOptions;
    use std::collections::BTreeSet;

    const START: i64 = EPOCH_MS + 1_000_000_000;

    async fn database() -> (tempfile::TempDir, Db) {
        let directory = tempfile::TempDir::new().unwrap();
        let options = EmbeddedOptions::new(directory.path());
        let db = Db::open(options).await.unwrap();
        schema::create(&db).await.unwrap();
        (directory, db)
    }

    #[tokio::test]
    async fn numbers_are_given_once_and_again_when_they_are_given_back() {
        let (_directory, db) = database().await;
        let holders = [Holder::new(), Holder::new(), Holder::new()];
        let first = acquire(&db, &holders[0], None, START).await.unwrap();
        let second = acquire(&db, &holders[1], None, START).await.unwrap();
        assert_eq!((first.worker, second.worker), (0, 1));
        let taken = acquire(&db, &holders[2], Some(1), START).await.unwrap_err();
        assert_eq!(taken.kind(), ErrorKind::Conflict);
        assert!(taken.message().contains("for 61 s more"), "{taken}");

        let ids = Generator::leased(first);
        let newest = ids.next_at(START + 500).unwrap();
        release(&db, &holders[0], &ids).await.unwrap();
        ids.next_at(START + 501).unwrap_err();
        let third = acquire(&db, &holders[2], None, START + 501).await.unwrap();
        assert_eq!((third.worker, third.from_ms), (0, newest.unix_ms() + 1));
        db.close().await.unwrap();
    }

    #[tokio::test]
    async fn who_was_away_for_long_mints_nothing_that_the_next_holder_mints() {
        let (_directory, db) = database().await;
        let (sleeper, next) = (Holder::new(), Holder::new());
        let old = Generator::leased(acquire(&db, &sleeper, None, START).await.unwrap());
        let later = START + WINDOW_MS;
        let window = acquire(&db, &next, Some(0), later).await.unwrap();
        assert_eq!(window.from_ms, later);
        let new = Generator::leased(window);

        // The sleeper's clock stands still; then it wakes, and its window is over.
        let last = old.next_at(later - 1).unwrap();
        assert!(last < new.next_at(later).unwrap());
        let refused = old.next_at(later).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unavailable);

        keep(&db, &sleeper, &old, later + 1).await.unwrap();
        assert_eq!(old.window().worker, 1);
        old.next_at(later + 1).unwrap();
        db.close().await.unwrap();
    }

    /// Three processes want one number; their clocks are up to two windows apart, and each may stop
    /// to renew at any time.
    #[tokio::test]
    async fn no_id_is_minted_twice_whatever_the_clocks_say() {
        let (_directory, db) = database().await;
        let mut state = 0x5eed_u64;
        let mut roll = |sides: i64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            i64::try_from(state % sides.unsigned_abs()).unwrap()
        };
        let mut minted: BTreeSet<Id> = BTreeSet::new();
        let mut processes: [Option<(Holder, Generator)>; 3] = [None, None, None];
        let skews = [0, WINDOW_MS, -WINDOW_MS];
        let mut takeovers = 0;
        for step in 0..600 {
            let at = usize::try_from(roll(3)).unwrap();
            let now_ms = START + step * 5000 + skews[at] + roll(3000);
            let choice = roll(8);
            if processes[at].is_none() || choice == 0 {
                let holder = Holder::new();
                let window = acquire(&db, &holder, Some(0), now_ms).await;
                takeovers += i32::from(window.is_ok());
                let fresh = window
                    .ok()
                    .map(|window| (holder, Generator::leased(window)));
                processes[at] = fresh.or(processes[at].take());
                continue;
            }
            let Some((holder, ids)) = &processes[at] else {
                continue;
            };
            if choice == 1 {
                renew(&db, holder, ids, now_ms).await.unwrap();
            }
            for id in (0..50).filter_map(|_| ids.next_at(now_ms).ok()) {
                assert!(minted.insert(id), "{id} was minted twice in step {step}");
            }
        }
        assert!(
            takeovers > 3 && minted.len() > 1000,
            "{takeovers}, {}",
            minted.len()
        );
        db.close().await.unwrap();
    }
}
