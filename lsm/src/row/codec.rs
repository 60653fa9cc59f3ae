//! Bytes of one row: the body of a row entry in an SSTable block and of a row in a memtable.
//!
//! The layout is in `docs/formats/sstable.md`, section "Row body". Timestamps are stored as signed
//! differences from a base (the base of the block; zero in a memtable), expiry times as
//! differences from the base in milliseconds, so that neighbors cost one to three bytes each.
//!
//! Values are slices of the encoded bytes: decoding copies nothing.
#![deny(clippy::indexing_slicing)]

use bytes::Bytes;

use super::{Cell, CellValue, CellWrite, ColumnId, Fragment, Liveness, RowLiveness, Timestamp};
use crate::encoding::{DecodeError, Reader, varint};
use crate::limits::{CELLS_PER_ROW_MAX, PATH_BYTES_MAX, ROW_BYTES_MAX};

pub(super) const HAS_LIVENESS: u8 = 1;
const LIVENESS_EXPIRES: u8 = 2;
const HAS_DELETION: u8 = 4;
const HAS_COMPLEX: u8 = 8;

pub(super) const KIND_MASK: u8 = 3;
pub(super) const KIND_LIVE: u8 = 0;
const KIND_EXPIRING: u8 = 1;
const KIND_TOMBSTONE: u8 = 2;
pub(super) const CELL_HAS_PATH: u8 = 4;
/// The cell was not written together with the insertion marker.
const CELL_HAS_TIMESTAMP: u8 = 8;

/// Appends the body of `fragment` to `out`.
pub(crate) fn encode(fragment: &Fragment, base: Timestamp, out: &mut Vec<u8>) {
    let mut flags = 0;
    if let Some(marker) = &fragment.liveness {
        flags |= HAS_LIVENESS;
        flags |= if marker.expires_at_ms.is_some() {
            LIVENESS_EXPIRES
        } else {
            0
        };
    }
    flags |= if fragment.deletion == Timestamp::ZERO {
        0
    } else {
        HAS_DELETION
    };
    flags |= if fragment.complex.is_empty() {
        0
    } else {
        HAS_COMPLEX
    };
    out.push(flags);
    if let Some(marker) = &fragment.liveness {
        put_timestamp(out, marker.timestamp, base);
        if let Some(expires_at_ms) = marker.expires_at_ms {
            put_expiry(out, expires_at_ms, base);
        }
    }
    if fragment.deletion != Timestamp::ZERO {
        put_timestamp(out, fragment.deletion, base);
    }
    if !fragment.complex.is_empty() {
        varint::encode(out, fragment.complex.len() as u64);
        for (column, timestamp) in &fragment.complex {
            varint::encode(out, u64::from(column.0));
            put_timestamp(out, *timestamp, base);
        }
    }
    varint::encode(out, fragment.cells.len() as u64);
    let written_at = fragment.liveness.map(|marker| marker.timestamp);
    for cell in &fragment.cells {
        encode_cell(cell, written_at, base, out);
    }
}

/// Appends the body of a row that `cells` are written to at `at`, as [`encode`] would write it, from
/// cells sorted by (column, path) without one twice. Copies nothing in between. Returns what
/// [`inspect`] would find.
pub(crate) fn encode_upsert(
    at: Timestamp,
    liveness: Option<Liveness>,
    cells: &[CellWrite],
    out: &mut Vec<u8>,
) -> Summary {
    let is_plain = liveness.is_some() || !cells.is_empty();
    let mut summary = Summary {
        oldest: if is_plain { at } else { Summary::EMPTY.oldest },
        first_expiry_ms: liveness.and_then(|it| it.expires_at_ms).unwrap_or(u64::MAX),
        is_plain,
    };
    out.push(match liveness {
        None => 0,
        Some(marker) if marker.expires_at_ms.is_none() => HAS_LIVENESS,
        Some(_) => HAS_LIVENESS | LIVENESS_EXPIRES,
    });
    if let Some(marker) = liveness {
        put_timestamp(out, at, Timestamp::ZERO);
        if let Some(expires_at_ms) = marker.expires_at_ms {
            put_expiry(out, expires_at_ms, Timestamp::ZERO);
        }
    }
    varint::encode(out, cells.len() as u64);
    let own = liveness.is_none().then_some((at, Timestamp::ZERO));
    for cell in cells {
        match cell.value {
            CellValue::Live(_) => {}
            CellValue::Expiring { expires_at_ms, .. } => {
                summary.first_expiry_ms = summary.first_expiry_ms.min(expires_at_ms);
            }
            CellValue::Tombstone => summary.is_plain = false,
        }
        put_cell(
            (cell.column, &cell.path),
            own,
            (&cell.value, Timestamp::ZERO),
            out,
        );
    }
    summary
}

