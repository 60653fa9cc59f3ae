//! Runs the shared log's syncs: parks until something is pending, then one group commit for all.
//!
//! The log starts no thread of its own. In production this file gives it one, because `fdatasync`
//! blocks; in a simulation it is a task, because threads are not deterministic. When a sync fails
//! there is no second try: what the disk holds is not known until the process reads it again.
//!
//! Segments that a commit removed are given back to the file system by a thread that lives as long as there are
//! some, piece by piece: a file system may take hundreds of milliseconds for them, and no commit waits that long.
//!
//! # Cost
//!
//! Idle: the thread wakes every [`PARK`] to see whether it shall end. Busy: one `fdatasync` carries
//! everything that was appended while the one before it ran.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use lsm::log::Log;
use tokio::sync::{Notify, watch};

use crate::error::{Error, ErrorKind, Result};
use crate::failure::Failure;
use crate::options::LogDriver;

/// Longest sleep of the idle thread, and thereby longest time to end it.
const PARK: Duration = Duration::from_millis(50);
/// Between two pieces of removed segments, so that syncs get to the disk in between: 4 MiB each, up to 800 MB/s.
const REMOVAL_PAUSE: Duration = Duration::from_millis(5);

/// Tells the driver that something was appended. A thread parks in the log and needs no telling.
#[derive(Clone, Debug)]
pub(crate) struct Kick(Option<Arc<Notify>>);

impl Kick {
    pub(crate) fn kick(&self) {
        if let Some(notify) = &self.0 {
            notify.notify_one();
        }
    }
}

/// The running driver. Dropping it ends it without syncing what is pending, as a crash would.
#[derive(Debug)]
pub(crate) struct Driver {
    kick: Kick,
    stop: Arc<AtomicBool>,
    running: Running,
}

#[derive(Debug)]
enum Running {
    Thread(Option<JoinHandle<()>>),
    Task(tokio::task::JoinHandle<()>),
}

impl Driver {
    /// Starts syncing `log`; the first failure goes to `failure`.
    pub(crate) fn start(
        log: Log,
        how: LogDriver,
        failure: watch::Sender<Option<Failure>>,
    ) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let notify = Arc::new(Notify::new());
        let work = Work {
            log,
            stop: Arc::clone(&stop),
            failure,
            removal: None,
        };
        let (kick, running) = match how {
            LogDriver::Thread => {
                let thread = std::thread::Builder::new()
                    .name("shared-log".to_owned())
                    .spawn(move || work.run())
                    .map_err(|source| {
                        Error::new(ErrorKind::Io, "starting the thread of the shared log")
                            .with_source(source)
                    })?;
                (Kick(None), Running::Thread(Some(thread)))
            }
            LogDriver::Task | LogDriver::SlowTask(_) => {
                let sync_max = match how {
                    LogDriver::SlowTask(most) => most,
                    _ => Duration::ZERO,
                };
                let kick = Kick(Some(Arc::clone(&notify)));
                let task = work.run_as_task(notify, sync_max);
                (kick, Running::Task(tokio::spawn(task)))
            }
        };
        Ok(Self {
            kick,
            stop,
            running,
        })
    }

    /// A handle by which appenders wake the driver.
    pub(crate) fn kick(&self) -> Kick {
        self.kick.clone()
    }

    /// Ends the driver and waits for it. What is pending is left to the caller to flush.
    pub(crate) fn join(&mut self) {
        self.stop.store(true, Ordering::Release);
        match &mut self.running {
            Running::Thread(thread) => {
                if thread.take().is_some_and(|thread| thread.join().is_err()) {
                    tracing::error!("the thread of the shared log panicked");
                }
            }
            Running::Task(task) => task.abort(),
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.join();
    }
}

struct Work {
    log: Log,
    stop: Arc<AtomicBool>,
    failure: watch::Sender<Option<Failure>>,
    /// The thread that gives removed segments back.
    removal: Option<JoinHandle<()>>,
}

impl Work {
    fn run(mut self) {
        while !self.stop.load(Ordering::Acquire) {
            if self.log.wait(PARK) && self.flush().is_none() {
                break;
            }
            self.remove_beside();
        }
        // What it leaves goes with the log's last handle.
        self.stop.store(true, Ordering::Release);
        let Some(removal) = self.removal.take() else {
            return;
        };
        removal.thread().unpark();
        if removal.join().is_err() {
            tracing::error!("the thread that removes segments panicked");
        }
    }

    /// Sees to it that removed segments are given back.
    fn remove_beside(&mut self) {
        let is_running = self.removal.as_ref().is_some_and(|it| !it.is_finished());
        if is_running || !self.log.has_removed() {
            return;
        }
        let (log, stop) = (self.log.clone(), Arc::clone(&self.stop));
        let steps = move || {
            while !stop.load(Ordering::Acquire) && log.remove_step() > 0 {
                std::thread::park_timeout(REMOVAL_PAUSE);
            }
        };
        let thread = std::thread::Builder::new().name("log-removal".to_owned());
        match thread.spawn(steps) {
            Ok(removal) => self.removal = Some(removal),
            // It is tried again after the next commit.
            Err(cause) => tracing::warn!(%cause, "cannot start the thread that removes segments"),
        }
    }

    async fn run_as_task(self, notify: Arc<Notify>, sync_max: Duration) {
        let mut syncs = 0u32;
        while !self.stop.load(Ordering::Acquire) {
            notify.notified().await;
            if !sync_max.is_zero() {
                syncs = syncs.wrapping_add(1);
                // Some number between 0 and 255 that the next one does not resemble.
                let share = syncs.wrapping_mul(0x9e37_79b9) >> 24;
                let most_us = u64::try_from(sync_max.as_micros()).unwrap_or(u64::MAX);
                let pause = Duration::from_micros(most_us / 255 * u64::from(share));
                tokio::time::sleep(pause).await;
            }
            // One commit may leave something behind, and nobody kicks for it a second time.
            loop {
                match self.flush() {
                    Some(true) => {}
                    Some(false) => break,
                    None => return,
                }
            }
            while self.log.remove_step() > 0 {}
        }
    }

    /// One group commit. Returns whether there was anything to write; `None` if the log is not usable any more.
    fn flush(&self) -> Option<bool> {
        let source = match self.log.flush() {
            Ok(wrote) => return Some(wrote),
            Err(source) => source,
        };
        let error = Error::from_log("flush", source);
        tracing::error!(error = ?error, "shared log failed; all raft groups of this process stop");
        Failure { group: None, error }.report(&self.failure);
        None
    }
}
