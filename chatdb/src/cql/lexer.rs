//! Splits statement text into tokens with their offsets.
//!
//! # Invariants
//!
//! * Any text gives tokens or an error with a position; never a panic.
//! * One pass, time and memory linear in the text, which is at most [`STATEMENT_BYTES_MAX`].

use crate::error::{Error, Result};
use bytes::Bytes;

/// Longest statement, in bytes.
pub const STATEMENT_BYTES_MAX: usize = 1024 * 1024;

/// A token and where it begins.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    /// What it is.
    pub kind: TokenKind,
    /// Offset of its first byte in the text.
    pub offset: usize,
}

/// What a token is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum TokenKind {
    /// A word as written, not quoted.
    Word(String),
    /// A name in double quotes.
    Quoted(String),
    /// A whole number.
    Integer(i64),
    /// A number with a point or an exponent.
    Float(f64),
    /// Text in single quotes or `$$`.
    Text(String),
    /// `0x...`.
    Blob(Bytes),
    /// A hyphenated UUID.
    Uuid([u8; 16]),
    /// Punctuation, one of [`SYMBOLS`].
    Symbol(&'static str),
    /// The end of the text.
    End,
}

/// Punctuation, longer forms first.
pub(super) const SYMBOLS: [&str; 23] = [
    "!=", "<=", ">=", "+=", "-=", "(", ")", "{", "}", "[", "]", ",", ";", ".", ":", "?", "=", "<",
    ">", "+", "-", "*", "%",
];

/// Line and column, both from 1, of a byte offset.
pub(super) fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (
        line,
        before.get(start..).map_or(0, |text| text.chars().count()) + 1,
    )
}

/// An error at an offset, with the line it is on.
pub(super) fn error_at(text: &str, offset: usize, what: &str) -> Error {
    let (line, column) = line_and_column(text, offset);
    Error::invalid(format!("{what} at line {line} column {column}"))
}

/// All tokens of `text`, ending with [`TokenKind::End`].
pub(super) fn tokenize(text: &str) -> Result<Vec<Token>> {
    if text.len() > STATEMENT_BYTES_MAX {
        return Err(Error::invalid(format!(
            "the statement has {} bytes, more than the {STATEMENT_BYTES_MAX} allowed",
            text.len()
        ))
        .with_help("try", "bind long values to ? markers, or split the batch"));
    }
    let mut lexer = Lexer { text, offset: 0 };
    let mut tokens = Vec::new();
    loop {
        lexer.skip_space()?;
        let offset = lexer.offset;
        let kind = lexer.next_kind()?;
        let at_end = kind == TokenKind::End;
        tokens.push(Token { kind, offset });
        if at_end {
            return Ok(tokens);
        }
    }
}

