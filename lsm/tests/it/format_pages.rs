//! The hex examples of `docs/formats/{sstable,manifest}.md` are what the engine writes.
//!
//! `UPDATE=1 cargo test -p lsm --test it format_pages` writes them anew.

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use lsm::vfs::{MemoryVfs, Vfs};
use lsm::{Engine, EngineOptions};

use crate::engine_support::*;

/// One row, flushed by an engine of seed 42.
fn example() -> MemoryVfs {
    let memory = MemoryVfs::new();
    let vfs: Arc<dyn Vfs> = Arc::new(memory.clone());
    let options = EngineOptions {
        seed: 42,
        ..EngineOptions::default()
    };
    let engine = Engine::open(vfs, Path::new(DIR), options).unwrap();
    define(&engine, Some(1000)).unwrap();
    let channel = partition("channel", 0);
    apply(&engine, 1, &[mutation(&channel, vec![insert(5, "hi")])]);
    flush(&engine);
    memory
}

fn file(memory: &MemoryVfs, wanted: impl Fn(&str) -> bool) -> Vec<u8> {
    let names = memory.list(Path::new(DIR)).unwrap();
    let name = names.into_iter().find(|name| wanted(name)).unwrap();
    memory.read(&Path::new(DIR).join(name)).unwrap()
}

fn hex(out: &mut String, what: &str, bytes: &[u8]) {
    writeln!(out, "{what}").unwrap();
    for line in bytes.chunks(24) {
        let words: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(out, "  {}", words.join(" ")).unwrap();
    }
}

fn sstable() -> String {
    let bytes = file(&example(), |name| name.contains(".sst"));
    let names = [
        "",
        "data",
        "index",
        "directory",
        "filter",
        "properties",
        "top index",
        "dictionary",
    ];
    let mut out = String::new();
    let mut at = 0;
    let footer = bytes.len() - 96;
    while at < footer {
        let header = &bytes[at..at + 20];
        let stored = u32::from_le_bytes(header[16..20].try_into().unwrap());
        let end = at + 20 + usize::try_from(stored).unwrap();
        let name = names[usize::from(header[8])];
        hex(&mut out, &format!("frame at {at}, {name}: header"), header);
        hex(&mut out, "payload", &bytes[at + 20..end]);
        at = end;
    }
    assert_eq!(at, footer, "frames fill the file");
    hex(&mut out, &format!("footer at {footer}"), &bytes[footer..]);
    out
}

fn manifest() -> String {
    let memory = example();
    let mut out = String::new();
    let current = file(&memory, |name| name == "CURRENT");
    writeln!(
        out,
        "CURRENT: {}",
        String::from_utf8(current).unwrap().trim_end()
    )
    .unwrap();
    let bytes = file(&memory, |name| name.contains("MANIFEST"));
    let mut at = 0;
    while at < bytes.len() {
        let len = u32::from_le_bytes(bytes[at + 2..at + 6].try_into().unwrap());
        let payload = at + 19;
        let end = payload + usize::try_from(len).unwrap();
        hex(
            &mut out,
            &format!("record at {at}: header"),
            &bytes[at..payload],
        );
        hex(&mut out, "payload, compressed", &bytes[payload..end]);
        hex(&mut out, "trailer", &bytes[end..end + 5]);
        at = end + 5;
    }
    out
}

/// Compares the block below `## Example` of a page, or writes it.
fn check(page: &str, example: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs/formats")
        .join(page);
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once("## Example").unwrap();
    let mut parts = rest.splitn(3, "```");
    let (intro, found) = (parts.next().unwrap(), parts.next().unwrap());
    let after = parts.next().unwrap();
    if std::env::var_os("UPDATE").is_some() {
        let new = format!("{before}## Example{intro}```\n{example}```{after}");
        write_page(&path, &new);
        return;
    }
    let advice = "run UPDATE=1 cargo test -p lsm --test it format_pages";
    assert_eq!(found.trim_start_matches('\n'), example, "{page}: {advice}");
}

#[test]
fn the_file_on_the_sstable_page_is_what_is_written() {
    check("sstable.md", &sstable());
}

#[test]
fn the_records_on_the_manifest_page_are_what_is_written() {
    check("manifest.md", &manifest());
}
