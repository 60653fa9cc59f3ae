//! Files, windows and stored entries.

use super::{Area, Dump, Stopped, window_names};
use crate::cli::Stop;
use crate::cli::render::{bytes, grid};
use crate::cli::screen::Screen;
use lsm::{CellValue, FileEntry, FileInfo, StoredRow, Timestamp};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

pub(super) fn run(arguments: &Dump, screen: &Screen) -> Result<(), Stop> {
    let stopped = Stopped::open(&arguments.area)?;
    let (Some(group), Some(file)) = (arguments.area.tablet, arguments.file) else {
        return list(&stopped, &arguments.area, screen);
    };
    let inspection = stopped.inspect(group)?;
    let mut written = Ok(());
    inspection
        .dump(file, &mut |entry| {
            let entry = json_of(&entry);
            written = if arguments.area.json {
                screen.line(&entry.to_string())
            } else {
                screen.write(&text_of(&entry))
            };
            match written {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        })
        .map_err(crate::Error::from)?;
    Ok(written?)
}

fn list(stopped: &Stopped, area: &Area, screen: &Screen) -> Result<(), Stop> {
    let header = [
        "tablet",
        "file",
        "table",
        "window",
        "size",
        "rows",
        "tombstones",
        "log from",
        "to",
        "sealed",
    ];
    let mut rows = Vec::new();
    for group in &stopped.groups {
        for file in stopped.inspect(*group)?.files() {
            if area.json {
                screen.line(&file_json(stopped, *group, &file).to_string())?;
            }
            rows.push(vec![
                group.to_string(),
                file.name,
                stopped.table_name(file.table),
                window_names((file.window, file.last_window)),
                bytes(file.bytes),
                file.rows.to_string(),
                file.tombstones.to_string(),
                file.first_index.to_string(),
                file.last_index.to_string(),
                if file.is_sealed { "yes" } else { "no" }.to_owned(),
            ]);
        }
    }
    if !area.json {
        screen.write(&grid(&header, rows, &[0, 4, 5, 6, 7, 8], screen.width()))?;
    }
    Ok(())
}

fn file_json(stopped: &Stopped, group: u64, file: &FileInfo) -> Value {
    json!({
        "tablet": group,
        "file": file.name,
        "table": stopped.table_name(file.table),
        "window": file.window.0,
        "last_window": file.last_window.0,
        "bytes": file.bytes,
        "sealed": file.is_sealed,
        "blocks": file.blocks,
        "dense_blocks": file.dense_blocks,
        "partitions": file.partitions,
        "rows": file.rows,
        "tombstones": file.tombstones,
        "first_index": file.first_index,
        "last_index": file.last_index,
        "min_timestamp_us": file.min_timestamp.0,
        "max_timestamp_us": file.max_timestamp.0,
        "dead_after_ms": file.dead_after_ms,
    })
}

/// What a table holds in one window.
#[derive(Default)]
struct Estimate {
    files: u64,
    bytes: u64,
    rows: u64,
    tombstones: u64,
    blocks: u64,
    dense_blocks: u64,
    dead_after_ms: u64,
}

impl Estimate {
    /// The advice, from what the manifest says alone.
    fn advice(&self, now_ms: u64) -> &'static str {
        if self.dead_after_ms <= now_ms {
            "drop: all has expired"
        } else if self.dense_blocks > 0 && self.dense_blocks * 10 >= self.blocks {
            "merge: many dead rows"
        } else if self.files > 1 {
            "merge: several files"
        } else {
            "nothing to do"
        }
    }
}

