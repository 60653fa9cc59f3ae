//! One tablet's share of every table: applying commands to the engine, reading rows from it.
//!
//! Everything here is a function of the log and of the request: the clock of a write is the log's,
//! the time of a read is an argument, and conditions see exactly what the log put there before them.

mod apply;
mod counters;
mod cursor;
mod dedupe;
mod guard;
mod owner;
mod page;
mod rows;
mod silent;
mod snapshot;
mod split;
mod state;
mod state_machine;
mod store;

pub use cursor::ReadCursor;
pub(crate) use owner::Owner;
pub(crate) use rows::{cells_of, cells_value};
pub(crate) use snapshot::{beside, clear_snapshots};
pub(crate) use split::{read_seed, remove_seed, seed_directory, seeds};
pub(crate) use state_machine::{Tablet, TabletMachine};
pub(crate) use store::table_options;
pub use store::{Applied, Store};
