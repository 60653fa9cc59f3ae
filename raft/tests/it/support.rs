//! A state machine that records what it is fed, and a world whose power can be cut.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use lsm::log::{Log, LogOptions};
use lsm::vfs::{FaultyVfs, Vfs};
use parking_lot::{Condvar, Mutex};
use raft::{
    Applied, CommittedBatch, Error, ErrorKind, Group, GroupId, Host, HostOptions, LeaderId, LogId,
    NodeId, Proposed, ReplicaId, Result, SnapshotDirs, StateMachine,
};

/// What a state machine was fed in its present life, and what it would find after a crash.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) batches: Vec<CommittedBatch>,
    pub(crate) blanks: Vec<LogId>,
    pub(crate) memberships: Vec<LogId>,
    /// Raft snapshots of other members that took the place of the state.
    pub(crate) installs: usize,
    pub(crate) last: Option<LogId>,
    membership: Bytes,
    durable: Durable,
    /// What is on its way to the disk.
    frozen: Option<Durable>,
    /// Fails with this error when a command says so.
    refuse: Option<(Bytes, Error)>,
}

#[derive(Clone, Debug, Default)]
struct Durable {
    applied: Applied,
    batches: Vec<CommittedBatch>,
}

/// The handle of a test on a recording state machine. Lives longer than the state machine.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    record: Arc<Mutex<Record>>,
    gate: Arc<Gate>,
    /// Where raft snapshots lie, if it makes any.
    disk: Option<FaultyVfs>,
}

/// Holds applies back while closed.
#[derive(Debug, Default)]
struct Gate {
    closed: Mutex<bool>,
    opened: Condvar,
}

/// The state machine: answers `index.op:command`.
#[derive(Debug)]
pub(crate) struct Recorder(Ledger);

impl Ledger {
    /// A ledger whose state machine makes and installs raft snapshots.
    pub(crate) fn on(disk: &FaultyVfs) -> Self {
        Self {
            disk: Some(disk.clone()),
            ..Self::default()
        }
    }

    /// A state machine as the disk has it: what was not flushed is forgotten.
    pub(crate) fn machine(&self) -> Recorder {
        let mut record = self.record.lock();
        let durable = record.durable.clone();
        let refuse = record.refuse.take();
        *record = Record {
            batches: durable.batches.clone(),
            last: durable.applied.id,
            membership: durable.applied.membership.clone(),
            durable,
            refuse,
            ..Record::default()
        };
        Recorder(self.clone())
    }

    /// A state machine that has kept nothing, as after the loss of its directory.
    pub(crate) fn empty_machine(&self) -> Recorder {
        *self.record.lock() = Record::default();
        Recorder(self.clone())
    }

    /// Makes everything applied so far durable and returns its last index.
    pub(crate) fn flush(&self) -> u64 {
        self.freeze();
        self.write_frozen().unwrap_or(0)
    }

    /// Everything applied so far is on its way to the disk.
    pub(crate) fn freeze(&self) {
        let mut record = self.record.lock();
        let applied = Applied {
            id: record.last,
            membership: record.membership.clone(),
        };
        record.frozen = Some(Durable {
            applied,
            batches: record.batches.clone(),
        });
    }

    /// What was frozen is durable now; its last index.
    pub(crate) fn write_frozen(&self) -> Option<u64> {
        let mut record = self.record.lock();
        record.durable = record.frozen.take()?;
        record.durable.applied.id.map(|last| last.index)
    }

    /// Raft snapshots that were installed since the last time.
    pub(crate) fn take_installs(&self) -> usize {
        std::mem::take(&mut self.record.lock().installs)
    }

    pub(crate) fn with<T>(&self, look: impl FnOnce(&Record) -> T) -> T {
        look(&self.record.lock())
    }

    /// Every command with its index and op, in the order of applying.
    pub(crate) fn commands(&self) -> Vec<(u64, u16, Bytes)> {
        let record = self.record.lock();
        let all = record.batches.iter().flat_map(|batch| {
            let ops = batch.commands.iter().zip(0u16..);
            ops.map(|(command, op)| (batch.id.index, op, command.clone()))
        });
        all.collect()
    }

    /// From now on, applying `command` fails with `error`.
    pub(crate) fn refuse(&self, command: &'static str, error: Error) {
        self.record.lock().refuse = Some((Bytes::from_static(command.as_bytes()), error));
    }

    pub(crate) fn close_gate(&self) {
        *self.gate.closed.lock() = true;
    }

    pub(crate) fn open_gate(&self) {
        *self.gate.closed.lock() = false;
        self.gate.opened.notify_all();
    }
}

