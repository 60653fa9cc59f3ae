//! Runs what was typed: statements, and the shell's own commands.

use crate::cli::describe::describe;
use crate::cli::render::{Format, footer, rows};
use crate::cli::screen::Screen;
use crate::cli::split::split;
use crate::cli::{Stop, error_chain};
use crate::db::Db;
use crate::db::statement::{Consistency, Statement};
use crate::db::status::Schema;
use crate::error::{Error, Result};
use crate::result::{QueryStats, ResultSet};
use std::path::Path;
use std::time::Instant;

/// Rows of one page for a person.
const PAGE_ROWS_SHOWN: u32 = 100;
/// Rows of one page for a program.
const PAGE_ROWS_PIPED: u32 = 5000;
/// How deep SOURCE may call SOURCE.
const SOURCE_DEPTH_MAX: usize = 8;

/// What to do when a result has more pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paging {
    /// Print them all.
    All,
    /// Ask after each.
    Ask,
}

/// Whether the shell goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    Continue,
    Leave,
}

/// One person's or program's conversation with a database.
#[derive(Debug)]
pub(crate) struct Session {
    db: Db,
    pub(crate) keyspace: Option<String>,
    pub(crate) format: Format,
    pub(crate) has_footer: bool,
    pub(crate) consistency: Consistency,
    source_depth: usize,
}

/// What the pages of one result come to.
#[derive(Debug, Default)]
struct Total {
    pages: usize,
    rows: usize,
    has_columns: bool,
    stats: QueryStats,
}

impl Total {
    /// Adds a page; tells whether it is the first.
    fn add(&mut self, page: &ResultSet, begun: Instant) -> bool {
        let elapsed = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.stats.elapsed_us = self.stats.elapsed_us.saturating_add(elapsed);
        self.stats.add(&page.stats);
        self.stats.node = page.stats.node;
        self.rows += page.len();
        self.has_columns |= !page.columns.is_empty();
        self.pages += 1;
        self.pages == 1
    }
}

impl Session {
    pub(crate) fn new(db: Db, keyspace: Option<String>) -> Self {
        Self {
            db,
            keyspace,
            format: Format::Table,
            has_footer: true,
            consistency: Consistency::default(),
            source_depth: 0,
        }
    }

    pub(crate) async fn schema(&self) -> Result<Schema> {
        self.db.schema().await
    }

