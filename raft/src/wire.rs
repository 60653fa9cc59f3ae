//! Reading little-endian fields from bytes that may be damaged or hostile.
//!
//! Every read checks the length first and says what was expected where; nothing here panics or
//! allocates by a length that was not checked against the bytes at hand.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
#![deny(clippy::cast_possible_truncation)]

use bytes::{Buf, Bytes};

use crate::error::{Error, Result};

/// A reader over one encoded value.
pub(crate) struct Reader {
    what: &'static str,
    total: usize,
    rest: Bytes,
}

impl Reader {
    /// Starts reading `bytes`, called `what` in errors.
    pub(crate) fn new(what: &'static str, bytes: Bytes) -> Self {
        Self {
            what,
            total: bytes.len(),
            rest: bytes,
        }
    }

    /// Bytes that are left.
    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn u8(&mut self, field: &str) -> Result<u8> {
        self.need(1, field)?;
        Ok(self.rest.get_u8())
    }

    pub(crate) fn u16(&mut self, field: &str) -> Result<u16> {
        self.need(2, field)?;
        Ok(self.rest.get_u16_le())
    }

    pub(crate) fn u32(&mut self, field: &str) -> Result<u32> {
        self.need(4, field)?;
        Ok(self.rest.get_u32_le())
    }

    pub(crate) fn u64(&mut self, field: &str) -> Result<u64> {
        self.need(8, field)?;
        Ok(self.rest.get_u64_le())
    }

    /// The next `len` bytes, shared and not copied.
    pub(crate) fn bytes(&mut self, len: usize, field: &str) -> Result<Bytes> {
        self.need(len, field)?;
        Ok(self.rest.split_to(len))
    }

    /// Refuses bytes after the end of the value.
    pub(crate) fn finish(self) -> Result<()> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(self.corrupt(&format!("the end, found {} more bytes", self.rest.len())))
    }

    /// An error that says what was expected at the present offset.
    pub(crate) fn corrupt(&self, expected: &str) -> Error {
        let offset = self.total.saturating_sub(self.rest.len());
        Error::corrupt(format!(
            "{} of {} bytes: at offset {offset} expected {expected}",
            self.what, self.total
        ))
    }

    fn need(&self, len: usize, field: &str) -> Result<()> {
        if self.rest.len() >= len {
            return Ok(());
        }
        Err(self.corrupt(&format!(
            "{field} ({len} bytes), found {} bytes",
            self.rest.len()
        )))
    }
}