/// The answer that a recorder gives to a command.
pub(crate) fn answer(index: u64, op: u16, command: &Bytes) -> Bytes {
    let mut answer = format!("{index}.{op}:").into_bytes();
    answer.extend_from_slice(command);
    answer.into()
}

impl StateMachine for Recorder {
    fn applied(&self) -> Applied {
        self.0.record.lock().durable.applied.clone()
    }

    fn apply(&mut self, batch: CommittedBatch) -> Result<Vec<Bytes>> {
        let mut closed = self.0.gate.closed.lock();
        while *closed {
            self.0.gate.opened.wait(&mut closed);
        }
        drop(closed);
        let mut record = self.0.record.lock();
        if let Some((command, error)) = &record.refuse
            && batch.commands.contains(command)
        {
            assert_ne!(error.kind(), ErrorKind::Bug, "told to panic");
            return Err(error.clone());
        }
        let ops = batch.commands.iter().zip(0u16..);
        let answers = ops
            .map(|(command, op)| answer(batch.id.index, op, command))
            .collect();
        record.last = Some(batch.id);
        record.batches.push(batch);
        Ok(answers)
    }

    fn apply_membership(&mut self, id: LogId, membership: Bytes) -> Result<()> {
        let mut record = self.0.record.lock();
        record.membership = membership;
        record.memberships.push(id);
        record.last = Some(id);
        Ok(())
    }

    fn apply_blank(&mut self, id: LogId) -> Result<()> {
        let mut record = self.0.record.lock();
        record.blanks.push(id);
        record.last = Some(id);
        Ok(())
    }

    fn snapshot_dirs(&self) -> Option<SnapshotDirs> {
        let disk = self.0.disk.clone()?;
        Some(SnapshotDirs {
            vfs: Arc::new(disk),
            dir: "/data/snapshots".into(),
        })
    }

    fn make_snapshot(&mut self, dir: &Path) -> Result<Applied> {
        let disk = self.0.disk.as_ref().expect("it has a disk");
        let durable = self.0.record.lock().durable.clone();
        let put = |name: &str, bytes: &[u8]| -> lsm::Result<()> {
            let file = disk.create(&dir.join(name))?;
            file.write_at(bytes, 0)?;
            file.sync_data()
        };
        let make = || -> lsm::Result<()> {
            put("applied", &encode_applied(&durable.applied))?;
            put("nothing", &[])?;
            for (number, batches) in durable.batches.chunks(64).enumerate() {
                put(&format!("batches-{number:05}"), &encode_batches(batches))?;
            }
            disk.sync_dir(dir)
        };
        make().map_err(|source| Error::new(ErrorKind::Io, "no room").with_source(source))?;
        Ok(durable.applied)
    }

    fn install_snapshot(&mut self, dir: &Path) -> Result<Applied> {
        let disk = self.0.disk.as_ref().expect("it has a disk");
        let get = |name: &str| -> lsm::Result<Bytes> {
            let path = dir.join(name);
            let file = disk.open(&path)?;
            let mut bytes = vec![0; usize::try_from(file.len()?).expect("it fits")];
            lsm::vfs::read_exact_at(file.as_ref(), &path, &mut bytes, 0)?;
            Ok(bytes.into())
        };
        let install = || -> lsm::Result<Durable> {
            let mut names = disk.list(dir)?;
            names.sort_unstable();
            let mut batches = Vec::new();
            for name in names.iter().filter(|name| name.starts_with("batches-")) {
                batches.extend(decode_batches(get(name)?));
            }
            let applied = decode_applied(get("applied")?);
            for name in names {
                disk.remove(&dir.join(name))?;
            }
            Ok(Durable { applied, batches })
        };
        let durable = install()
            .map_err(|source| Error::new(ErrorKind::Io, "not readable").with_source(source))?;
        let mut record = self.0.record.lock();
        record.batches.clone_from(&durable.batches);
        record.last = durable.applied.id;
        record.membership.clone_from(&durable.applied.membership);
        record.installs += 1;
        record.frozen = None;
        let applied = durable.applied.clone();
        record.durable = durable;
        Ok(applied)
    }
}

fn put_id(out: &mut BytesMut, id: LogId) {
    out.put_u64_le(id.leader.term);
    out.put_u64_le(id.leader.node);
    out.put_u64_le(id.index);
}

fn get_id(bytes: &mut Bytes) -> LogId {
    let leader = LeaderId {
        term: bytes.get_u64_le(),
        node: bytes.get_u64_le(),
    };
    let index = bytes.get_u64_le();
    LogId { leader, index }
}

