//! Merging what several sources know about one partition.
//!
//! # Invariants
//!
//! * Cursors stand at places in reading order. The deletion of a range in force at a row is the
//!   newest of those that the cursors say are in force before their current item.
//! * A block ahead is skipped unread only if nothing in it can matter: either nothing in it is
//!   visible and no other source has anything in its range, or a deletion that covers its whole
//!   range is newer than all of it.
//!
//! # Cost
//!
//! Where one source alone has rows up to where the next source stands, they are handed out as a
//! run: one comparison per row, or none if there is no other source, and no look into rows of a
//! block that is known to be plain. Elsewhere one comparison per cursor and row; there are few
//! cursors. Dead rows allocate nothing.

mod memory;
mod merger;
mod page;
mod slice;

pub(crate) use memory::MemCursor;
pub(crate) use merger::{Cursor, Merger, Next};
pub(crate) use page::{PageBuilder, PageMemory};
pub(crate) use slice::{Reading, RowLimits};