    /// Runs one statement or command, without its semicolon.
    pub(crate) async fn run(
        &mut self,
        text: &str,
        paging: Paging,
        screen: &Screen,
    ) -> std::result::Result<Then, Stop> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let first = words.first().map(|word| word.to_ascii_lowercase());
        let rest = words.get(1..).unwrap_or_default();
        match first.as_deref() {
            Some("exit" | "quit" | "\\q") => return Ok(Then::Leave),
            Some("help" | "\\?" | "\\h") => screen.write(HELP)?,
            Some("\\timing" | "timing") => {
                self.has_footer = switch(rest, self.has_footer)?;
                screen.note(&format!(
                    "the line under results is {}",
                    on_off(self.has_footer)
                ))?;
            }
            Some("expand" | "\\expand" | "\\x") => {
                let is_expanded = switch(rest, self.format == Format::Expanded)?;
                self.format = if is_expanded {
                    Format::Expanded
                } else {
                    Format::Table
                };
                screen.note(&format!("one column per line is {}", on_off(is_expanded)))?;
            }
            Some("use") if rest.len() == 1 => self.use_keyspace(rest).await?,
            Some("describe" | "desc") => {
                let schema = self.db.schema().await?;
                let keyspace = self.keyspace.as_deref();
                screen.write(&describe(rest, &schema, keyspace, screen.width())?)?;
            }
            Some("source") => self.source(text, screen).await?,
            Some(_) => self.statement(text, paging, screen).await?,
            None => {}
        }
        Ok(Then::Continue)
    }

    async fn use_keyspace(&mut self, rest: &[&str]) -> Result<()> {
        let name = rest.first().copied().unwrap_or_default();
        let name = match name
            .strip_prefix('"')
            .and_then(|name| name.strip_suffix('"'))
        {
            Some(quoted) => quoted.to_owned(),
            None => name.to_ascii_lowercase(),
        };
        let schema = self.db.schema().await?;
        if !schema.keyspaces.contains(&name) {
            return Err(Error::not_found(format!("keyspace {name} does not exist"))
                .with_help("keyspaces", schema.keyspaces.join(", ")));
        }
        self.keyspace = Some(name);
        Ok(())
    }

    async fn source(&mut self, text: &str, screen: &Screen) -> std::result::Result<(), Stop> {
        let path = text
            .split_once(char::is_whitespace)
            .map_or("", |(_, path)| path)
            .trim();
        let path = path.trim_matches('\'');
        if self.source_depth >= SOURCE_DEPTH_MAX {
            return Err(Error::invalid("SOURCE calls itself too deep").into());
        }
        let statements = std::fs::read_to_string(Path::new(path))
            .map_err(|cause| Error::invalid(format!("cannot read {path}: {cause}")))?;
        let statements = split(&statements)?;
        self.source_depth += 1;
        let mut outcome = Ok(());
        for statement in statements {
            outcome = Box::pin(self.run(statement, Paging::All, screen))
                .await
                .map(|_| ());
            if outcome.is_err() {
                break;
            }
        }
        self.source_depth -= 1;
        outcome
    }

    async fn statement(
        &self,
        text: &str,
        paging: Paging,
        screen: &Screen,
    ) -> std::result::Result<(), Stop> {
        let page_rows = match paging {
            Paging::Ask => PAGE_ROWS_SHOWN,
            Paging::All => PAGE_ROWS_PIPED,
        };
        let mut statement = Statement::new(text.to_owned())
            .page_size(page_rows)
            .consistency(self.consistency);
        if let Some(keyspace) = &self.keyspace {
            statement = statement.keyspace(keyspace.clone());
        }
        let mut total = Total::default();
        loop {
            let begun = Instant::now();
            let result = self.db.execute(statement.clone()).await?;
            let is_first = total.add(&result, begun);
            if is_first || !result.is_empty() {
                screen.write(&rows(&result, self.format, screen.width(), is_first))?;
            }
            let has_more = result.page_state.is_some();
            statement = statement.page_state(result.page_state.clone());
            if !has_more || (paging == Paging::Ask && !wants_more(total.rows, screen)?) {
                return self.finish(&total, screen);
            }
        }
    }

    fn finish(&self, total: &Total, screen: &Screen) -> std::result::Result<(), Stop> {
        if self.has_footer {
            screen.note(&footer(total.rows, &total.stats, total.has_columns))?;
        }
        Ok(())
    }

    /// Prints an error the way a person reads it; passes on what is not theirs to read.
    pub(crate) fn tell(stop: Stop, screen: &Screen) -> std::result::Result<(), Stop> {
        match stop {
            Stop::Failed(error) => {
                screen.error(&error_chain(&error));
                Ok(())
            }
            other => Err(other),
        }
    }
}

fn switch(rest: &[&str], now: bool) -> Result<bool> {
    match rest.first() {
        None => Ok(!now),
        Some(word) if word.eq_ignore_ascii_case("on") => Ok(true),
        Some(word) if word.eq_ignore_ascii_case("off") => Ok(false),
        Some(word) => Err(Error::invalid(format!("{word} is neither ON nor OFF"))),
    }
}

fn on_off(is_on: bool) -> &'static str {
    if is_on { "on" } else { "off" }
}

/// Asks whether to print the next page. Only a person at a terminal is asked.
fn wants_more(shown: usize, screen: &Screen) -> std::io::Result<bool> {
    screen.write(&format!(
        "\x1b[2m{shown} rows so far; Enter for more, q to stop \x1b[0m"
    ))?;
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer)?;
    Ok(read > 0 && !answer.trim().eq_ignore_ascii_case("q"))
}

const HELP: &str = "\
Statements end with a semicolon and may span lines.
  CREATE | ALTER | DROP  KEYSPACE | TABLE ...     INSERT, UPDATE, DELETE, SELECT, BEGIN BATCH
  USE keyspace              names without a keyspace belong to it
  DESCRIBE TABLES           also KEYSPACES, KEYSPACE name, TABLE name, SCHEMA
  SOURCE 'file'             runs the statements of a file
  EXPAND [ON|OFF]           one column per line, for wide rows
  \\timing [ON|OFF]          the line of facts under results
  EXIT                      also Ctrl-D; Ctrl-C cancels a statement, not the shell
Tab completes keywords, tables and columns; the arrow keys walk through history.
";
