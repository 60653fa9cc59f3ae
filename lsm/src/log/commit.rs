//! Group commit: who writes, and who waits for whom.
//!
//! Whoever wants its changes durable and finds nobody committing leads: it takes what waits, writes
//! and syncs it on its own thread, so that a lone writer pays for the disk and for no other thread.
//! Callers that come meanwhile queue up behind it. When the sync is through, the leader first wakes
//! the first of those whose changes it did not carry, which leads the next commit, and then tells
//! everybody it did carry: telling overlaps with the next sync. RocksDB's write groups work alike.
//!
//! # Invariants
//!
//! * A commit is written and synced under the lock of the writer, so there is one at a time.
//! * Completions run in the order of the calls they were given to: the lock they run under is taken
//!   before the lock of the writer is given up.
//! * While changes wait and nobody leads, the owner's thread has been told ([`super::Log::wait`]).
//!   A leader that ends either names the next one, or tells the owner's thread.
//! * A failure reaches every change that waits and every caller that waits, exactly once each.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::{self, Thread};

use parking_lot::MutexGuard;

use super::Inner;
use super::queue::Batch;
use super::shared::Shared;
use super::writer::Writer;
use crate::error::{Error, Result};

const WAITS: u8 = 0;
const LEADS: u8 = 1;
const ENDED: u8 = 2;

/// A thread that waits in [`super::Log::commit`].
pub(super) struct Waiter {
    /// The last change that it waits for.
    upto: u64,
    thread: Thread,
    signal: AtomicU8,
}

impl fmt::Debug for Waiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiter")
            .field("upto", &self.upto)
            .finish_non_exhaustive()
    }
}

impl Waiter {
    fn wake(&self, signal: u8) {
        self.signal.store(signal, Ordering::Release);
        self.thread.unpark();
    }

    /// Waits to be told to lead (`true`) or that the wait is over.
    fn leads(&self) -> bool {
        loop {
            match self.signal.load(Ordering::Acquire) {
                WAITS => thread::park(),
                signal => return signal == LEADS,
            }
        }
    }
}

/// What a caller of [`super::Log::commit`] has to do.
enum Part {
    Nothing,
    Lead,
    Wait(Arc<Waiter>),
}

impl Shared {
    fn join(&mut self, upto: u64) -> Part {
        if self.told_ticket >= upto {
            return Part::Nothing;
        }
        if !self.is_led {
            self.is_led = true;
            return Part::Lead;
        }
        let waiter = Arc::new(Waiter {
            upto,
            thread: thread::current(),
            signal: AtomicU8::new(WAITS),
        });
        // In order of `upto`, because both change under the lock of `self`.
        self.waiters.push_back(Arc::clone(&waiter));
        Part::Wait(waiter)
    }

    /// Ends the lead unless `until` is still to be written, and names the next leader.
    fn hand_over(&mut self, until: u64) -> Option<Arc<Waiter>> {
        if self.durable_ticket < until && self.failed.is_none() {
            return None;
        }
        let durable = self.durable_ticket;
        let next = self
            .waiters
            .partition_point(|waiter| waiter.upto <= durable);
        let next = self.waiters.remove(next);
        self.is_led = next.is_some();
        next
    }

    /// Notes that the completions up to `ticket` ran, and takes out who waits for no more.
    fn told(&mut self, ticket: u64) -> Vec<Arc<Waiter>> {
        self.told_ticket = self.told_ticket.max(ticket);
        let told = self.told_ticket;
        let end = self.waiters.partition_point(|waiter| waiter.upto <= told);
        self.waiters.drain(..end).collect()
    }
}

impl Inner {
    /// Returns when everything that was appended before the call is durable and told.
    pub(super) fn commit(&self) -> Result<()> {
        let (upto, part) = {
            let mut shared = self.shared.lock();
            shared.check_usable()?;
            let upto = shared.last_ticket();
            (upto, shared.join(upto))
        };
        let leads = match part {
            Part::Nothing => return Ok(()),
            Part::Lead => true,
            Part::Wait(waiter) => waiter.leads(),
        };
        if leads {
            self.lead(upto)
        } else {
            self.outcome(upto).map(|_| ())
        }
    }

