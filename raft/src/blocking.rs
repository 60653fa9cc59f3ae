//! Work that may wait for a disk, on whatever runtime there is.

use tokio::runtime::{Handle, RuntimeFlavor};

/// Whether this thread may wait for a disk or for another thread: it may not if it is the only one of its runtime, as in a
/// simulation, because what it waits for may need this very thread.
pub fn may_block() -> bool {
    Handle::try_current().map_or(true, |runtime| {
        !matches!(runtime.runtime_flavor(), RuntimeFlavor::CurrentThread)
    })
}

/// Runs `work` here; where the runtime has several threads, the other tasks of this one move away first, so
/// that they do not wait with it. That wakes another thread: it costs as much as some tens of rows.
pub fn blocking<T>(work: impl FnOnce() -> T) -> T {
    let many = Handle::try_current()
        .is_ok_and(|runtime| matches!(runtime.runtime_flavor(), RuntimeFlavor::MultiThread));
    if many {
        tokio::task::block_in_place(work)
    } else {
        work()
    }
}
