//! The engine of one tablet: memtables, SSTables and the manifest of all its tables.

mod request;

pub use request::{
    Flushed, ReadStats, ScanPage, ScanPartition, ScanPosition, ScanRead, SlicePage, SliceRead,
};
