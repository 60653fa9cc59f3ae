//! One change of the set of files, and its bytes.
#![deny(clippy::indexing_slicing)]

use bytes::Bytes;

use crate::encoding::{DecodeError, Reader, varint};
use crate::engine::Flushed;
use crate::limits::{ENGINE_KEY_BYTES_MAX, OWNER_BYTES_MAX};
use crate::memtable::Epochs;
use crate::row::{TableId, Timestamp, codec};
use crate::sstable::Properties;

const TAG_ADD: u8 = 1;
const TAG_REMOVE: u8 = 2;
const TAG_FLUSHED: u8 = 3;
const TAG_EPOCHS: u8 = 4;
const TAG_NEXT_FILE: u8 = 5;
/// A file in a later version of the format than 1, which the record names.
const TAG_ADD_VERSIONED: u8 = 6;
/// Versions of file records, which are those of the statistics in them: 4 never was, and 5 is only written
/// of files of merged windows.
const FILE_RECORD_VERSIONS: [u32; 3] = [2, 3, 5];

/// What the manifest knows about a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileMeta {
    /// Number, which is its name.
    pub(crate) number: u64,
    /// Identity, which seeds its checksums.
    pub(crate) uid: u64,
    /// Length in bytes.
    pub(crate) len: u64,
    /// Whether it was made from everything its window held.
    pub(crate) is_sealed: bool,
    /// The sorted run that it is a fragment of: files of one table, window and run share no key.
    pub(crate) run: u64,
    /// How often its oldest data was merged since it was flushed; 255 = as often or more.
    pub(crate) merges: u8,
    /// Nothing that a placement deletion up to this one covers is in it.
    pub(crate) epochs_applied: Timestamp,
    /// Statistics.
    pub(crate) properties: Properties,
}

/// One change of the state of an engine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Edit {
    /// Files that come.
    pub(crate) added: Vec<FileMeta>,
    /// Numbers of files that go.
    pub(crate) removed: Vec<u64>,
    /// New flushed position, if it changes.
    pub(crate) flushed: Option<Flushed>,
    /// All placement deletions, if they change.
    pub(crate) epochs: Option<Epochs>,
    /// No file of this number or a larger one exists.
    pub(crate) next_file: u64,
}

impl Edit {
    /// The bytes of the edit.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![TAG_NEXT_FILE];
        varint::encode(&mut out, self.next_file);
        for file in &self.added {
            out.push(TAG_ADD_VERSIONED);
            let version = if file.properties.is_merged() { 5 } else { 3 };
            varint::encode(&mut out, version);
            varint::encode(&mut out, file.number);
            out.extend_from_slice(&file.uid.to_le_bytes());
            varint::encode(&mut out, file.len);
            out.push(u8::from(file.is_sealed));
            varint::encode(&mut out, file.run);
            varint::encode(&mut out, u64::from(file.merges));
            varint::encode(&mut out, file.epochs_applied.0);
            file.properties.encode(&mut out);
        }
        for number in &self.removed {
            out.push(TAG_REMOVE);
            varint::encode(&mut out, *number);
        }
        if let Some(flushed) = &self.flushed {
            out.push(TAG_FLUSHED);
            varint::encode(&mut out, flushed.index);
            varint::encode(&mut out, flushed.timestamp.0);
            codec::put_bytes(&mut out, &flushed.owner);
        }
        if let Some(epochs) = &self.epochs {
            out.push(TAG_EPOCHS);
            varint::encode(&mut out, epochs.iter().count() as u64);
            for (table, token, placement, timestamp) in epochs.iter() {
                varint::encode(&mut out, u64::from(table.0));
                out.extend_from_slice(&token.to_le_bytes());
                codec::put_bytes(&mut out, placement);
                varint::encode(&mut out, timestamp.0);
            }
        }
        out
    }

    /// Reads what [`Self::encode`] wrote.
    pub(crate) fn decode(payload: &Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        let mut edit = Self::default();
        while !reader.is_empty() {
            match reader.u8("tag of an edit")? {
                TAG_NEXT_FILE => edit.next_file = reader.varint("next file number")?,
                TAG_ADD => edit.added.push(FileMeta::decode(payload, &mut reader, 1)?),
                TAG_ADD_VERSIONED => {
                    let version = reader.varint("version of a file record")?;
                    let version = u32::try_from(version)
                        .ok()
                        .filter(|version| FILE_RECORD_VERSIONS.contains(version));
                    let version = version.ok_or_else(|| reader.error("a known version"))?;
                    edit.added
                        .push(FileMeta::decode(payload, &mut reader, version)?);
                }
                TAG_REMOVE => edit.removed.push(reader.varint("file number")?),
                TAG_FLUSHED => {
                    let index = reader.varint("flushed index")?;
                    let timestamp = Timestamp(reader.varint("flushed timestamp")?);
                    let owner = reader.prefixed(OWNER_BYTES_MAX, "owner bytes")?;
                    // A copy: the owner bytes live as long as the engine, the edit does not.
                    let owner = Bytes::copy_from_slice(owner);
                    edit.flushed = Some(Flushed {
                        index,
                        timestamp,
                        owner,
                    });
                }
                TAG_EPOCHS => edit.epochs = Some(decode_epochs(&mut reader)?),
                _ => return Err(reader.error("a known tag")),
            }
        }
        Ok(edit)
    }
}

impl FileMeta {
    fn decode(payload: &Bytes, reader: &mut Reader<'_>, version: u32) -> Result<Self, DecodeError> {
        let number = reader.varint("file number")?;
        let uid = reader.u64("file identity")?;
        let len = reader.varint("file length")?;
        let is_sealed = match reader.u8("sealed or not")? {
            0 => false,
            1 => true,
            _ => return Err(reader.error("sealed or not")),
        };
        let (mut run, mut merges, mut epochs_applied) = (number, 0, Timestamp::ZERO);
        if version >= 2 {
            run = reader.varint("run of a file")?;
            merges = u8::try_from(reader.varint("merges of a file")?)
                .map_err(|_| reader.error("up to 255 merges"))?;
            if version >= 3 {
                epochs_applied = Timestamp(reader.varint("applied placement deletions")?);
            }
        }
        let properties = Properties::decode(payload, reader, version)?;
        Ok(Self {
            number,
            uid,
            len,
            is_sealed,
            run,
            merges,
            epochs_applied,
            properties,
        })
    }
}

fn decode_epochs(reader: &mut Reader<'_>) -> Result<Epochs, DecodeError> {
    let mut epochs = Epochs::default();
    for _ in 0..reader.varint("count of placement deletions")? {
        let table = u32::try_from(reader.varint("table")?).map_err(|_| reader.error("a table"))?;
        let token = reader.u64("token")?;
        let placement = reader.prefixed(ENGINE_KEY_BYTES_MAX, "placement key")?;
        let timestamp = Timestamp(reader.varint("placement deletion")?);
        epochs.insert(TableId(table), token, placement, timestamp);
    }
    Ok(epochs)
}
