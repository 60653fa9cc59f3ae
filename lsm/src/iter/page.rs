//! Collects the visible rows of a page.

use bytes::Bytes;

use super::slice::RowLimits;
use crate::admission::Permit;
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
    memory: PageMemory,
}

/// The bytes that pages keep alive, those of whole blocks included, and how many they may.
#[derive(Debug)]
pub(crate) struct PageMemory {
    held: usize,
    granted: usize,
    permit: Option<Permit>,
}

impl PageMemory {
    /// As much as the permit allows, if there is one.
    pub(crate) fn new(permit: Option<Permit>) -> Self {
        let granted = permit.as_ref().map_or(usize::MAX, Permit::bytes);
        Self {
            held: 0,
            granted,
            permit,
        }
    }

    fn hold(&mut self, more: usize) {
        self.held = self.held.saturating_add(more);
    }

    fn is_used_up(&self) -> bool {
        self.held >= self.granted
    }

    /// Gets more, if there is more to be had.
    fn grow(&mut self) -> bool {
        while self.is_used_up() {
            let Some(permit) = &mut self.permit else {
                return false;
            };
            if !permit.grow() {
                return false;
            }
            self.granted = permit.bytes();
        }
        true
    }
}

impl PageBuilder {
    /// An empty page in this memory.
    pub(crate) fn new(limits: RowLimits, memory: PageMemory) -> Self {
        Self {
            rows: Rows::default(),
            own: Vec::new(),
            own_number: None,
            bytes: 0,
            limit_rows: limits.rows,
            limit_bytes: limits.bytes,
            memory,
        }
    }

    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether a limit is reached, or the memory that is granted so far is used up.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.is_done() || self.memory.is_used_up()
    }

    fn is_done(&self) -> bool {
        self.rows.len() >= self.limit_rows || self.bytes >= self.limit_bytes
    }

    /// Whether the page ends here: a limit is reached, or there is no more memory to be had.
    pub(crate) fn is_at_limit(&mut self) -> bool {
        self.is_done() || !self.memory.grow()
    }

    /// Registers a buffer that rows are taken from as they are, once for all runs that lie in it.
    pub(crate) fn buffer(&mut self, bytes: &Bytes, base: Timestamp) -> u32 {
        if let Some(number) = self.rows.find_buffer(bytes, base) {
            return number;
        }
        if self.rows.is_empty() {
            self.rows.reserve(self.limit_rows.min(RESERVED_ROWS_MAX));
        }
        self.memory.hold(bytes.len());
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
        self.memory.hold((end - key_at) as usize);
        self.take(
            number,
            RowAt {
                key_at,
                body_at,
                end,
            },
        );
    }

    /// The key of row number `at`.
    pub(crate) fn key(&self, at: usize) -> Option<Bytes> {
        let (buffer, row) = self.rows.slot(at)?;
        let bytes = if Some(buffer) == self.own_number {
            row.key(&self.own)
        } else {
            row.key(self.rows.bytes(buffer))
        };
        Some(Bytes::copy_from_slice(bytes))
    }

    /// The rows, and what memory they take.
    pub(crate) fn finish(mut self) -> (Rows, PageMemory) {
        self.seal();
        (self.rows, self.memory)
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
