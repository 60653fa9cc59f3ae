//! Merges files of one window into one run.

use std::sync::Arc;

use bytes::Bytes;

use super::purge::Purge;
use crate::engine::ReadStats;
use crate::error::Result;
use crate::iter::{Cursor, Merger, Next};
use crate::manifest::TableFile;
use crate::memtable::Epochs;
use crate::row::range::{Edge, Place, Side};
use crate::row::{Fragment, TableId, Timestamp, Window, codec, merge};
use crate::sstable::{FileCursor, PartitionHead, Slice, TableReader, TableWriter};

/// Items of a partition between two looks at the pace.
const PACE_ITEMS: u32 = 256;

/// Where the merged rows go. A file is created when the first of them is known.
pub(crate) trait Output {
    /// The writer of the current file.
    fn writer(&mut self) -> Result<&mut TableWriter>;

    /// Whether the current file is large enough.
    fn is_full(&self) -> bool;

    /// The next rows are of this window.
    fn enter(&mut self, window: Window);

    /// Finishes the current file; the next rows go to another one.
    fn cut(&mut self) -> Result<()>;

    /// Called every few rows with the bytes read so far: waits, or fails to cancel the merge.
    fn pace(&mut self, read_bytes: u64) -> Result<()>;
}

/// A merge and what it may forget.
struct Job<'a> {
    table: TableId,
    outside: &'a [Arc<TableFile>],
    epochs: &'a Epochs,
    now_ms: u64,
}

/// An input and the next partition it has.
struct Input {
    /// `None` while it is lent to a partition.
    reader: Option<TableReader>,
    next: Option<(u64, Bytes, Window)>,
    /// The window of all partitions that do not say theirs.
    window: Window,
}

impl Input {
    /// Notes the partition after (token, key).
    fn seek(&mut self, mut reader: TableReader, token: u64, key: Option<&[u8]>) -> Result<()> {
        let next = reader.next_partition(token, key)?;
        self.next = next.map(|(token, key, own)| (token, key, own.unwrap_or(self.window)));
        self.reader = Some(reader);
        Ok(())
    }
}

/// The partition being written; its header is written when the first thing in it is.
struct OpenPartition<'a, O> {
    output: &'a mut O,
    token: u64,
    key: &'a [u8],
    window: Window,
    deletion: Timestamp,
    static_row: Option<Fragment>,
    is_begun: bool,
}

/// Merges `inputs`, which with `outside` are all files of one table and window, as far as they lie
/// between the first and the last of `tokens`.
pub(crate) fn merge_files(
    (inputs, outside): (&[Arc<TableFile>], &[Arc<TableFile>]),
    epochs: &Epochs,
    (first_token, last_token): (u64, u64),
    now_ms: u64,
    output: &mut impl Output,
) -> Result<()> {
    let Some(first) = inputs.first() else {
        return Ok(());
    };
    let job = Job {
        table: first.meta.properties.table,
        outside,
        epochs,
        now_ms,
    };
    let mut sources = Vec::with_capacity(inputs.len());
    for file in inputs {
        let mut input = Input {
            reader: None,
            next: None,
            window: file.meta.properties.window,
        };
        let reader = TableReader::new(Arc::clone(&file.table), None);
        input.seek(reader, first_token, None)?;
        sources.push(input);
    }
    let mut items = 0;
    while let Some((token, key, window)) = lowest(&sources).filter(|next| next.0 <= last_token) {
        output.enter(window);
        if output.is_full() {
            output.cut()?;
        }
        job.partition(&mut sources, (token, &key, window), output)?;
        items += 1;
        if items >= PACE_ITEMS {
            items = 0;
            output.pace(read_bytes(&sources))?;
        }
    }
    output.pace(read_bytes(&sources))
}

fn read_bytes(sources: &[Input]) -> u64 {
    sources
        .iter()
        .filter_map(|source| source.reader.as_ref())
        .map(|reader| reader.stats.bytes_read)
        .sum()
}

fn lowest(sources: &[Input]) -> Option<(u64, Bytes, Window)> {
    sources
        .iter()
        .filter_map(|source| source.next.as_ref())
        .min()
        .cloned()
}

