//! Recursive descent over the tokens of one statement, one function per rule.
//!
//! # Invariants
//!
//! * Recursion is bounded by [`TERM_DEPTH_MAX`] and every list by a constant, so that a hostile
//!   statement costs no more than its length.
//! * Every error says what was expected, what was found, where, and the form of the statement.

mod ddl;
mod dml;
mod select;
mod term;

use super::ast::{Statement, TableName};
use super::lexer::{Token, TokenKind, error_at, tokenize};
use crate::error::{Error, Result};

/// Deepest nesting of a written value: an element inside a collection.
const TERM_DEPTH_MAX: u32 = 2;
/// Most bind markers in a statement.
const MARKERS_MAX: usize = 32 * 1024;
/// Most items of any list in a statement, apart from bind markers.
const LIST_MAX: usize = 16 * 1024;

/// Words that are never names unless quoted, so that a forgotten name is found where it is missing.
const RESERVED: [&str; 33] = [
    "add", "alter", "and", "apply", "asc", "batch", "begin", "by", "create", "delete", "desc",
    "drop", "from", "if", "in", "insert", "into", "keyspace", "limit", "not", "null", "on", "or",
    "order", "primary", "select", "set", "table", "token", "update", "use", "using", "where",
];

/// Whether an unquoted name of this text would be taken for a keyword.
pub(super) fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name) || name == "with" || name == "truncate"
}

/// A parsed statement and its bind markers.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// The statement.
    pub statement: Statement,
    /// The name of each marker in order; `None` for `?`. A name used twice is one marker.
    pub markers: Vec<Option<String>>,
}

/// Parses one statement, with or without its closing semicolon.
pub fn parse(text: &str) -> Result<Parsed> {
    let mut parser = Parser::new(text)?;
    let statement = parser.statement()?;
    parser.eat_symbol(";");
    if parser.peek() == &TokenKind::End {
        Ok(Parsed {
            statement,
            markers: parser.markers,
        })
    } else {
        Err(parser.expected("the end of the statement"))
    }
}

/// Whether text typed so far ends a statement: with a semicolon that is not inside a batch.
///
/// Text that cannot be split into tokens for another reason than a missing end counts as complete,
/// so that the person sees the error.
pub fn is_complete(text: &str) -> bool {
    match tokenize(text) {
        Ok(tokens) => ends(&tokens)
            .last()
            .is_some_and(|end| end + 2 >= tokens.len()),
        Err(error) => !error.message().contains("without"),
    }
}

/// Splits a script into its statements, without their semicolons; empty ones are left out.
pub fn split(text: &str) -> Result<Vec<&str>> {
    let tokens = tokenize(text)?;
    let mut start = 0;
    let mut statements = Vec::new();
    let last = tokens.len().saturating_sub(1);
    for end in ends(&tokens).into_iter().chain([last]) {
        let offset = tokens.get(end).map_or(text.len(), |token| token.offset);
        let first = tokens.get(start);
        if start < end {
            let begin = first.map_or(offset, |token| token.offset);
            statements.push(text.get(begin..offset).unwrap_or("").trim_end());
        }
        start = end + 1;
    }
    Ok(statements)
}

/// Numbers of the tokens that end a statement.
fn ends(tokens: &[Token]) -> Vec<usize> {
    let mut in_batch = false;
    let mut ends = Vec::new();
    let mut starts_statement = true;
    for (position, token) in tokens.iter().enumerate() {
        match &token.kind {
            TokenKind::Word(word) if starts_statement && word.eq_ignore_ascii_case("begin") => {
                in_batch = true;
            }
            TokenKind::Word(word) if word.eq_ignore_ascii_case("apply") => in_batch = false,
            TokenKind::Symbol(";") if !in_batch => ends.push(position),
            _ => {}
        }
        starts_statement = token.kind == TokenKind::Symbol(";");
    }
    ends
}

