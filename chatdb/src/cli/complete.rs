//! Help while typing: completion of words, continuation of unfinished statements, colors.

use crate::cli::split::is_complete;
use crate::db::status::Schema;
use rustyline::completion::Completer;
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::Hinter;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Helper};
use std::borrow::Cow;
use std::collections::BTreeSet;

const KEYWORDS: &[&str] = &[
    "ADD",
    "ALTER",
    "AND",
    "APPLY",
    "AS",
    "ASC",
    "BATCH",
    "BEGIN",
    "BY",
    "CLUSTERING",
    "COUNT(*)",
    "CREATE",
    "DELETE",
    "DESC",
    "DESCRIBE",
    "DROP",
    "EXISTS",
    "EXIT",
    "EXPAND",
    "FROM",
    "HELP",
    "IF",
    "IN",
    "INSERT",
    "INTO",
    "KEY",
    "KEYSPACE",
    "KEYSPACES",
    "LIMIT",
    "NOT",
    "NULL",
    "ORDER",
    "PARTITION",
    "PER",
    "PRIMARY",
    "SELECT",
    "SET",
    "SOURCE",
    "STATIC",
    "TABLE",
    "TABLES",
    "TOKEN",
    "TOPIC",
    "TRUNCATE",
    "TTL",
    "UPDATE",
    "USE",
    "USING",
    "VALUES",
    "WHERE",
    "WITH",
    "WRITETIME",
    "bigint",
    "blob",
    "boolean",
    "double",
    "int",
    "list",
    "map",
    "set",
    "text",
    "timestamp",
    "uuid",
];

/// What Tab knows.
#[derive(Debug, Default)]
pub(crate) struct Words {
    keyspaces: BTreeSet<String>,
    tables: BTreeSet<String>,
    columns: BTreeSet<String>,
}

impl Words {
    pub(crate) fn new(schema: &Schema, keyspace: Option<&str>) -> Self {
        let mut words = Self {
            keyspaces: schema.keyspaces.iter().cloned().collect(),
            ..Self::default()
        };
        for table in &schema.tables {
            words
                .tables
                .insert(format!("{}.{}", table.keyspace, table.name));
            if keyspace.is_some_and(|keyspace| keyspace == table.keyspace) {
                words.tables.insert(table.name.clone());
            }
            words
                .columns
                .extend(table.columns.iter().map(|column| column.name.clone()));
        }
        words
    }

    /// Words that begin with the prefix; keywords in the case that the person types.
    fn completions(&self, before: &str, prefix: &str) -> Vec<String> {
        let previous = before.split_whitespace().next_back().unwrap_or_default();
        let previous = previous.to_ascii_lowercase();
        let wants_table = matches!(previous.as_str(), "from" | "into" | "update" | "table");
        let wants_keyspace = matches!(previous.as_str(), "use" | "keyspace");
        let lower = prefix.to_ascii_lowercase();
        let starting = |words: &BTreeSet<String>| -> Vec<String> {
            words
                .iter()
                .filter(|word| word.starts_with(&lower))
                .cloned()
                .collect()
        };
        if wants_keyspace {
            return starting(&self.keyspaces);
        }
        if wants_table {
            return starting(&self.tables);
        }
        let types_lower = prefix.chars().any(char::is_lowercase);
        let keywords = KEYWORDS
            .iter()
            .filter(|word| word.to_ascii_lowercase().starts_with(&lower))
            .map(|word| {
                if types_lower {
                    word.to_ascii_lowercase()
                } else {
                    (*word).to_owned()
                }
            });
        let mut found: Vec<String> = keywords.collect();
        found.extend(starting(&self.columns));
        found.extend(starting(&self.tables));
        found
    }
}

/// The helper of the line editor.
#[derive(Debug)]
pub(crate) struct Assistant {
    words: Words,
}

impl Assistant {
    pub(crate) fn new(words: Words) -> Self {
        Self { words }
    }
}

impl Helper for Assistant {}

impl Hinter for Assistant {
    type Hint = String;
}

impl Completer for Assistant {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _context: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let typed = line.get(..position).unwrap_or_default();
        let is_part =
            |character: char| character.is_alphanumeric() || matches!(character, '_' | '.' | '\\');
        let start = typed
            .char_indices()
            .rev()
            .take_while(|(_, character)| is_part(*character))
            .last()
            .map_or(position, |(at, _)| at);
        let (before, prefix) = typed.split_at(start);
        Ok((start, self.words.completions(before, prefix)))
    }
}

impl Validator for Assistant {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(if is_complete(context.input()) {
            ValidationResult::Valid(None)
        } else {
            ValidationResult::Incomplete
        })
    }
}

impl Highlighter for Assistant {
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(
        &'s self,
        prompt: &'p str,
        _default: bool,
    ) -> Cow<'b, str> {
        Cow::Owned(format!("\x1b[1m{prompt}\x1b[0m"))
    }

    fn highlight_char(&self, _line: &str, _position: usize, _kind: CmdKind) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tab_knows_what_the_place_wants() {
        let words = Words {
            keyspaces: BTreeSet::from(["flux".to_owned()]),
            tables: BTreeSet::from(["flux.messages".to_owned(), "messages".to_owned()]),
            columns: BTreeSet::from(["message_id".to_owned()]),
        };
        assert_eq!(words.completions("select * from ", "mess"), ["messages"]);
        assert_eq!(words.completions("use ", ""), ["flux"]);
        assert_eq!(words.completions("", "sel"), ["select"]);
        assert_eq!(words.completions("", "SEL"), ["SELECT"]);
        assert_eq!(
            words.completions("select ", "message"),
            ["message_id", "messages"]
        );
    }
}