pub(super) fn estimate(area: &Area, screen: &Screen) -> Result<(), Stop> {
    let stopped = Stopped::open(area)?;
    let header = [
        "tablet",
        "table",
        "window",
        "files",
        "size",
        "rows",
        "tombstones",
        "advice",
    ];
    let mut lines = Vec::new();
    for group in &stopped.groups {
        let inspection = stopped.inspect(*group)?;
        let now_ms = inspection.flushed().timestamp.0 / 1000;
        let mut windows: BTreeMap<_, Estimate> = BTreeMap::new();
        for file in inspection.files() {
            let place = (file.table, (file.window, file.last_window));
            let sum = windows.entry(place).or_default();
            sum.files += 1;
            sum.bytes += file.bytes;
            sum.rows += file.rows;
            sum.tombstones += file.tombstones;
            sum.blocks += u64::from(file.blocks);
            sum.dense_blocks += u64::from(file.dense_blocks);
            sum.dead_after_ms = sum.dead_after_ms.max(file.dead_after_ms);
        }
        for ((table, covered), sum) in windows {
            let (table, advice) = (stopped.table_name(table), sum.advice(now_ms));
            if area.json {
                let object = json!({
                    "tablet": group, "table": table, "window": covered.0.0,
                    "last_window": covered.1.0, "files": sum.files,
                    "bytes": sum.bytes, "rows": sum.rows, "tombstones": sum.tombstones,
                    "advice": advice,
                });
                screen.line(&object.to_string())?;
            }
            lines.push(vec![
                group.to_string(),
                table,
                window_names(covered),
                sum.files.to_string(),
                bytes(sum.bytes),
                sum.rows.to_string(),
                sum.tombstones.to_string(),
                advice.to_owned(),
            ]);
        }
    }
    if !area.json {
        screen.write(&grid(&header, lines, &[0, 3, 4, 5, 6], screen.width()))?;
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        text.extend([format!("{byte:02x}")]);
        text
    })
}

fn deletion(timestamp: Timestamp) -> Value {
    if timestamp == Timestamp::ZERO {
        Value::Null
    } else {
        json!(timestamp.0)
    }
}

fn row_json(row: &StoredRow) -> Value {
    let cells: Vec<Value> = row
        .cells
        .iter()
        .map(|cell| {
            let (kind, expires) = match &cell.value {
                CellValue::Live(_) => ("live", None),
                CellValue::Expiring { expires_at_ms, .. } => ("expiring", Some(*expires_at_ms)),
                CellValue::Tombstone => ("tombstone", None),
            };
            json!({
                "column": cell.column.0, "path": hex(&cell.path), "timestamp_us": cell.timestamp.0,
                "kind": kind, "expires_at_ms": expires,
                "value": cell.value.bytes().map(|value| hex(value)),
            })
        })
        .collect();
    let collections: Vec<Value> = row
        .collections
        .iter()
        .map(|(column, timestamp)| json!({"column": column.0, "deletion_us": timestamp.0}))
        .collect();
    json!({
        "deletion_us": deletion(row.deletion),
        "inserted_us": row.liveness.map(|marker| marker.timestamp.0),
        "expires_at_ms": row.liveness.and_then(|marker| marker.expires_at_ms),
        "deleted_collections": collections,
        "cells": cells,
    })
}

fn json_of(entry: &FileEntry) -> Value {
    match entry {
        FileEntry::Partition {
            token,
            key,
            deletion: at,
            static_row,
        } => json!({
            "entry": "partition", "token": format!("{token:016x}"), "key": hex(key),
            "deletion_us": deletion(*at), "static": static_row.as_ref().map(row_json),
        }),
        FileEntry::Row { clustering, row } => json!({
            "entry": "row", "key": hex(clustering), "row": row_json(row),
        }),
        FileEntry::RangeDeletion {
            clustering,
            is_after,
            deletion: at,
        } => json!({
            "entry": "range_deletion", "key": clustering.as_ref().map(|key| hex(key)),
            "is_after": is_after, "deletion_us": deletion(*at),
        }),
    }
}

/// The same for people: one line per entry, one more per cell.
fn text_of(entry: &Value) -> String {
    let word = |value: &Value| match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let kind = word(&entry["entry"]);
    let mut text = match kind.as_str() {
        "partition" => format!(
            "partition {} token {} deleted {}\n",
            word(&entry["key"]),
            word(&entry["token"]),
            word(&entry["deletion_us"])
        ),
        "row" => format!(
            "  row {} inserted {} deleted {}\n",
            word(&entry["key"]),
            word(&entry["row"]["inserted_us"]),
            word(&entry["row"]["deletion_us"])
        ),
        _ => format!(
            "  from {} {} deleted {}\n",
            if entry["is_after"] == Value::Bool(true) {
                "behind"
            } else {
                "before"
            },
            word(&entry["key"]),
            word(&entry["deletion_us"])
        ),
    };
    for row in [&entry["row"], &entry["static"]] {
        for cell in row["cells"].as_array().into_iter().flatten() {
            text.extend([format!(
                "    column {} {} {} at {} expires {} = {}\n",
                cell["column"],
                word(&cell["path"]),
                word(&cell["kind"]),
                word(&cell["timestamp_us"]),
                word(&cell["expires_at_ms"]),
                word(&cell["value"])
            )]);
        }
    }
    text
}