fn encode_applied(applied: &Applied) -> Bytes {
    let mut out = BytesMut::new();
    put_id(&mut out, applied.id.expect("something is applied"));
    out.put_slice(&applied.membership);
    out.freeze()
}

fn decode_applied(mut bytes: Bytes) -> Applied {
    Applied {
        id: Some(get_id(&mut bytes)),
        membership: bytes,
    }
}

fn encode_batches(batches: &[CommittedBatch]) -> Bytes {
    let mut out = BytesMut::new();
    for batch in batches {
        put_id(&mut out, batch.id);
        out.put_u64_le(batch.proposed_us);
        out.put_u32_le(u32::try_from(batch.commands.len()).expect("it fits"));
        for command in &batch.commands {
            out.put_u32_le(u32::try_from(command.len()).expect("it fits"));
            out.put_slice(command);
        }
    }
    out.freeze()
}

fn decode_batches(mut bytes: Bytes) -> Vec<CommittedBatch> {
    let mut batches = Vec::new();
    while bytes.has_remaining() {
        let id = get_id(&mut bytes);
        let proposed_us = bytes.get_u64_le();
        let count = bytes.get_u32_le();
        let commands = (0..count).map(|_| {
            let len = usize::try_from(bytes.get_u32_le()).expect("it fits");
            bytes.split_to(len)
        });
        batches.push(CommittedBatch {
            id,
            proposed_us,
            commands: commands.collect(),
        });
    }
    batches
}

/// A disk and the lives of a process on it.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) vfs: FaultyVfs,
    /// Of the log, in bytes.
    pub(crate) segment_bytes: u64,
}

/// Of the log, unless a world has others.
pub(crate) const SEGMENT_BYTES: u64 = 16 * 1024 * 1024;

pub(crate) const GROUP: GroupId = GroupId(7);
/// The first replica of the first node.
pub(crate) const ONE: ReplicaId = replica(1);

/// The first replica of a node.
pub(crate) const fn replica(node: u32) -> ReplicaId {
    ReplicaId::new(NodeId(node), 0)
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        println!("seed {seed}");
        Self {
            vfs: FaultyVfs::new(seed),
            segment_bytes: SEGMENT_BYTES,
        }
    }

    /// Opens the log and starts a host.
    pub(crate) fn host(&self, options: HostOptions) -> Host {
        self.try_host(options).expect("the host starts")
    }

    /// The shared log while no host runs.
    pub(crate) fn log(&self) -> lsm::Result<Log> {
        let options = LogOptions {
            segment_bytes: self.segment_bytes,
            ..LogOptions::default()
        };
        Log::open(Arc::new(self.vfs.clone()), Path::new("/data/log"), options)
    }

    pub(crate) fn try_host(&self, options: HostOptions) -> Result<Host> {
        let dir = Path::new("/data/log");
        open_host(Arc::new(self.vfs.clone()), dir, self.segment_bytes, options)
    }
}

/// One life of a process with threads. Everything of it is gone when this returns.
pub(crate) fn life<T>(life: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime starts");
    let outcome = runtime.block_on(life);
    drop(runtime);
    outcome
}

/// One life on a single thread: futures run in the order in which they were made ready.
pub(crate) fn quiet_life<T>(life: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime starts");
    let outcome = runtime.block_on(life);
    drop(runtime);
    outcome
}

pub(crate) fn open_host(
    vfs: Arc<dyn Vfs>,
    dir: &Path,
    segment_bytes: u64,
    options: HostOptions,
) -> Result<Host> {
    let small = LogOptions {
        segment_bytes,
        ..LogOptions::default()
    };
    let log = Log::open(vfs, dir, small)
        .map_err(|source| Error::new(ErrorKind::Io, "the log does not open").with_source(source))?;
    Host::start(log, options)
}

pub(crate) fn command(number: usize) -> Bytes {
    Bytes::from(format!("command-{number}"))
}

/// Proposes all `commands` at once and waits for all outcomes, in order.
pub(crate) async fn propose_all(group: &Group, commands: &[Bytes]) -> Vec<Result<Proposed>> {
    let proposals = commands
        .iter()
        .map(|command| group.propose(command.clone()));
    futures::future::join_all(proposals).await
}

/// Waits until `holds`, looking again after every yield; gives up after ten seconds.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(10), wait).await;
    assert!(waited.is_ok(), "never happened: {what}");
}

/// A small generator, so that a seed means the same everywhere (splitmix64).
#[derive(Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % limit
    }
}