impl Job<'_> {
    fn partition(
        &self,
        sources: &mut [Input],
        (token, key, window): (u64, &Bytes, Window),
        output: &mut impl Output,
    ) -> Result<()> {
        let (from, to) = (Place::START.to_edge(), Edge::End);
        let slice = Arc::new(Slice {
            table: self.table,
            token,
            key: key.clone(),
            from,
            to,
            reverse: false,
        });
        let mut cursors = Vec::new();
        let mut lenders = Vec::new();
        let mut merged = (Timestamp::ZERO, Fragment::default());
        for (number, source) in sources.iter_mut().enumerate() {
            if source
                .next
                .as_ref()
                .is_none_or(|next| (next.0, &next.1) != (token, key))
            {
                continue;
            }
            let Some(reader) = source.reader.take() else {
                continue;
            };
            match FileCursor::open(reader, &slice)? {
                Err(reader) => return Err(reader.index_error("the partition that it lists")),
                Ok((cursor, head)) => {
                    merged = add_head(merged, &head, &cursor)?;
                    cursors.push(Cursor::File(cursor));
                    lenders.push(number);
                }
            }
        }
        let (deletion, static_row) = merged;
        let epoch = self.epochs.deletion(self.table, token, key);
        let purge = Purge::new(self.outside, token, key, self.now_ms);
        let covering = deletion.max(epoch);
        let kept = purge.deletion(deletion, epoch);
        let static_row = purge.row(static_row, covering);
        let is_begun = false;
        let mut open = OpenPartition {
            output,
            token,
            key,
            window,
            deletion: kept,
            static_row,
            is_begun,
        };
        if open.deletion != Timestamp::ZERO || open.static_row.is_some() {
            open.writer()?;
        }
        let mut merger = Merger::new(cursors, false, covering, None);
        write_rows(&mut merger, &purge, covering, &mut open)?;
        for (number, cursor) in lenders.into_iter().zip(merger.into_cursors()) {
            if let Cursor::File(cursor) = cursor {
                sources[number].seek(cursor.into_reader(), token, Some(key))?;
            }
        }
        Ok(())
    }
}

fn add_head(
    (deletion, static_row): (Timestamp, Fragment),
    head: &PartitionHead,
    cursor: &FileCursor,
) -> Result<(Timestamp, Fragment)> {
    let deletion = deletion.max(head.deletion);
    let Some((body, base)) = &head.static_row else {
        return Ok((deletion, static_row));
    };
    let found = codec::decode(body, *base).map_err(|error| cursor.row_error(error))?;
    Ok((deletion, merge::merge(static_row, found)))
}

fn write_rows<O: Output>(
    merger: &mut Merger,
    purge: &Purge,
    covering: Timestamp,
    open: &mut OpenPartition<'_, O>,
) -> Result<()> {
    let mut in_force = Timestamp::ZERO;
    let mut items = 0;
    loop {
        items += 1;
        if items >= PACE_ITEMS {
            items = 0;
            let mut stats = ReadStats::default();
            merger.add_stats(&mut stats);
            open.output.pace(stats.bytes_read)?;
        }
        match merger.settle()? {
            Next::End | Next::Cut => return Ok(()),
            Next::Row => {
                write_row(merger, purge, in_force, open)?;
                merger.advance()?;
            }
            Next::Edge => {
                let edge = merger.place().map(Place::to_edge);
                merger.advance()?;
                let next = purge.deletion(merger.range_deletion(), covering);
                if let Some(edge) = edge.filter(|_| next != in_force) {
                    open.writer()?.edge(edge.place(), next)?;
                    in_force = next;
                }
            }
        }
    }
}

/// Writes what is to be kept of the row at which `merger` stands.
fn write_row<O: Output>(
    merger: &Merger,
    purge: &Purge,
    in_force: Timestamp,
    open: &mut OpenPartition<'_, O>,
) -> Result<()> {
    // A plain row that nothing covers is kept as it is, whatever the time.
    let plain = merger.plain_row()?;
    let plain = plain.filter(|row| row.timestamp > merger.deletion());
    let row = match plain {
        Some(_) => None,
        None => purge.row(merger.fragment()?, merger.deletion()),
    };
    if plain.is_none() && row.is_none() {
        return Ok(());
    }
    if open.is_begun && open.output.is_full() {
        open.cut(Place::At(merger.key(), Side::Before), in_force)?;
    }
    let writer = open.writer()?;
    if let Some(plain) = plain {
        writer.plain_row(merger.key(), &plain)?;
    }
    row.map_or(Ok(()), |row| writer.row(merger.key(), &row))
}

impl<O: Output> OpenPartition<'_, O> {
    /// Continues the partition in another file from `place` on, where a deletion is in force.
    fn cut(&mut self, place: Place<'_>, in_force: Timestamp) -> Result<()> {
        if in_force != Timestamp::ZERO {
            self.writer()?.edge(place, Timestamp::ZERO)?;
        }
        self.output.cut()?;
        self.is_begun = false;
        if in_force != Timestamp::ZERO {
            self.writer()?.edge(place, in_force)?;
        }
        Ok(())
    }

    fn writer(&mut self) -> Result<&mut TableWriter> {
        let writer = self.output.writer()?;
        if !self.is_begun {
            self.is_begun = true;
            let static_row = self.static_row.take();
            writer.window(self.window);
            writer.partition(self.token, self.key, self.deletion, static_row.as_ref())?;
        }
        Ok(writer)
    }
}