/// The state of parsing one statement.
struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Token>,
    position: usize,
    markers: Vec<Option<String>>,
    /// The form of the statement being parsed, for the `try:` line.
    form: &'static str,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Result<Self> {
        let tokens = tokenize(text)?;
        let form = "SELECT, INSERT, UPDATE, DELETE, BEGIN BATCH, CREATE, ALTER, DROP, TRUNCATE, \
                    USE or DESCRIBE";
        Ok(Self {
            text,
            tokens,
            position: 0,
            markers: Vec::new(),
            form,
        })
    }

    fn peek(&self) -> &TokenKind {
        self.peek_at(0)
    }

    fn peek_at(&self, ahead: usize) -> &TokenKind {
        self.tokens
            .get(self.position + ahead)
            .map_or(&TokenKind::End, |token| &token.kind)
    }

    /// Takes the next token; the end is never passed.
    fn advance(&mut self) -> TokenKind {
        let kind = self.peek().clone();
        if kind != TokenKind::End {
            self.position += 1;
        }
        kind
    }

    fn offset(&self) -> usize {
        self.tokens
            .get(self.position)
            .map_or(self.text.len(), |token| token.offset)
    }

    /// The error that something else was expected here.
    fn expected(&self, what: &str) -> Error {
        let found = match self.peek() {
            TokenKind::End => "the end of the text".to_owned(),
            TokenKind::Word(word) => format!("`{}`", shorten(word)),
            TokenKind::Quoted(name) => format!("`\"{}\"`", shorten(name)),
            TokenKind::Symbol(symbol) => format!("`{symbol}`"),
            TokenKind::Text(text) => format!("the text '{}'", shorten(text)),
            TokenKind::Integer(value) => format!("the number {value}"),
            TokenKind::Float(value) => format!("the number {value}"),
            TokenKind::Blob(_) => "a blob".to_owned(),
            TokenKind::Uuid(_) => "a uuid".to_owned(),
        };
        self.error(&format!("expected {what}, found {found}"))
    }

    /// An error at the next token.
    fn error(&self, what: &str) -> Error {
        let offset = self.offset();
        let line_start = self
            .text
            .get(..offset)
            .and_then(|before| before.rfind('\n'))
            .map_or(0, |at| at + 1);
        let line = self
            .text
            .get(line_start..)
            .and_then(|rest| rest.lines().next())
            .unwrap_or("");
        error_at(self.text, offset, what)
            .with_help("line", shorten(line))
            .with_help("form", self.form)
    }

    fn is_word(&self, word: &str) -> bool {
        self.is_word_at(0, word)
    }

    fn is_word_at(&self, ahead: usize, word: &str) -> bool {
        matches!(self.peek_at(ahead), TokenKind::Word(found) if found.eq_ignore_ascii_case(word))
    }

    fn eat_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        if found {
            self.position += 1;
        }
        found
    }

    /// Takes these words if all of them follow.
    fn eat_words(&mut self, words: &[&str]) -> bool {
        let found = words
            .iter()
            .enumerate()
            .all(|(ahead, word)| self.is_word_at(ahead, word));
        if found {
            self.position += words.len();
        }
        found
    }

    fn expect_word(&mut self, word: &str) -> Result<()> {
        if self.eat_word(word) {
            Ok(())
        } else {
            Err(self.expected(word))
        }
    }

    fn is_symbol(&self, symbol: &str) -> bool {
        matches!(self.peek(), TokenKind::Symbol(found) if *found == symbol)
    }

    fn eat_symbol(&mut self, symbol: &str) -> bool {
        let found = self.is_symbol(symbol);
        if found {
            self.position += 1;
        }
        found
    }

    fn expect_symbol(&mut self, symbol: &str) -> Result<()> {
        if self.eat_symbol(symbol) {
            Ok(())
        } else {
            Err(self.expected(&format!("`{symbol}`")))
        }
    }

    /// An identifier: a word that is not reserved, in lower case, or a quoted name as it is.
    fn name(&mut self, what: &str) -> Result<String> {
        let name = match self.peek() {
            TokenKind::Word(word) => word.to_ascii_lowercase(),
            TokenKind::Quoted(name) if !name.is_empty() => name.clone(),
            _ => return Err(self.expected(what)),
        };
        if matches!(self.peek(), TokenKind::Word(_)) && is_reserved(&name) {
            let help = format!("\"{name}\" in double quotes, if that is its name");
            return Err(self.expected(what).with_help("try", help));
        }
        self.position += 1;
        Ok(name)
    }

    /// `[keyspace.]table`.
    fn table_name(&mut self) -> Result<TableName> {
        let first = self.name("a table name")?;
        if self.eat_symbol(".") {
            Ok(TableName {
                keyspace: Some(first),
                table: self.name("a table name")?,
            })
        } else {
            Ok(TableName {
                keyspace: None,
                table: first,
            })
        }
    }

    /// `item, item, ...`, at least one.
    fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let mut items = vec![item(self)?];
        while self.eat_symbol(",") {
            if items.len() >= LIST_MAX {
                return Err(self.error(&format!("more than {LIST_MAX} items in one list")));
            }
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// `(name, ...)`.
    fn names(&mut self, what: &str) -> Result<Vec<String>> {
        self.expect_symbol("(")?;
        let names = self.list(|parser| parser.name(what))?;
        self.expect_symbol(")")?;
        Ok(names)
    }

    fn statement(&mut self) -> Result<Statement> {
        let word = match self.peek() {
            TokenKind::Word(word) => word.to_ascii_lowercase(),
            _ => return Err(self.expected("a statement")),
        };
        match word.as_str() {
            "select" => self.select().map(Statement::Select),
            "insert" => self.insert().map(Statement::Insert),
            "update" => self.update().map(Statement::Update),
            "delete" => self.delete().map(Statement::Delete),
            "begin" => self.batch().map(Statement::Batch),
            "create" => self.create(),
            "alter" => self.alter(),
            "drop" => self.drop(),
            "truncate" => self.truncate(),
            "use" => self.use_keyspace(),
            "describe" | "desc" => self.describe(),
            _ => Err(self.expected("a statement")),
        }
    }
}

/// At most 60 characters of `text`, for messages.
fn shorten(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or("")),
        None => text.to_owned(),
    }
}
