//! A bounded cursor over untrusted bytes.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::path::Path;

use crate::error::Error;

/// What was wrong with some bytes, relative to their start; the caller knows the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// Offset of the problem from the start of the decoded bytes, in bytes.
    pub at: usize,
    /// What sound bytes would hold there.
    pub expected: &'static str,
}

impl DecodeError {
    /// The same problem as an [`Error`] of `file`, whose decoded bytes begin at `base` bytes.
    pub fn in_file(self, file: &Path, base: u64) -> Error {
        let at = u64::try_from(self.at).unwrap_or(u64::MAX);
        Error::corrupt(
            file,
            base.saturating_add(at),
            self.expected,
            "something else",
        )
    }
}

impl std::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "byte {}: expected {}", self.at, self.expected)
    }
}

impl std::error::Error for DecodeError {}

/// Reads numbers and slices from the front of a byte slice. Never panics, never allocates.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// A reader at the first of `bytes`.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes read so far.
    pub fn position(&self) -> usize {
        self.at
    }

    /// What is left.
    #[inline]
    pub fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// Whether everything was read.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.rest().is_empty()
    }

    /// An error at the current position.
    #[inline]
    pub fn error(&self, expected: &'static str) -> DecodeError {
        DecodeError {
            at: self.at,
            expected,
        }
    }

    /// The next `len` bytes.
    #[inline]
    pub fn take(&mut self, len: usize, expected: &'static str) -> Result<&'a [u8], DecodeError> {
        let taken = self.rest().get(..len).ok_or_else(|| self.error(expected))?;
        self.at = self.at.saturating_add(len);
        Ok(taken)
    }

    /// The next `N` bytes as an array.
    #[inline]
    pub fn array<const N: usize>(
        &mut self,
        expected: &'static str,
    ) -> Result<[u8; N], DecodeError> {
        let at = self.at;
        let taken = self.take(N, expected)?;
        taken.try_into().map_err(|_| DecodeError { at, expected })
    }

    /// One byte.
    #[inline]
    pub fn u8(&mut self, expected: &'static str) -> Result<u8, DecodeError> {
        self.array::<1>(expected).map(|[byte]| byte)
    }

    /// A 16-bit number, little endian.
    pub fn u16(&mut self, expected: &'static str) -> Result<u16, DecodeError> {
        self.array(expected).map(u16::from_le_bytes)
    }

    /// A 32-bit number, little endian.
    pub fn u32(&mut self, expected: &'static str) -> Result<u32, DecodeError> {
        self.array(expected).map(u32::from_le_bytes)
    }

    /// A 64-bit number, little endian.
    pub fn u64(&mut self, expected: &'static str) -> Result<u64, DecodeError> {
        self.array(expected).map(u64::from_le_bytes)
    }

    /// A varint of at most 64 bits, see [`super::varint`].
    #[inline]
    pub fn varint(&mut self, expected: &'static str) -> Result<u64, DecodeError> {
        let (value, len) =
            super::varint::decode(self.rest()).ok_or_else(|| self.error(expected))?;
        self.at = self.at.saturating_add(len);
        Ok(value)
    }

    /// A varint length of at most `limit`, then that many bytes.
    #[inline]
    pub fn prefixed(
        &mut self,
        limit: usize,
        expected: &'static str,
    ) -> Result<&'a [u8], DecodeError> {
        let at = self.at;
        let len = usize::try_from(self.varint(expected)?).unwrap_or(usize::MAX);
        if len > limit {
            return Err(DecodeError { at, expected });
        }
        self.take(len, expected)
    }
}
