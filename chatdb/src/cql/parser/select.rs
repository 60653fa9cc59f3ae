//! `SELECT` and the `WHERE` of all statements.

use super::Parser;
use crate::cql::ast::{
    Comparison, Relation, Select, SelectExpression, SelectItem, Selection, Term,
};
use crate::cql::lexer::TokenKind;
use crate::error::Result;

const SELECT_FORM: &str = "SELECT *|column, ... FROM table [WHERE key = value AND ...] \
                           [ORDER BY column ASC|DESC] [PER PARTITION LIMIT n] [LIMIT n]";

impl Parser<'_> {
    pub(super) fn select(&mut self) -> Result<Select> {
        self.form = SELECT_FORM;
        self.expect_word("SELECT")?;
        let distinct = self.eat_word("DISTINCT");
        let selection = if self.eat_symbol("*") {
            Selection::All
        } else {
            Selection::Items(self.list(Self::select_item)?)
        };
        self.expect_word("FROM")?;
        let table = self.table_name()?;
        let relations = if self.is_word("WHERE") {
            self.required_where()?
        } else {
            Vec::new()
        };
        let order_by = if self.eat_words(&["ORDER", "BY"]) {
            self.list(Self::ordering)?
        } else {
            Vec::new()
        };
        let per_partition_limit = if self.eat_words(&["PER", "PARTITION", "LIMIT"]) {
            Some(self.term()?)
        } else {
            None
        };
        let limit = if self.eat_word("LIMIT") {
            Some(self.term()?)
        } else {
            None
        };
        if self.is_word("ALLOW") {
            let error =
                self.error("ALLOW FILTERING is not supported: it reads what it throws away");
            return Err(error.with_help(
                "try",
                "name the partition key in WHERE, or keep a second table keyed by what you look for",
            ));
        }
        if self.is_word("GROUP") {
            return Err(self.error("GROUP BY is not supported"));
        }
        Ok(Select {
            distinct,
            selection,
            table,
            relations,
            order_by,
            per_partition_limit,
            limit,
        })
    }

    fn select_item(&mut self) -> Result<SelectItem> {
        let expression = self.select_expression()?;
        let alias = if self.eat_word("AS") {
            Some(self.name("a name")?)
        } else {
            None
        };
        Ok(SelectItem { expression, alias })
    }

    fn select_expression(&mut self) -> Result<SelectExpression> {
        if self.eat_word("TOKEN") {
            return self
                .names("a partition key column")
                .map(SelectExpression::Token);
        }
        if self.peek_at(1) != &TokenKind::Symbol("(") {
            return self.name("a column name").map(SelectExpression::Column);
        }
        if self.is_word("COUNT") {
            self.position += 2;
            if !self.eat_symbol("*") && self.advance() != TokenKind::Integer(1) {
                self.position -= 1;
                return Err(self.expected("`*`; COUNT counts rows"));
            }
            self.expect_symbol(")")?;
            return Ok(SelectExpression::Count);
        }
        let is_ttl = self.is_word("TTL");
        if !is_ttl && !self.is_word("WRITETIME") {
            return Err(self.expected("a column name, COUNT(*), TTL, WRITETIME or TOKEN"));
        }
        self.position += 2;
        let column = self.name("a column name")?;
        self.expect_symbol(")")?;
        Ok(if is_ttl {
            SelectExpression::Ttl(column)
        } else {
            SelectExpression::WriteTime(column)
        })
    }

    /// `WHERE relation AND ...`.
    pub(super) fn required_where(&mut self) -> Result<Vec<Relation>> {
        self.expect_word("WHERE")?;
        let mut relations = vec![self.relation()?];
        while self.eat_word("AND") {
            relations.push(self.relation()?);
        }
        Ok(relations)
    }

    fn relation(&mut self) -> Result<Relation> {
        if self.eat_word("TOKEN") {
            let columns = self.names("a partition key column")?;
            let comparison = self.where_comparison()?;
            return Ok(Relation::Token(columns, comparison, self.term()?));
        }
        if self.is_symbol("(") {
            let columns = self.names("a clustering column")?;
            let comparison = self.where_comparison()?;
            let terms = self.term_list()?;
            if terms.len() != columns.len() {
                let counts = format!("{} columns but {} values", columns.len(), terms.len());
                return Err(self.error(&counts));
            }
            return Ok(Relation::Tuple(columns, comparison, terms));
        }
        let column = self.name("a column name")?;
        if self.eat_word("IN") {
            return match self.marker()? {
                Some(number) => Ok(Relation::InMarker(column, number)),
                None => Ok(Relation::In(column, self.term_list()?)),
            };
        }
        let comparison = self.where_comparison()?;
        let term: Term = self.term()?;
        Ok(Relation::Compare(column, comparison, term))
    }

    fn where_comparison(&mut self) -> Result<Comparison> {
        match self.comparison() {
            Some(Comparison::NotEqual) => {
                Err(self.error("!= in WHERE would read everything else; it works in IF alone"))
            }
            Some(comparison) => Ok(comparison),
            None => Err(self.expected("=, <, <=, >, >= or IN")),
        }
    }
}
