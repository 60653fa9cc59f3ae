//! Collects the visible rows of a page.

use bytes::Bytes;

use super::slice::RowLimits;
use crate::row::view::RowAt;
use crate::row::{Fragment, Rows, Timestamp, codec};

/// Rows expected at most when room is made ahead.
const RESERVED_ROWS_MAX: usize = 64;
/// Own bytes at which a further buffer is begun: offsets in a buffer are 32 bits.
const OWN_BYTES_MAX: usize = 1 << 30;

/// A page that is being read.
#[derive(Debug)]
pub(crate) struct PageBuilder {
    rows: Rows,
    /// Rows that had to be merged, and the number of the buffer that they become.
    own: Vec<u8>,
    own_number: Option<u32>,
    /// Bytes of keys and encoded rows.
    pub(crate) bytes: usize,
    limit_rows: usize,
    limit_bytes: usize,
}

impl PageBuilder {
    /// An empty page.
    pub(crate) fn new(limits: RowLimits) -> Self {
        Self {
            rows: Rows::default(),
            own: Vec::new(),
            own_number: None,
            bytes: 0,
            limit_rows: limits.rows,
            limit_bytes: limits.bytes,
        }
    }

    /// Whether a limit is reached.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.rows.len() >= self.limit_rows || self.bytes >= self.limit_bytes
    }

    /// Registers a buffer that rows are taken from as they are.
    pub(crate) fn buffer(&mut self, bytes: &Bytes, base: Timestamp) -> u32 {
        if self.rows.is_empty() {
            self.rows.reserve(self.limit_rows.min(RESERVED_ROWS_MAX));
        }
        self.rows.buffer(bytes, base)
    }

    /// Takes a row of a registered buffer as it is.
    #[inline]
    pub(crate) fn take(&mut self, buffer: u32, row: RowAt) {
        self.bytes = self.bytes.saturating_add(row.len());
        self.rows.push(buffer, row);
    }

    /// Adds what is visible of a merged row.
    pub(crate) fn add(&mut self, key: &[u8], visible: &Fragment) {
        if self.own.len() >= OWN_BYTES_MAX {
            self.seal();
        }
        let number = match self.own_number {
            Some(number) => number,
            None => *self
                .own_number
                .insert(self.rows.buffer(&Bytes::new(), Timestamp::ZERO)),
        };
        let key_at = offset(self.own.len());
        self.own.extend_from_slice(key);
        let body_at = offset(self.own.len());
        codec::encode(visible, Timestamp::ZERO, &mut self.own);
        let end = offset(self.own.len());
        self.take(
            number,
            RowAt {
                key_at,
                body_at,
                end,
            },
        );
    }

    /// The key of the last row.
    pub(crate) fn last_key(&self) -> Option<Bytes> {
        let (buffer, row) = self.rows.last_slot()?;
        let bytes = if Some(buffer) == self.own_number {
            row.key(&self.own)
        } else {
            row.key(self.rows.bytes(buffer))
        };
        Some(Bytes::copy_from_slice(bytes))
    }

    /// The rows.
    pub(crate) fn finish(mut self) -> Rows {
        self.seal();
        self.rows
    }

    fn seal(&mut self) {
        if let Some(number) = self.own_number.take() {
            self.rows
                .fill(number, Bytes::from(std::mem::take(&mut self.own)));
        }
    }
}

/// Fits: a buffer holds at most [`OWN_BYTES_MAX`] and one row, which is far smaller.
fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
