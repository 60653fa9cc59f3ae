//! Instructions per operation of the storage engine alone, counted by callgrind and held against a kept baseline.
//!
//! `gate check` runs each stage of the engine under `valgrind --tool=callgrind`, with N and with 2 N rows, so that the
//! difference holds nothing of the start. It fails when a stage costs more or less than the baseline by over 3 %:
//! less is good news that belongs into the baseline, with `gate update`. Files and log are in memory, one thread does
//! everything, and rows come from a counter, so that two runs count the same.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use clap::{Parser, ValueEnum};
use lsm::log::{Entry, GroupId, LeaderId, Log, LogId, LogOptions};
use lsm::vfs::{MemoryVfs, Vfs};
use lsm::{
    CellValue, CellWrite, Change, ColumnId, Engine, EngineOptions, Liveness, Mutation, Operation,
    PartitionKey, SliceRead, TableId, TableOptions, Timestamp, Window, WindowOptions,
};

/// A stage may differ from the baseline by this share.
const TOLERANCE: f64 = 0.03;
const TABLE: TableId = TableId(1);
/// Key and value of a row together.
const ROW_BYTES: usize = 128;
const CHANNELS: u64 = 64;
const WINDOW_MS: u64 = 864_000_000;
const PAGE_ROWS: usize = 50;

/// Count instructions of the storage engine.
#[derive(Debug, Parser)]
#[command(name = "gate")]
enum Cli {
    /// Count every stage and compare it with the baseline
    Check {
        /// The baseline
        #[arg(default_value = "bench/gate.json")]
        baseline: PathBuf,
    },
    /// Count every stage and write the baseline
    Update {
        /// The baseline
        #[arg(default_value = "bench/gate.json")]
        baseline: PathBuf,
    },
    /// Do the work of one stage; this is what callgrind watches
    Stage {
        /// Which
        stage: Stage,
        /// With how many rows
        rows: u64,
    },
}

/// A part of the engine's work. Each does what the ones before it do, so that differences tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Stage {
    /// Make the rows and nothing else
    Rows,
    /// And write them to the log, 64 to a group commit
    Log,
    /// And apply them to the memtable
    Apply,
    /// And flush the memtable every 4096 rows
    Flush,
    /// And seal the window: merge all files into one
    Seal,
    /// And read a newest-50 page for every 16th row
    Page,
}

