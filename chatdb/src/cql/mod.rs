//! CQL text to statements: lexer, syntax tree, recursive-descent parser, and back to text.
//!
//! The language is a subset of CQL 3; `docs/cql.md` lists it with its deviations. The parser is
//! written by hand so that its errors can say what was expected, where, and what to type instead.
//! `Display` of a statement parses to the same statement.

pub mod ast;
mod display;
mod lexer;
mod parser;

pub(crate) use display::quote_name;
pub use lexer::STATEMENT_BYTES_MAX;
pub use parser::{Parsed, is_complete, parse, split};
