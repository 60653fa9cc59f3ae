//! `chatdb tablet`: looks after the files of a stopped database.
//!
//! `verify`, `dump` and `estimate` write nothing. `compact` and `digest` open the tablets as the
//! server does. All of them see what was flushed; what is only in the log is applied when the
//! server starts.

mod dump;
mod engines;
mod verify;

use crate::cli::Stop;
use crate::cli::screen::Screen;
use crate::error::{Error, Result};
use crate::group0::{System, SystemState};
use crate::node::environment::lock_stopped;
use crate::node::opener::parse_directory;
use clap::{Args, Subcommand};
use lsm::Inspection;
use lsm::vfs::{Lock, OsVfs, Vfs};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Debug, Subcommand)]
pub(crate) enum Tablet {
    /// Reads every block and checks checksums, order and statistics
    Verify(Area),
    /// Lists the files of a tablet, or prints every entry of one as it is stored
    Dump(Dump),
    /// Says for each table and window what it holds and what merging would do
    Estimate(Area),
    /// Merges until there is nothing to merge; safe to interrupt
    Compact(Area),
    /// Prints digests of what is visible, to compare copies
    Digest(Area),
}

/// Which tablets of which directory.
#[derive(Debug, Args)]
pub(crate) struct Area {
    /// Data directory of a stopped database
    #[arg(long, value_name = "DIR", env = "CHATDB_DATA")]
    data: PathBuf,
    /// This tablet alone, by its group as `chatdb status` shows it
    #[arg(long, value_name = "GROUP")]
    tablet: Option<u64>,
    /// JSON instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Dump {
    #[command(flatten)]
    area: Area,
    /// Number of the file: 12 for 000012.sst
    #[arg(long, value_name = "N", requires = "tablet")]
    file: Option<u64>,
}

/// A data directory that nobody else has open.
struct Stopped {
    vfs: Arc<dyn Vfs>,
    state: SystemState,
    /// The newest replica of each tablet that is here.
    dirs: BTreeMap<u64, PathBuf>,
    groups: Vec<u64>,
    _lock: Box<dyn Lock>,
}

pub(crate) fn run(command: &Tablet, screen: &Screen) -> std::result::Result<(), Stop> {
    match command {
        Tablet::Verify(area) => verify::run(area, screen),
        Tablet::Dump(arguments) => dump::run(arguments, screen),
        Tablet::Estimate(area) => dump::estimate(area, screen),
        Tablet::Compact(area) => engines::compact(area, screen),
        Tablet::Digest(area) => engines::digest(area, screen),
    }
}

/// The directory of the newest replica of each tablet.
fn directories(vfs: &dyn Vfs, data: &Path) -> Result<BTreeMap<u64, PathBuf>> {
    let tablets = data.join("tablets");
    let names = vfs.list(&tablets)?;
    let mut found: Vec<_> = names
        .iter()
        .filter_map(|name| parse_directory(name))
        .collect();
    found.sort_unstable();
    let newest = found
        .into_iter()
        .map(|(group, generation)| (group, tablets.join(format!("{group}.{generation}"))));
    Ok(newest.collect())
}

impl Stopped {
    fn open(area: &Area) -> Result<Self> {
        let data = &area.data;
        let vfs: Arc<dyn Vfs> = Arc::new(OsVfs);
        if !vfs.exists(&data.join("group0").join("state"))? {
            let message = format!("{} holds no database", data.display());
            return Err(Error::not_found(message).with_help("try", "--data DIR of chatdb serve"));
        }
        let lock = lock_stopped(&*vfs, data)?;
        let state = System::open(Arc::clone(&vfs), &data.join("group0"))?.state();
        let dirs = directories(&*vfs, data)?;
        let groups: Vec<u64> = dirs
            .keys()
            .filter(|group| area.tablet.is_none_or(|wanted| wanted == **group))
            .copied()
            .collect();
        if groups.is_empty() {
            let known: Vec<String> = dirs.keys().map(ToString::to_string).collect();
            let message = "there is no such tablet";
            return Err(Error::not_found(message).with_help("tablets", known.join(", ")));
        }
        Ok(Self {
            vfs,
            state,
            dirs,
            groups,
            _lock: lock,
        })
    }

    fn dir(&self, group: u64) -> PathBuf {
        self.dirs.get(&group).cloned().unwrap_or_default()
    }

    fn inspect(&self, group: u64) -> Result<Inspection> {
        Ok(Inspection::open(Arc::clone(&self.vfs), &self.dir(group))?)
    }

    /// `keyspace.table`, or the number of a table that was dropped.
    fn table_name(&self, id: lsm::TableId) -> String {
        let catalog = &self.state.catalog;
        let table = catalog.tables().find(|table| table.id == id);
        table.map_or_else(
            || format!("dropped table {}", id.0),
            |table| format!("{}.{}", table.keyspace, table.name),
        )
    }
}

/// The first and the last window of a file as people read them.
fn window_names((first, last): (lsm::Window, lsm::Window)) -> String {
    if first == last {
        window_name(first)
    } else {
        format!("{} to {}", first.0, last.0)
    }
}

/// A window as people read it.
fn window_name(window: lsm::Window) -> String {
    if window == lsm::Window::TIMELESS {
        "-".to_owned()
    } else if window == lsm::Window::MIXED {
        "mixed".to_owned()
    } else {
        window.0.to_string()
    }
}