fn encode_cell(cell: &Cell, written_at: Option<Timestamp>, base: Timestamp, out: &mut Vec<u8>) {
    let own = (written_at != Some(cell.timestamp)).then_some((cell.timestamp, base));
    put_cell((cell.column, &cell.path), own, (&cell.value, base), out);
}

/// Appends a cell; `own` is its timestamp and the base, if the row's marker has another one.
fn put_cell(
    (column, path): (ColumnId, &Bytes),
    own: Option<(Timestamp, Timestamp)>,
    (value, base): (&CellValue, Timestamp),
    out: &mut Vec<u8>,
) {
    let mut flags = match value {
        CellValue::Live(_) => KIND_LIVE,
        CellValue::Expiring { .. } => KIND_EXPIRING,
        CellValue::Tombstone => KIND_TOMBSTONE,
    };
    flags |= if path.is_empty() { 0 } else { CELL_HAS_PATH };
    flags |= if own.is_some() { CELL_HAS_TIMESTAMP } else { 0 };
    out.push(flags);
    varint::encode(out, u64::from(column.0));
    if !path.is_empty() {
        put_bytes(out, path);
    }
    if let Some((timestamp, base)) = own {
        put_timestamp(out, timestamp, base);
    }
    if let CellValue::Expiring { expires_at_ms, .. } = value {
        put_expiry(out, *expires_at_ms, base);
    }
    if let Some(value) = value.bytes() {
        put_bytes(out, value);
    }
}

/// Decodes a whole row body.
pub(crate) fn decode(body: &Bytes, base: Timestamp) -> Result<Fragment, DecodeError> {
    let mut reader = Reader::new(body);
    let mut complex = Vec::new();
    let head = RowHead::decode(&mut reader, base, |column, timestamp| {
        complex.push((column, timestamp));
    })?;
    let mut raw = CellReader::new(reader, &head, base);
    let mut cells = Vec::with_capacity(head.cell_count.min(raw.reader.rest().len() / 2));
    let mut order = CellOrder::default();
    while let Some(cell) = raw.next().transpose()? {
        order.check(&cell, &raw.reader)?;
        cells.push(cell.to_cell(body));
    }
    raw.finish()?;
    Ok(Fragment {
        deletion: head.deletion,
        liveness: head.liveness,
        complex,
        cells,
    })
}

/// What [`inspect`] finds out about a body, or about several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    /// The oldest insertion marker or cell.
    pub(crate) oldest: Timestamp,
    /// When the first of them expires; MAX = nothing does.
    pub(crate) first_expiry_ms: u64,
    /// No deletion of any kind, and something to see in every row.
    pub(crate) is_plain: bool,
}

impl Summary {
    /// Of no rows.
    pub(crate) const EMPTY: Self = Self {
        oldest: Timestamp(u64::MAX),
        first_expiry_ms: u64::MAX,
        is_plain: true,
    };

    /// Takes in another row.
    pub(crate) fn add(&mut self, other: Self) {
        self.oldest = self.oldest.min(other.oldest);
        self.first_expiry_ms = self.first_expiry_ms.min(other.first_expiry_ms);
        self.is_plain &= other.is_plain;
    }

    /// Whether a read at `now_ms` sees all of it below `deletion`, so that the encoded bytes are
    /// what is visible.
    #[inline]
    pub(crate) fn is_whole(&self, deletion: Timestamp, now_ms: u64) -> bool {
        self.is_plain && self.oldest > deletion && self.first_expiry_ms > now_ms
    }
}

/// Checks all of a body, as [`decode`] does, without allocating.
pub(crate) fn inspect(body: &[u8], base: Timestamp) -> Result<Summary, DecodeError> {
    let mut reader = Reader::new(body);
    let head = RowHead::decode(&mut reader, base, |_, _| ())?;
    let mut summary = Summary {
        is_plain: head.deletion == Timestamp::ZERO && !head.has_complex,
        ..Summary::EMPTY
    };
    if let Some(marker) = head.liveness {
        summary.oldest = marker.timestamp;
        summary.first_expiry_ms = marker.expires_at_ms.unwrap_or(u64::MAX);
    }
    summary.is_plain &= head.liveness.is_some() || head.cell_count > 0;
    let mut cells = CellReader::new(reader, &head, base);
    let mut order = CellOrder::default();
    while let Some(cell) = cells.next().transpose()? {
        order.check(&cell, &cells.reader)?;
        summary.oldest = summary.oldest.min(cell.timestamp);
        summary.first_expiry_ms = summary
            .first_expiry_ms
            .min(cell.expires_at_ms.unwrap_or(u64::MAX));
        summary.is_plain &= cell.value.is_some();
    }
    cells.finish()?;
    Ok(summary)
}

