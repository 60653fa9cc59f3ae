//! Every hard limit of the crate, in one place, with its unit and how the limits relate.
//!
//! A decoder checks the limit before it allocates, so that damaged or hostile bytes cost an
//! error and not memory.

/// Unit of atomic replacement on disk and of checksumming in the log, in bytes. Frozen: part of
/// the log format.
pub const PAGE_BYTES: usize = 4096;

/// Largest payload of one log entry, in bytes. A log with small segments allows less, see
/// [`crate::log::LogOptions::entry_bytes_max`].
pub const ENTRY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Smallest log segment, in bytes.
pub const SEGMENT_BYTES_MIN: u64 = 64 * 1024;

/// Largest log segment, in bytes. Frozen: page numbers in the log are 32 bits wide.
pub const SEGMENT_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// Most groups in one log. All of them are written down again at the start of every segment.
pub const LOG_GROUPS_MAX: usize = 16 * 1024;

/// Largest text or blob inside an ordered key, in bytes before encoding.
pub const KEY_COMPONENT_BYTES_MAX: usize = 64 * 1024 - 1;

/// Largest ordered key, in encoded bytes.
pub const KEY_BYTES_MAX: usize = 256 * 1024;

const _: () = assert!(SEGMENT_BYTES_MIN.is_multiple_of(PAGE_BYTES as u64));
const _: () = assert!(SEGMENT_BYTES_MAX / (PAGE_BYTES as u64) <= u32::MAX as u64);
// Escaping at most doubles a component and adds two bytes, so one of any size always fits a key.
const _: () = assert!(KEY_COMPONENT_BYTES_MAX * 2 + 2 <= KEY_BYTES_MAX);

/// Largest encoded row, in bytes, that the formats hold.
pub const ROW_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Most cells, and most collection deletions, of one row that the formats hold.
pub const CELLS_PER_ROW_MAX: usize = 1 << 23;

/// Largest row that writes may make, and most bytes that one operation writes, in bytes; see
/// [`crate::Engine::check_room`].
pub const ROW_ADMITTED_BYTES_MAX: usize = ROW_BYTES_MAX / 4;

/// Most cells of a row that writes may make, and most that one operation writes.
pub const CELLS_ADMITTED_MAX: usize = 1 << 19;

/// Largest path of a cell (element key of a collection), in bytes.
pub const PATH_BYTES_MAX: usize = 64 * 1024;

/// Largest key of a partition or of a row, in bytes.
pub const ENGINE_KEY_BYTES_MAX: usize = KEY_BYTES_MAX;

/// Largest data or index block before compression, in bytes: a static row and a row of the largest
/// size, their keys, and the arrays around them.
pub const BLOCK_BYTES_MAX: usize = 2 * ROW_BYTES_MAX + 2 * 1024 * 1024;

/// Largest compression dictionary of an SSTable, in bytes.
pub const DICTIONARY_BYTES_MAX: usize = 256 * 1024;

/// Largest section of an SSTable (directory, filter, top index) before compression, in bytes.
pub const SECTION_BYTES_MAX: usize = 256 * 1024 * 1024;

const _: () = assert!(2 * ROW_BYTES_MAX + 4 * ENGINE_KEY_BYTES_MAX < BLOCK_BYTES_MAX);

/// Largest owner bytes of a flush, in bytes.
pub const OWNER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Largest edit of a manifest, in bytes.
pub const EDIT_BYTES_MAX: usize = 256 * 1024 * 1024;

const _: () = assert!(OWNER_BYTES_MAX < EDIT_BYTES_MAX);
