//! What `bench storage` can be told.

use std::path::PathBuf;

use crate::engine::{Kind, Setup};

/// Which workload to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Workload {
    /// Durable writes of single messages: one writer beside the raw disk, then many writers
    Durable,
    /// Newest-50 pages before and after compaction, and under ingest
    Pages,
    /// Ingest beyond the memory budget over 30 windows, its write amplification and size on disk, then pages from
    /// data that is larger than the cache
    Sustained,
    /// The same of which one message in twenty comes late, into a window that is over
    Late,
    /// Pages from channels whose messages are deleted
    Deleted,
    /// The drop of a window in which everything has expired
    Expired,
    /// Opening with a full log
    Recovery,
}

/// Options of `bench storage`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Engine to run beside chatdb's, in the same minute; may be repeated
    #[arg(long)]
    pub(super) peer: Vec<Kind>,
    /// Run only this workload; may be repeated
    #[arg(long)]
    only: Vec<Workload>,
    /// Small sizes: everything in about two minutes, to try things; not for publishing
    #[arg(long)]
    pub(super) quick: bool,
    /// Interleaved rounds: every engine once in each [default: 5; quick: 2]
    #[arg(long)]
    rounds: Option<usize>,
    /// Milliseconds of each measurement [default: 1200; quick: 500]
    #[arg(long)]
    millis: Option<u64>,
    /// Messages loaded before cached pages are measured [default: 400000; quick: 100000]
    #[arg(long)]
    messages: Option<u64>,
    /// Messages of the sustained ingest [default: 20000000; quick: 1000000]
    #[arg(long)]
    sustained: Option<u64>,
    /// Messages of the ingest with late ones [default: 5000000; quick: 500000]
    #[arg(long)]
    late: Option<u64>,
    /// Seconds after which the sustained ingest of an engine is cut, which the table then says; a quarter of it for
    /// fjall [default: 200; quick: 20]
    #[arg(long)]
    sustained_seconds: Option<u64>,
    /// Most deleted messages of one channel; 10 000 and each tenfold up to this [default: 10000000; quick: 100000]
    #[arg(long)]
    deleted: Option<u64>,
    /// Size of the window that expires, in MiB on disk [default: 1024; quick: 64]
    #[arg(long)]
    window_mib: Option<u64>,
    /// Size of the log to recover, in MiB [default: 1024; quick: 64]
    #[arg(long)]
    log_mib: Option<u64>,
    /// Block cache of each engine, in MiB
    #[arg(long, default_value_t = 256)]
    cache_mib: usize,
    /// Memtable of each engine, in MiB
    #[arg(long, default_value_t = 64)]
    memtable_mib: usize,
    /// Threads that write single durable messages
    #[arg(long, default_value_t = 64)]
    pub(super) writers: usize,
    /// Seed of the workload
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
    /// Directory for the databases; emptied after each run [default: the system's temporary directory]
    #[arg(long)]
    pub(super) dir: Option<PathBuf>,
    /// Keep the databases of the sustained workload in this directory; those that are there are read again, not filled
    #[arg(long)]
    pub(super) keep: Option<PathBuf>,
    /// Also write `storage.md`, `storage.json` and the plots into this directory
    #[arg(long)]
    pub(super) out: Option<PathBuf>,
}

impl Options {
    fn pick<T>(&self, given: Option<T>, published: T, quick: T) -> T {
        given.unwrap_or(if self.quick { quick } else { published })
    }

    pub(super) fn wants(&self, workload: Workload) -> bool {
        self.only.is_empty() || self.only.contains(&workload)
    }

    /// Where the database of an engine is kept, if it is.
    pub(super) fn kept(&self, kind: Kind) -> Option<PathBuf> {
        self.keep.as_ref().map(|dir| dir.join(kind.name()))
    }

    pub(super) fn rounds(&self) -> usize {
        self.pick(self.rounds, 5, 2)
    }

    pub(super) fn millis(&self) -> u64 {
        self.pick(self.millis, 1200, 500)
    }

    pub(super) fn messages(&self) -> u64 {
        self.pick(self.messages, 400_000, 100_000)
    }

    pub(super) fn sustained(&self) -> u64 {
        self.pick(self.sustained, 20_000_000, 1_000_000)
    }

    pub(super) fn late(&self) -> u64 {
        self.pick(self.late, 5_000_000, 500_000)
    }

    pub(super) fn sustained_seconds(&self, kind: Kind) -> u64 {
        let seconds = self.pick(self.sustained_seconds, 200, 20);
        // It takes several times as long; a quarter shows its rate and its curve.
        if kind == Kind::Fjall {
            seconds / 4
        } else {
            seconds
        }
    }

    pub(super) fn deleted(&self) -> u64 {
        self.pick(self.deleted, 10_000_000, 100_000)
    }

    pub(super) fn window_bytes(&self) -> u64 {
        self.pick(self.window_mib, 1024, 64) << 20
    }

    pub(super) fn log_bytes(&self) -> u64 {
        self.pick(self.log_mib, 1024, 64) << 20
    }

    pub(super) fn setup(&self) -> Setup {
        Setup {
            cache_bytes: self.cache_mib << 20,
            memtable_bytes: self.memtable_mib << 20,
            counts: false,
        }
    }
}
