//! What needs a tablet's engine open: merging and digests.

use super::{Area, Stopped, window_name};
use crate::cli::Stop;
use crate::cli::progress::Progress;
use crate::cli::render::{DOT, bytes, counted, duration, grid};
use crate::cli::screen::Screen;
use crate::error::Result;
use crate::tablet::table_options;
use lsm::{Engine, EngineOptions};
use serde_json::json;
use std::sync::Arc;

impl Stopped {
    /// The engine as the server opens it, and the time of the last entry in its files.
    fn engine(&self, group: u64) -> Result<(Engine, u64)> {
        let options = EngineOptions {
            seed: group,
            ..EngineOptions::default()
        };
        let engine = Engine::open(Arc::clone(&self.vfs), &self.dir(group), options)?;
        for table in self.state.catalog.tables() {
            engine.define_table(table.id, table_options(table))?;
        }
        let now_ms = engine.flushed().timestamp.0 / 1000;
        Ok((engine, now_ms))
    }
}

pub(super) fn compact(area: &Area, screen: &Screen) -> std::result::Result<(), Stop> {
    let stopped = Stopped::open(area)?;
    let (mut before, mut after) = ((0, 0), (0, 0));
    let mut total = 0;
    for group in &stopped.groups {
        let files = stopped.inspect(*group)?.files();
        total += files.iter().map(|file| file.bytes).sum::<u64>();
    }
    let mut progress = Progress::new(screen, "compact", total);
    let mut steps = 0;
    for group in &stopped.groups {
        let (engine, now_ms) = stopped.engine(*group)?;
        let metrics = engine.metrics();
        before = (before.0 + metrics.files, before.1 + metrics.file_bytes);
        let mut read = 0;
        while engine.compact_step(now_ms).map_err(crate::Error::from)? {
            let bytes = engine.metrics().compaction_read_bytes;
            progress.advance(bytes - read);
            read = bytes;
        }
        let metrics = engine.metrics();
        steps += metrics.compactions + metrics.windows_dropped;
        after = (after.0 + metrics.files, after.1 + metrics.file_bytes);
    }
    progress.clear();
    if area.json {
        let object = json!({
            "tablets": stopped.groups.len(), "steps": steps,
            "files_before": before.0, "bytes_before": before.1,
            "files_after": after.0, "bytes_after": after.1,
        });
        screen.line(&object.to_string())?;
        return Ok(());
    }
    let facts = [
        counted(stopped.groups.len() as u64, "tablet"),
        counted(steps, "step"),
        format!("{} to {}", counted(before.0 as u64, "file"), after.0),
        format!("{} to {}", bytes(before.1), bytes(after.1)),
        duration(progress.elapsed_us()),
    ];
    screen.line(&facts.join(DOT))?;
    Ok(())
}

pub(super) fn digest(area: &Area, screen: &Screen) -> std::result::Result<(), Stop> {
    let stopped = Stopped::open(area)?;
    let header = [
        "tablet",
        "index",
        "table",
        "window",
        "partitions",
        "rows",
        "cells",
        "size",
        "digest",
    ];
    let mut lines = Vec::new();
    for group in &stopped.groups {
        let (engine, now_ms) = stopped.engine(*group)?;
        let index = engine.flushed().index;
        for ((table, window), found) in engine.digest(now_ms).map_err(crate::Error::from)? {
            let (table, digest) = (stopped.table_name(table), format!("{:016x}", found.digest));
            if area.json {
                let object = json!({
                    "tablet": group, "index": index, "now_ms": now_ms, "table": table,
                    "window": window.0, "partitions": found.partitions, "rows": found.rows,
                    "cells": found.cells, "bytes": found.bytes, "digest": digest,
                });
                screen.line(&object.to_string())?;
            }
            lines.push(vec![
                group.to_string(),
                index.to_string(),
                table,
                window_name(window),
                found.partitions.to_string(),
                found.rows.to_string(),
                found.cells.to_string(),
                bytes(found.bytes),
                digest,
            ]);
        }
    }
    if !area.json {
        screen.write(&grid(&header, lines, &[0, 1, 4, 5, 6, 7], screen.width()))?;
    }
    Ok(())
}