/// Whether a read at `now_ms` sees something of the row below `deletion`. Allocates nothing
/// unless a collection was deleted.
pub(crate) fn is_live(
    body: &[u8],
    base: Timestamp,
    deletion: Timestamp,
    now_ms: u64,
) -> Result<bool, DecodeError> {
    let mut reader = Reader::new(body);
    let mut complex = Vec::new();
    let head = RowHead::decode(&mut reader, base, |column, timestamp| {
        complex.push((column, timestamp));
    })?;
    let deletion = deletion.max(head.deletion);
    if head
        .liveness
        .is_some_and(|marker| marker.timestamp > deletion && marker.is_live_at(now_ms))
    {
        return Ok(true);
    }
    let mut cells = CellReader::new(reader, &head, base);
    while let Some(cell) = cells.next().transpose()? {
        let deletion = deletion.max(super::merge::lookup(&complex, cell.column));
        if cell.timestamp > deletion && cell.is_live_at(now_ms) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The deletion of the row itself, or [`Timestamp::ZERO`].
pub(crate) fn row_deletion(body: &[u8], base: Timestamp) -> Result<Timestamp, DecodeError> {
    let mut reader = Reader::new(body);
    RowHead::decode(&mut reader, base, |_, _| ()).map(|head| head.deletion)
}

/// What comes before the cells of a row, but for the collection deletions.
#[derive(Clone, Copy, Debug)]
pub(super) struct RowHead {
    pub(super) liveness: Option<RowLiveness>,
    deletion: Timestamp,
    has_complex: bool,
    cell_count: usize,
}

impl RowHead {
    /// Decodes the head and hands out the collection deletions.
    #[inline]
    fn decode(
        reader: &mut Reader<'_>,
        base: Timestamp,
        mut complex: impl FnMut(ColumnId, Timestamp),
    ) -> Result<Self, DecodeError> {
        let flags = reader.u8("row flags")?;
        let known = HAS_LIVENESS | LIVENESS_EXPIRES | HAS_DELETION | HAS_COMPLEX;
        if flags & !known != 0 || flags & (HAS_LIVENESS | LIVENESS_EXPIRES) == LIVENESS_EXPIRES {
            return Err(reader.error("known row flags"));
        }
        let mut liveness = None;
        if flags & HAS_LIVENESS != 0 {
            let timestamp = timestamp(reader, base)?;
            let expires = flags & LIVENESS_EXPIRES != 0;
            let expires_at_ms = expires.then(|| expiry(reader, base)).transpose()?;
            liveness = Some(RowLiveness {
                timestamp,
                expires_at_ms,
            });
        }
        let mut deletion = Timestamp::ZERO;
        if flags & HAS_DELETION != 0 {
            deletion = timestamp(reader, base)?;
        }
        let has_complex = flags & HAS_COMPLEX != 0;
        if has_complex {
            let mut last = None;
            for _ in 0..count(reader, "count of collection deletions")? {
                let column = column(reader)?;
                if last.replace(column).is_some_and(|last| last >= column) {
                    return Err(reader.error("collection deletions in order of column"));
                }
                complex(column, timestamp(reader, base)?);
            }
        }
        Ok(Self {
            liveness,
            deletion,
            has_complex,
            cell_count: count(reader, "count of cells")?,
        })
    }

    /// The head of a body that was checked before, and a reader at its first cell.
    #[inline]
    pub(super) fn skim(body: &[u8], base: Timestamp) -> Option<(Self, Reader<'_>)> {
        let mut reader = Reader::new(body);
        let head = Self::decode(&mut reader, base, |_, _| ()).ok()?;
        Some((head, reader))
    }
}

/// Decodes the cells of a row one after another.
#[derive(Clone, Debug)]
pub(super) struct CellReader<'a> {
    reader: Reader<'a>,
    base: Timestamp,
    /// When the insertion marker was written.
    written_at: Option<Timestamp>,
    left: usize,
}

impl<'a> CellReader<'a> {
    /// The cells behind `head`, at which `reader` stands.
    #[inline]
    pub(super) fn new(reader: Reader<'a>, head: &RowHead, base: Timestamp) -> Self {
        Self {
            reader,
            base,
            written_at: head.liveness.map(|marker| marker.timestamp),
            left: head.cell_count,
        }
    }

    /// How many cells are left.
    pub(super) fn left(&self) -> usize {
        self.left
    }

    /// The next cell.
    #[inline]
    pub(super) fn next(&mut self) -> Option<Result<RawCell<'a>, DecodeError>> {
        self.left = self.left.checked_sub(1)?;
        Some(RawCell::decode(
            &mut self.reader,
            self.written_at,
            self.base,
        ))
    }

    /// Refuses bytes behind the last cell.
    fn finish(&self) -> Result<(), DecodeError> {
        if self.reader.is_empty() {
            Ok(())
        } else {
            Err(self.reader.error("the end of the row"))
        }
    }
}