    /// Leads until everything up to `upto` is durable and told.
    fn lead(&self, upto: u64) -> Result<()> {
        loop {
            self.group_commit(self.writer.lock(), Some(upto))?;
            if self.outcome(upto)? {
                return Ok(());
            }
        }
    }

    /// Whether everything up to `upto` is durable and told; an error if it never will be.
    fn outcome(&self, upto: u64) -> Result<bool> {
        let shared = self.shared.lock();
        if shared.told_ticket >= upto {
            return Ok(true);
        }
        shared.check_failed().map(|()| false)
    }

    /// One group commit beside whoever leads, or as the leader if nobody does.
    pub(super) fn flush(&self) -> Result<bool> {
        let writer = self.writer.lock();
        let is_led = {
            let mut shared = self.shared.lock();
            shared.check_failed()?;
            std::mem::replace(&mut shared.is_led, true)
        };
        self.group_commit(writer, (!is_led).then_some(0))
    }

    /// Commits the oldest of what waits; `false` if nothing waited. `leads_until` is given by the
    /// leader, which hands over as soon as everything up to there is durable.
    fn group_commit(
        &self,
        mut writer: MutexGuard<'_, Writer>,
        leads_until: Option<u64>,
    ) -> Result<bool> {
        let batch = self.shared.lock().take_batch(writer.commit_bytes_max());
        let Some(batch) = batch else {
            // Somebody else took it. It is told when this returns.
            let telling = self.completing.lock();
            drop(writer);
            drop(telling);
            self.pass_on(leads_until);
            return Ok(false);
        };
        let written = self.write(&mut writer, &batch);
        let telling = self.completing.lock();
        drop(writer);
        if let Err(error) = written {
            self.fail(&error, Some(batch));
            return Err(error);
        }
        self.pass_on(leads_until);
        let last = batch.last_ticket();
        batch.complete(&Ok(()));
        let told = self.shared.lock().told(last);
        drop(telling);
        for waiter in told {
            waiter.wake(ENDED);
        }
        self.remove_free()?;
        Ok(true)
    }

    fn pass_on(&self, leads_until: Option<u64>) {
        let Some(until) = leads_until else { return };
        let (next, has_work) = {
            let mut shared = self.shared.lock();
            let next = shared.hand_over(until);
            (next, !shared.is_led && shared.has_pending())
        };
        if let Some(next) = next {
            next.wake(LEADS);
        } else if has_work {
            self.has_work.notify_one();
        }
    }

    fn write(&self, writer: &mut Writer, batch: &Batch) -> Result<()> {
        let places = writer.commit(&self.shared, batch)?;
        let mut shared = self.shared.lock();
        shared.committed(batch, &places)?;
        shared.evict(self.options.hot_bytes);
        Ok(())
    }

    /// Removes freed segments beyond the spare ones. The next commit waits for it.
    fn remove_free(&self) -> Result<()> {
        if !self.shared.lock().has_excess(self.options.spare_segments) {
            return Ok(());
        }
        let removed = self.writer.lock().remove_free(&self.shared, &self.removed);
        if let Err(error) = &removed {
            let telling = self.completing.lock();
            self.fail(error, None);
            drop(telling);
        }
        removed
    }

    /// Flushes and marks the log for closing.
    pub(super) fn flush_all(&self) -> Result<()> {
        self.shared.lock().check_failed()?;
        while self.flush()? {}
        let mut writer = self.writer.lock();
        if !writer.tail.is_marked {
            writer.write_mark(0)?;
        }
        writer.tail.segment.file.sync_data()
    }

    /// Makes the log refuse every call and tells everybody who waits.
    pub(super) fn fail(&self, error: &Error, batch: Option<Batch>) {
        let (rest, waiters) = {
            let mut shared = self.shared.lock();
            shared.failed.get_or_insert_with(|| error.clone());
            shared.is_led = false;
            (shared.take_all(), std::mem::take(&mut shared.waiters))
        };
        for batch in batch.into_iter().chain(rest) {
            batch.complete(&Err(error.clone()));
        }
        for waiter in waiters {
            waiter.wake(ENDED);
        }
        self.has_work.notify_all();
    }
}
