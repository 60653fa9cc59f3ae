//! The `chatdb` program.

use std::process::ExitCode;

/// The threads of a node hand each other buffers of a few dozen sizes, many of each at a time, which glibc's allocator
/// merges and splits again: a fifth of a node's processor time under writes. Two arenas keep an idle node as small as
/// it was. Figures: `docs/decisions/0004-libraries.md`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What the allocator reads when it starts: the name is its own.
#[expect(
    unsafe_code,
    reason = "the allocator finds its settings by their unsafe name"
)]
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static ALLOCATOR_SETTINGS: &[u8; 62] =
    b"narenas:2,dirty_decay_ms:100,muzzy_decay_ms:0,tcache_max:1024\0";

fn main() -> ExitCode {
    chatdb::cli::main()
}
