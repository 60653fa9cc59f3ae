//! Values: literals, collections and bind markers.

use super::{MARKERS_MAX, Parser, TERM_DEPTH_MAX};
use crate::cql::ast::{Comparison, Literal, Term};
use crate::cql::lexer::TokenKind;
use crate::error::Result;

impl Parser<'_> {
    /// A value written out or a bind marker.
    pub(super) fn term(&mut self) -> Result<Term> {
        self.term_at(0)
    }

    fn term_at(&mut self, depth: u32) -> Result<Term> {
        match self.marker()? {
            Some(number) => Ok(Term::Marker(number)),
            None => self.literal_at(depth).map(Term::Literal),
        }
    }

    /// The number of a `?` or `:name`, if one is next.
    pub(super) fn marker(&mut self) -> Result<Option<u16>> {
        let name = if self.is_symbol("?") {
            self.position += 1;
            None
        } else if self.eat_symbol(":") {
            Some(self.name("the name of a bind marker")?)
        } else {
            return Ok(None);
        };
        if let Some(first) = self.markers.first()
            && first.is_some() != name.is_some()
        {
            return Err(self.error("`?` and `:name` markers in one statement; use one kind"));
        }
        let known = self
            .markers
            .iter()
            .position(|marker| name.is_some() && *marker == name);
        let number = known.unwrap_or(self.markers.len());
        if known.is_none() {
            self.markers.push(name);
        }
        match u16::try_from(number) {
            Ok(number) if self.markers.len() <= MARKERS_MAX => Ok(Some(number)),
            _ => Err(self.error(&format!("more than {MARKERS_MAX} bind markers"))),
        }
    }

    /// A value written out.
    pub(super) fn literal(&mut self) -> Result<Literal> {
        self.literal_at(0)
    }

    fn literal_at(&mut self, depth: u32) -> Result<Literal> {
        let literal = match self.peek() {
            TokenKind::Integer(value) => Literal::Integer(*value),
            TokenKind::Float(value) => Literal::Float(*value),
            TokenKind::Text(text) => Literal::Text(text.clone()),
            TokenKind::Blob(bytes) => Literal::Blob(bytes.clone()),
            TokenKind::Uuid(uuid) => Literal::Uuid(*uuid),
            TokenKind::Symbol("{" | "[") if depth + 1 >= TERM_DEPTH_MAX => {
                let what = "collection inside a collection, which no column can hold";
                return Err(self.error(what));
            }
            TokenKind::Symbol("{") => return self.braces(depth),
            TokenKind::Symbol("[") => return self.brackets(depth),
            TokenKind::Symbol("-") if self.is_word_at(1, "infinity") => {
                self.position += 1;
                Literal::Float(f64::NEG_INFINITY)
            }
            TokenKind::Word(word) => match word.to_ascii_lowercase().as_str() {
                "null" => Literal::Null,
                "true" => Literal::Boolean(true),
                "false" => Literal::Boolean(false),
                "nan" => Literal::Float(f64::NAN),
                "infinity" => Literal::Float(f64::INFINITY),
                _ => return Err(self.expected("a value")),
            },
            _ => return Err(self.expected("a value")),
        };
        self.position += 1;
        Ok(literal)
    }

    /// `{}`, `{a, ...}` or `{k: v, ...}`.
    fn braces(&mut self, depth: u32) -> Result<Literal> {
        self.expect_symbol("{")?;
        if self.eat_symbol("}") {
            return Ok(Literal::Set(Vec::new()));
        }
        let first = self.term_at(depth + 1)?;
        let literal = if self.eat_symbol(":") {
            let mut entries = vec![(first, self.term_at(depth + 1)?)];
            if self.eat_symbol(",") {
                entries.extend(self.list(|parser| {
                    let key = parser.term_at(depth + 1)?;
                    parser.expect_symbol(":")?;
                    Ok((key, parser.term_at(depth + 1)?))
                })?);
            }
            Literal::Map(entries)
        } else {
            let mut elements = vec![first];
            if self.eat_symbol(",") {
                elements.extend(self.list(|parser| parser.term_at(depth + 1))?);
            }
            Literal::Set(elements)
        };
        self.expect_symbol("}")?;
        Ok(literal)
    }

    /// `[]` or `[a, ...]`.
    fn brackets(&mut self, depth: u32) -> Result<Literal> {
        self.expect_symbol("[")?;
        if self.eat_symbol("]") {
            return Ok(Literal::List(Vec::new()));
        }
        let elements = self.list(|parser| parser.term_at(depth + 1))?;
        self.expect_symbol("]")?;
        Ok(Literal::List(elements))
    }

    /// `(a, ...)`, possibly `()`.
    pub(super) fn term_list(&mut self) -> Result<Vec<Term>> {
        self.expect_symbol("(")?;
        if self.eat_symbol(")") {
            return Ok(Vec::new());
        }
        let terms = self.list(Self::term)?;
        self.expect_symbol(")")?;
        Ok(terms)
    }

    /// The comparison sign that is next, if any.
    pub(super) fn comparison(&mut self) -> Option<Comparison> {
        let comparison = match self.peek() {
            TokenKind::Symbol("=") => Comparison::Equal,
            TokenKind::Symbol("!=") => Comparison::NotEqual,
            TokenKind::Symbol("<") => Comparison::Less,
            TokenKind::Symbol("<=") => Comparison::LessOrEqual,
            TokenKind::Symbol(">") => Comparison::Greater,
            TokenKind::Symbol(">=") => Comparison::GreaterOrEqual,
            _ => return None,
        };
        self.position += 1;
        Some(comparison)
    }
}
