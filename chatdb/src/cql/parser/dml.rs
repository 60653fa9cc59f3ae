//! `INSERT`, `UPDATE`, `DELETE` and batches of them.

use super::{LIST_MAX, Parser};
use crate::cql::ast::{
    Assignment, Batch, ColumnCondition, Condition, ConditionTest, Delete, DeleteTarget, Insert,
    Statement, Term, Update, Using,
};
use crate::cql::lexer::TokenKind;
use crate::error::Result;

const INSERT_FORM: &str = "INSERT INTO table (column, ...) VALUES (value, ...) [IF NOT EXISTS] \
                           [USING TTL seconds AND TOPIC 'name']";
const UPDATE_FORM: &str = "UPDATE table [USING TTL seconds AND TOPIC 'name'] SET column = value, ... \
                           WHERE key = value AND ... [IF EXISTS | IF column = value]";
const DELETE_FORM: &str = "DELETE [column, ...] FROM table [USING TOPIC 'name'] \
                           WHERE key = value AND ... [IF EXISTS | IF column = value]";

impl Parser<'_> {
    pub(super) fn insert(&mut self) -> Result<Insert> {
        self.form = INSERT_FORM;
        self.expect_word("INSERT")?;
        self.expect_word("INTO")?;
        let table = self.table_name()?;
        let columns = self.names("a column name")?;
        self.expect_word("VALUES")?;
        let terms = self.term_list()?;
        if columns.len() != terms.len() {
            let counts = format!("{} columns but {} values", columns.len(), terms.len());
            return Err(self.error(&counts));
        }
        let if_not_exists = self.if_not_exists()?;
        let using = self.using()?;
        let values = columns.into_iter().zip(terms).collect();
        Ok(Insert {
            table,
            values,
            if_not_exists,
            using,
        })
    }

    pub(super) fn update(&mut self) -> Result<Update> {
        self.form = UPDATE_FORM;
        self.expect_word("UPDATE")?;
        let table = self.table_name()?;
        let using = self.using()?;
        self.expect_word("SET")?;
        let assignments = self.list(Self::assignment)?;
        let relations = self.required_where()?;
        let condition = self.condition()?;
        Ok(Update {
            table,
            using,
            assignments,
            relations,
            condition,
        })
    }

    fn assignment(&mut self) -> Result<Assignment> {
        let column = self.name("a column name")?;
        if self.eat_symbol("[") {
            let key = self.term()?;
            self.expect_symbol("]")?;
            self.expect_symbol("=")?;
            return Ok(Assignment::Element(column, key, self.term()?));
        }
        if self.eat_symbol("+=") {
            return Ok(Assignment::Append(column, self.term()?));
        }
        if self.eat_symbol("-=") {
            return Ok(Assignment::Remove(column, self.term()?));
        }
        self.expect_symbol("=")?;
        if self.is_name_of(&column) {
            self.position += 1;
            if self.eat_symbol("+") {
                return Ok(Assignment::Append(column, self.term()?));
            }
            if self.eat_symbol("-") {
                return Ok(Assignment::Remove(column, self.term()?));
            }
            return Err(self.expected("`+` or `-`"));
        }
        let term = self.term()?;
        if self.eat_symbol("+") {
            if !self.is_name_of(&column) {
                return Err(self.expected(&format!("`{column}`")));
            }
            self.position += 1;
            return Ok(Assignment::Prepend(column, term));
        }
        Ok(Assignment::Set(column, term))
    }

    /// Whether the next token is a name, and this one.
    fn is_name_of(&self, column: &str) -> bool {
        match self.peek() {
            TokenKind::Word(word) => word.eq_ignore_ascii_case(column),
            TokenKind::Quoted(name) => name == column,
            _ => false,
        }
    }

    pub(super) fn delete(&mut self) -> Result<Delete> {
        self.form = DELETE_FORM;
        self.expect_word("DELETE")?;
        let targets = if self.is_word("FROM") {
            Vec::new()
        } else {
            self.list(Self::delete_target)?
        };
        self.expect_word("FROM")?;
        let table = self.table_name()?;
        let using = self.using()?;
        if using.ttl.is_some() {
            return Err(self.error("TTL on a DELETE, which has nothing to expire"));
        }
        let relations = self.required_where()?;
        let condition = self.condition()?;
        Ok(Delete {
            targets,
            table,
            using,
            relations,
            condition,
        })
    }

    fn delete_target(&mut self) -> Result<DeleteTarget> {
        let column = self.name("a column name or FROM")?;
        let element = self.element()?;
        Ok(DeleteTarget { column, element })
    }

    /// `[[key]]` after a column.
    fn element(&mut self) -> Result<Option<Term>> {
        if !self.eat_symbol("[") {
            return Ok(None);
        }
        let key = self.term()?;
        self.expect_symbol("]")?;
        Ok(Some(key))
    }

    pub(super) fn batch(&mut self) -> Result<Batch> {
        const FORM: &str = "BEGIN BATCH INSERT ...; UPDATE ...; DELETE ...; APPLY BATCH";
        self.form = FORM;
        self.expect_word("BEGIN")?;
        // Atomic within a tablet either way, so all words of CQL mean the same here.
        if !self.eat_word("UNLOGGED") && !self.eat_word("COUNTER") {
            self.eat_word("LOGGED");
        }
        self.expect_word("BATCH")?;
        let using = self.using()?;
        let mut statements = Vec::new();
        while !self.eat_word("APPLY") {
            let statement = match self.peek() {
                TokenKind::Word(word) => match word.to_ascii_lowercase().as_str() {
                    "insert" => self.insert().map(Statement::Insert)?,
                    "update" => self.update().map(Statement::Update)?,
                    "delete" => self.delete().map(Statement::Delete)?,
                    _ => return Err(self.expected("INSERT, UPDATE, DELETE or APPLY BATCH")),
                },
                _ => return Err(self.expected("INSERT, UPDATE, DELETE or APPLY BATCH")),
            };
            if statements.len() >= LIST_MAX {
                return Err(self.error(&format!("more than {LIST_MAX} statements in a batch")));
            }
            statements.push(statement);
            self.eat_symbol(";");
            self.form = FORM;
        }
        self.expect_word("BATCH")?;
        Ok(Batch { using, statements })
    }

    /// `[USING TTL seconds AND TOPIC 'name' ...]`.
    fn using(&mut self) -> Result<Using> {
        let mut using = Using::default();
        if !self.eat_word("USING") {
            return Ok(using);
        }
        loop {
            if self.eat_word("TTL") {
                if using.ttl.replace(self.term()?).is_some() {
                    return Err(self.error("second TTL"));
                }
            } else if self.eat_word("TOPIC") {
                using.topics.push(self.term()?);
            } else if self.is_word("TIMESTAMP") {
                let what = "USING TIMESTAMP: the database orders writes itself, by the log";
                return Err(self.error(what));
            } else {
                return Err(self.expected("TTL or TOPIC"));
            }
            if !self.eat_word("AND") {
                return Ok(using);
            }
        }
    }

    /// `[IF ...]`.
    fn condition(&mut self) -> Result<Condition> {
        if !self.eat_word("IF") {
            return Ok(Condition::None);
        }
        if self.eat_word("EXISTS") {
            return Ok(Condition::Exists);
        }
        if self.eat_words(&["NOT", "EXISTS"]) {
            return Ok(Condition::NotExists);
        }
        let mut conditions = vec![self.column_condition()?];
        while self.eat_word("AND") {
            conditions.push(self.column_condition()?);
        }
        Ok(Condition::Columns(conditions))
    }

    fn column_condition(&mut self) -> Result<ColumnCondition> {
        let column = self.name("a column name, EXISTS or NOT EXISTS")?;
        let element = self.element()?;
        let test = if self.eat_word("IN") {
            ConditionTest::In(self.term_list()?)
        } else {
            let Some(comparison) = self.comparison() else {
                return Err(self.expected("=, !=, <, <=, >, >= or IN"));
            };
            ConditionTest::Compare(comparison, self.term()?)
        };
        Ok(ColumnCondition {
            column,
            element,
            test,
        })
    }
}