const STAGES: [Stage; 6] = [
    Stage::Rows,
    Stage::Log,
    Stage::Apply,
    Stage::Flush,
    Stage::Seal,
    Stage::Page,
];
/// A stage runs with so many rows and with twice as many. The training of a dictionary is part of sealing, and its
/// share falls with the size of the window.
const ROWS: u64 = 16 * 1024;
const ROWS_PER_PAGE: u64 = 16;

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the figures are this program's output"
)]
fn main() -> ExitCode {
    let done = match Cli::parse() {
        Cli::Check { baseline } => check(&baseline),
        Cli::Update { baseline } => update(&baseline),
        Cli::Stage { stage, rows } => work(stage, rows).map(|()| String::new()),
    };
    match done {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("gate: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn check(baseline: &Path) -> Result<String> {
    let kept = std::fs::read_to_string(baseline)
        .with_context(|| format!("read {}", baseline.display()))?;
    let kept: BTreeMap<String, f64> = serde_json::from_str(&kept)?;
    let mut text = String::new();
    let mut worst: Option<String> = None;
    for (name, now) in count_all()? {
        let before = *kept
            .get(&name)
            .with_context(|| format!("{name} is not in {}", baseline.display()))?;
        let change = now / before - 1.0;
        writeln!(
            text,
            "{name}: {now:.0} instructions, baseline {before:.0}, {:+.2} %",
            change * 100.0
        )?;
        if change.abs() > TOLERANCE {
            worst = Some(name);
        }
    }
    if let Some(name) = worst {
        bail!(
            "{name} is off its baseline by more than {:.0} %:\n{text}if this is meant, run `make bench-gate-update` and \
             say why in the commit",
            TOLERANCE * 100.0
        );
    }
    Ok(text)
}

fn update(baseline: &Path) -> Result<String> {
    let counted = count_all()?;
    let json = serde_json::to_string_pretty(&counted)? + "\n";
    std::fs::write(baseline, &json).with_context(|| format!("write {}", baseline.display()))?;
    Ok(json)
}

/// Instructions per row of each stage alone, per page of the last one, and of what a stored row costs in all.
fn count_all() -> Result<BTreeMap<String, f64>> {
    let mut counted = BTreeMap::new();
    let mut before = 0.0;
    let mut rows = 0.0;
    for stage in STAGES {
        let more = instructions(stage, 2 * ROWS)?.saturating_sub(instructions(stage, ROWS)?);
        let each = float(more) / float(ROWS);
        let name = stage.to_possible_value().context("a name")?;
        let operations = match stage {
            Stage::Page => float(ROWS_PER_PAGE),
            _ => 1.0,
        };
        counted.insert(
            name.get_name().to_owned(),
            ((each - before) * operations).round(),
        );
        if stage == Stage::Rows {
            rows = each;
        }
        if stage == Stage::Apply {
            counted.insert(
                "applied row, log and memtable".to_owned(),
                (each - rows).round(),
            );
        }
        if stage == Stage::Seal {
            counted.insert(
                "applied row, log to sealed file".to_owned(),
                (each - rows).round(),
            );
        }
        before = each;
    }
    Ok(counted)
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn float(count: u64) -> f64 {
    count as f64
}

/// Instructions that this program executes for one stage, as callgrind counts them.
fn instructions(stage: Stage, rows: u64) -> Result<u64> {
    let name = stage.to_possible_value().context("a name")?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe()?)
        .args(["stage", name.get_name(), &rows.to_string()])
        .output()
        .context("run valgrind: install the package 'valgrind'")?;
    let told = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "valgrind failed:\n{told}");
    let line = told.lines().find_map(|line| line.split_once("Collected :"));
    let (_, collected) = line.with_context(|| format!("no count in:\n{told}"))?;
    Ok(collected.trim().parse()?)
}

fn work(stage: Stage, rows: u64) -> Result<()> {
    let vfs: Arc<dyn Vfs> = Arc::new(MemoryVfs::new());
    let log = Log::open(Arc::clone(&vfs), Path::new("/log"), LogOptions::default())?;
    let engine = Engine::open(vfs, Path::new("/tablet"), EngineOptions::default())?;
    let windowed = Some(WindowOptions {
        window_ms: WINDOW_MS,
        origin_ms: 0,
    });
    engine.define_table(TABLE, TableOptions { windowed })?;
    for index in 1..=rows {
        let row = std::hint::black_box(row(index));
        if stage >= Stage::Log {
            append(&log, index, rows, &row)?;
        }
        if stage >= Stage::Apply {
            let change = change(index, row);
            engine.apply(index, Timestamp(index), std::slice::from_ref(&change))?;
        }
        if stage >= Stage::Flush && index.is_multiple_of(4096) {
            engine.freeze(Bytes::new())?;
            while engine.flush_step()? {}
        }
    }
    if stage >= Stage::Seal {
        while engine.compact_step(3 * WINDOW_MS)? {}
        anyhow::ensure!(engine.metrics().files == 1, "the window is not sealed");
    }
    if stage >= Stage::Page {
        for index in (1..=rows).step_by(usize::try_from(ROWS_PER_PAGE)?) {
            let read = SliceRead::all(TABLE, partition(index), PAGE_ROWS, 3 * WINDOW_MS);
            let page = std::hint::black_box(engine.read(&read)?);
            anyhow::ensure!(page.rows.len() == PAGE_ROWS, "a page of other size");
        }
    }
    Ok(())
}

/// Hands an entry to the log, and commits at every 64th and at the last.
fn append(log: &Log, index: u64, rows: u64, row: &Bytes) -> Result<()> {
    let leader = LeaderId { term: 1, node: 1 };
    let entry = Entry {
        id: LogId { leader, index },
        payload: row.clone(),
    };
    log.append(GroupId(1), vec![entry], Box::new(|_| ()))?;
    if index.is_multiple_of(64) || index == rows {
        while log.flush()? {}
    }
    Ok(())
}

/// The value of row `index`: 8 bytes of a key are the row's, the rest is text that compresses about by half.
fn row(index: u64) -> Bytes {
    let mut mixed = index.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut value = Vec::with_capacity(ROW_BYTES - 8);
    while value.len() < ROW_BYTES - 8 {
        mixed ^= mixed << 13;
        mixed ^= mixed >> 7;
        mixed ^= mixed << 17;
        value.push(b'a' + u8::try_from(mixed & 15).unwrap_or(0));
    }
    Bytes::from(value)
}

fn partition(index: u64) -> PartitionKey {
    let channel = index % CHANNELS;
    PartitionKey {
        token: channel.wrapping_mul(0x9E37_79B9_7F4A_7C15),
        key: Bytes::copy_from_slice(&channel.to_be_bytes()),
        window: Window(0),
    }
}

fn change(index: u64, row: Bytes) -> Change {
    let cell = CellWrite {
        column: ColumnId(1),
        path: Bytes::new(),
        value: CellValue::Live(row),
    };
    let operation = Operation::Upsert {
        clustering: Bytes::copy_from_slice(&(!index).to_be_bytes()),
        liveness: Some(Liveness {
            expires_at_ms: None,
        }),
        cells: vec![cell],
    };
    Change::Mutation(Mutation {
        table: TABLE,
        partition: partition(index),
        operations: vec![operation],
    })
}
