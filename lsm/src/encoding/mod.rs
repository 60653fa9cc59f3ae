//! Small pieces that every on-disk format of this crate is made of.
//!
//! Numbers are little endian everywhere except in [`crate::ordered`], where the order of the
//! bytes is the point. Readers return errors instead of panicking and never allocate.

pub mod checksum;
pub mod reader;
pub mod varint;

pub use reader::{DecodeError, Reader};