/// Refuses cells that do not ascend.
#[derive(Default)]
struct CellOrder<'a> {
    last: Option<(ColumnId, &'a [u8])>,
}

impl<'a> CellOrder<'a> {
    #[inline]
    fn check(&mut self, cell: &RawCell<'a>, reader: &Reader<'_>) -> Result<(), DecodeError> {
        let place = (cell.column, cell.path);
        if self.last.replace(place).is_some_and(|last| last >= place) {
            return Err(reader.error("cells in order of column and path"));
        }
        Ok(())
    }
}

/// A cell whose bytes are still part of the row body.
pub(super) struct RawCell<'a> {
    pub(super) column: ColumnId,
    pub(super) path: &'a [u8],
    pub(super) timestamp: Timestamp,
    pub(super) value: Option<&'a [u8]>,
    pub(super) expires_at_ms: Option<u64>,
}

impl<'a> RawCell<'a> {
    #[inline]
    fn decode(
        reader: &mut Reader<'a>,
        marked_at: Option<Timestamp>,
        base: Timestamp,
    ) -> Result<Self, DecodeError> {
        let flags = reader.u8("cell flags")?;
        let kind = flags & KIND_MASK;
        if flags & !(KIND_MASK | CELL_HAS_PATH | CELL_HAS_TIMESTAMP) != 0 || kind > KIND_TOMBSTONE {
            return Err(reader.error("known cell flags"));
        }
        let column = column(reader)?;
        let mut path: &[u8] = &[];
        if flags & CELL_HAS_PATH != 0 {
            path = reader.prefixed(PATH_BYTES_MAX, "path of a cell")?;
        }
        let written_at = match marked_at {
            _ if flags & CELL_HAS_TIMESTAMP != 0 => timestamp(reader, base)?,
            Some(marked_at) => marked_at,
            None => return Err(reader.error("timestamp of a cell")),
        };
        let expires_at_ms = (kind == KIND_EXPIRING)
            .then(|| expiry(reader, base))
            .transpose()?;
        let value = (kind != KIND_TOMBSTONE)
            .then(|| reader.prefixed(ROW_BYTES_MAX, "value of a cell"))
            .transpose()?;
        Ok(Self {
            column,
            path,
            timestamp: written_at,
            value,
            expires_at_ms,
        })
    }

    fn is_live_at(&self, now_ms: u64) -> bool {
        self.value.is_some() && self.expires_at_ms.is_none_or(|expires| expires > now_ms)
    }

    fn to_cell(&self, body: &Bytes) -> Cell {
        let value = match (self.value, self.expires_at_ms) {
            (None, _) => CellValue::Tombstone,
            (Some(value), None) => CellValue::Live(body.slice_ref(value)),
            (Some(value), Some(expires_at_ms)) => CellValue::Expiring {
                value: body.slice_ref(value),
                expires_at_ms,
            },
        };
        let path = body.slice_ref(self.path);
        Cell {
            column: self.column,
            path,
            timestamp: self.timestamp,
            value,
        }
    }
}

/// Appends a timestamp relative to `base`.
pub(crate) fn put_timestamp(out: &mut Vec<u8>, timestamp: Timestamp, base: Timestamp) {
    let difference = timestamp.0.wrapping_sub(base.0).cast_signed();
    varint::encode(out, varint::zigzag(difference));
}

/// Reads a timestamp relative to `base`.
pub(crate) fn timestamp(
    reader: &mut Reader<'_>,
    base: Timestamp,
) -> Result<Timestamp, DecodeError> {
    let difference = varint::unzigzag(reader.varint("timestamp")?);
    Ok(Timestamp(base.0.wrapping_add(difference.cast_unsigned())))
}

fn put_expiry(out: &mut Vec<u8>, expires_at_ms: u64, base: Timestamp) {
    let difference = expires_at_ms.wrapping_sub(base.0 / 1000).cast_signed();
    varint::encode(out, varint::zigzag(difference));
}

fn expiry(reader: &mut Reader<'_>, base: Timestamp) -> Result<u64, DecodeError> {
    let difference = varint::unzigzag(reader.varint("expiry")?);
    Ok((base.0 / 1000).wrapping_add(difference.cast_unsigned()))
}

/// Appends a length and the bytes.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    varint::encode(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn column(reader: &mut Reader<'_>) -> Result<ColumnId, DecodeError> {
    let number = reader.varint("column")?;
    u32::try_from(number)
        .map(ColumnId)
        .map_err(|_| reader.error("column below 2^32"))
}

fn count(reader: &mut Reader<'_>, what: &'static str) -> Result<usize, DecodeError> {
    let count = usize::try_from(reader.varint(what)?).unwrap_or(usize::MAX);
    if count > CELLS_PER_ROW_MAX {
        Err(reader.error(what))
    } else {
        Ok(count)
    }
}