struct Lexer<'a> {
    text: &'a str,
    offset: usize,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.offset..).unwrap_or("")
    }

    fn error<T>(&self, offset: usize, what: &str) -> Result<T> {
        Err(error_at(self.text, offset, what))
    }

    /// Takes bytes while `accept` holds; only for ASCII classes, so it stops on a boundary.
    fn take_while(&mut self, accept: impl Fn(u8) -> bool) -> &'a str {
        let rest = self.rest();
        let len = rest.bytes().take_while(|byte| accept(*byte)).count();
        self.offset += len;
        rest.get(..len).unwrap_or("")
    }

    fn skip_space(&mut self) -> Result<()> {
        loop {
            self.take_while(|byte| byte.is_ascii_whitespace());
            let rest = self.rest();
            if rest.starts_with("--") || rest.starts_with("//") {
                self.offset += rest.find('\n').unwrap_or(rest.len());
            } else if rest.starts_with("/*") {
                let Some(len) = rest.find("*/") else {
                    return self.error(self.offset, "comment without an end */");
                };
                self.offset += len + 2;
            } else {
                return Ok(());
            }
        }
    }

    fn next_kind(&mut self) -> Result<TokenKind> {
        let rest = self.rest();
        let bytes = rest.as_bytes();
        let Some(first) = bytes.first().copied() else {
            return Ok(TokenKind::End);
        };
        if let Some(uuid) = leading_uuid(rest) {
            self.offset += 36;
            return Ok(TokenKind::Uuid(uuid));
        }
        let second = bytes.get(1).copied().unwrap_or(b' ');
        match first {
            b'\'' => self.quoted('\'').map(TokenKind::Text),
            b'"' => self.quoted('"').map(TokenKind::Quoted),
            b'$' if second == b'$' => self.dollar_quoted(),
            b'0' if second == b'x' || second == b'X' => self.blob(),
            b'0'..=b'9' => self.number(),
            b'-' if second.is_ascii_digit() => self.number(),
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
                let word = self.take_while(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
                Ok(TokenKind::Word(word.to_owned()))
            }
            _ => self.symbol(),
        }
    }

    fn symbol(&mut self) -> Result<TokenKind> {
        let rest = self.rest();
        if let Some(symbol) = SYMBOLS.into_iter().find(|symbol| rest.starts_with(symbol)) {
            self.offset += symbol.len();
            return Ok(TokenKind::Symbol(symbol));
        }
        let found = rest.chars().next().unwrap_or(' ');
        self.error(self.offset, &format!("unexpected character {found:?}"))
    }

    /// Text up to the closing `quote`; a doubled quote stands for itself.
    fn quoted(&mut self, quote: char) -> Result<String> {
        let start = self.offset;
        let rest = self.rest();
        let mut text = String::new();
        let mut chars = rest.char_indices().skip(1).peekable();
        while let Some((at, char)) = chars.next() {
            if char != quote {
                text.push(char);
            } else if chars.next_if(|(_, next)| *next == quote).is_some() {
                text.push(quote);
            } else {
                self.offset = start + at + 1;
                return Ok(text);
            }
        }
        self.error(start, &format!("text without its closing {quote}"))
    }

    fn dollar_quoted(&mut self) -> Result<TokenKind> {
        let body = self.rest().get(2..).unwrap_or("");
        let Some(len) = body.find("$$") else {
            return self.error(self.offset, "text without its closing $$");
        };
        self.offset += len + 4;
        Ok(TokenKind::Text(body.get(..len).unwrap_or("").to_owned()))
    }

    fn blob(&mut self) -> Result<TokenKind> {
        let start = self.offset;
        self.offset += 2;
        let digits = self.take_while(|byte| byte.is_ascii_alphanumeric());
        match decode_hex(digits) {
            Some(bytes) => Ok(TokenKind::Blob(bytes.into())),
            None => self.error(
                start,
                "blob that is not an even number of hexadecimal digits",
            ),
        }
    }

    fn number(&mut self) -> Result<TokenKind> {
        let start = self.offset;
        if self.rest().starts_with('-') {
            self.offset += 1;
        }
        self.take_while(|byte| byte.is_ascii_digit());
        let mut is_float = false;
        let fraction = self.rest().as_bytes();
        if fraction.first() == Some(&b'.') && fraction.get(1).is_some_and(u8::is_ascii_digit) {
            is_float = true;
            self.offset += 1;
            self.take_while(|byte| byte.is_ascii_digit());
        }
        if let Some(len) = exponent_sign_len(self.rest()) {
            is_float = true;
            self.offset += len;
            self.take_while(|byte| byte.is_ascii_digit());
        }
        let text = self.text.get(start..self.offset).unwrap_or("");
        if self
            .rest()
            .starts_with(|next: char| next.is_ascii_alphanumeric() || next == '_')
        {
            return self.error(start, "number followed by letters");
        }
        if is_float {
            if let Ok(value) = text.parse() {
                return Ok(TokenKind::Float(value));
            }
        } else if let Ok(value) = text.parse() {
            return Ok(TokenKind::Integer(value));
        }
        self.error(start, "number outside the range of bigint")
    }
}

/// Length of `e`, `e+` or `e-` when digits follow.
fn exponent_sign_len(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    if !matches!(bytes.first()?, b'e' | b'E') {
        return None;
    }
    let len = if matches!(bytes.get(1)?, b'+' | b'-') {
        2
    } else {
        1
    };
    bytes.get(len)?.is_ascii_digit().then_some(len)
}

fn leading_uuid(text: &str) -> Option<[u8; 16]> {
    let candidate = text.get(..36)?;
    let follows = text.as_bytes().get(36);
    if follows.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_') {
        return None;
    }
    let has_shape = candidate
        .bytes()
        .enumerate()
        .all(|(position, byte)| match position {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    has_shape
        .then(|| decode_hex(&candidate.replace('-', "")))??
        .try_into()
        .ok()
}

fn decode_hex(digits: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|value| u8::try_from(value).ok())
    };
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect()
}
