//! Statements and what they answer, as files that read like a session in the shell.
//!
//! A line that begins with `> ` is a statement; lines that begin with two spaces continue it. What
//! follows, up to the next statement or comment, is the answer. `> .sleep N` lets N seconds pass,
//! `> .flush` writes the memtable to files, `> .restart` closes and opens the store, `> .page N` sets
//! the page size, `> .next` repeats the last statement from its page state.
//! `UPDATE=1 cargo test` rewrites the answers.

use crate::store_support::{Database, table};
use std::path::{Path, PathBuf};

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/transcripts")
}

#[derive(Default)]
struct Session {
    database: Option<Database>,
    last: String,
}

impl Session {
    fn run(&mut self, statement: &str) -> String {
        let database = self.database.get_or_insert_with(Database::new);
        if let Some(seconds) = statement.strip_prefix(".sleep ") {
            database.now_us += seconds.parse::<u64>().unwrap() * 1_000_000;
            return String::new();
        }
        if let Some(rows) = statement.strip_prefix(".page ") {
            database.page_rows = Some(rows.parse().unwrap());
            return String::new();
        }
        match statement {
            ".flush" => {
                database.flush();
                String::new()
            }
            ".restart" => {
                database.restart();
                String::new()
            }
            ".next" => {
                let statement = self.last.clone();
                self.answer(&statement)
            }
            _ => {
                database.page_state = None;
                statement.clone_into(&mut self.last);
                self.answer(statement)
            }
        }
    }

    fn answer(&mut self, statement: &str) -> String {
        let Some(database) = &mut self.database else {
            return String::new();
        };
        // A clock that moves shows that answers do not depend on two writes sharing a microsecond.
        database.now_us += 1000;
        match database.run(statement, &[]) {
            Ok(result) => {
                database.page_state.clone_from(&result.page_state);
                table(&result)
            }
            Err(error) => format!("error: {}\n", error.report()),
        }
    }
}

/// The transcript with the answers that the database gives now.
fn replay(text: &str) -> String {
    let mut session = Session::default();
    let mut output = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(first) = line.strip_prefix("> ") else {
            if line.starts_with('#') || line.is_empty() {
                output.push_str(line);
                output.push('\n');
            }
            continue;
        };
        output.push_str(line);
        output.push('\n');
        let mut statement = first.to_owned();
        while let Some(more) = lines.next_if(|line| line.starts_with("  ")) {
            output.push_str(more);
            output.push('\n');
            statement.push('\n');
            statement.push_str(more);
        }
        // Help lines of an error are indented too; they follow a line that is not a statement.
        output.push_str(&session.run(&statement));
        while lines
            .next_if(|line| !line.starts_with(['>', '#']))
            .is_some()
        {}
    }
    output
}

#[test]
fn transcripts_answer_as_written() {
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let expected = std::fs::read_to_string(&file).unwrap();
        let actual = replay(&expected);
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&file, actual).unwrap();
        } else {
            let name = file.display();
            let differs = actual
                .lines()
                .zip(expected.lines())
                .position(|(a, b)| a != b);
            if let Some(line) = differs {
                let shown = |text: &str| text.lines().nth(line).map(str::to_owned);
                assert_eq!(shown(&actual), shown(&expected), "{name} line {}", line + 1);
            }
            assert_eq!(
                actual.len(),
                expected.len(),
                "{name}: UPDATE=1 rewrites it if right"
            );
        }
    }
}
