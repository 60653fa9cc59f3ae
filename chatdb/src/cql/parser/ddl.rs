//! `CREATE`, `ALTER`, `DROP`, `TRUNCATE`, `USE`, `DESCRIBE`.

use super::Parser;
use crate::cql::ast::{
    AlterTable, ColumnDefinition, CreateTable, Describe, Direction, KeyspaceDefinition, Literal,
    OptionValue, Statement, TableChange, TypeName,
};
use crate::cql::lexer::TokenKind;
use crate::error::Result;

/// Columns and keys of a `CREATE TABLE` while its body is read.
#[derive(Default)]
struct Body {
    columns: Vec<ColumnDefinition>,
    partition_key: Vec<String>,
    clustering_key: Vec<String>,
}

impl Parser<'_> {
    pub(super) fn create(&mut self) -> Result<Statement> {
        self.expect_word("CREATE")?;
        if self.eat_word("KEYSPACE") {
            self.form = "CREATE KEYSPACE [IF NOT EXISTS] name";
            let if_not_exists = self.if_not_exists()?;
            let name = self.name("a keyspace name")?;
            let options = self.with_options()?;
            let definition = KeyspaceDefinition {
                name,
                if_not_exists,
                options,
            };
            return Ok(Statement::CreateKeyspace(definition));
        }
        if self.eat_word("TABLE") {
            return self.create_table().map(Statement::CreateTable);
        }
        Err(self.expected("KEYSPACE or TABLE"))
    }

    fn create_table(&mut self) -> Result<CreateTable> {
        self.form = "CREATE TABLE [IF NOT EXISTS] name (column type, ..., \
                     PRIMARY KEY ((partition, ...), clustering, ...)) [WITH option = value AND ...]";
        let if_not_exists = self.if_not_exists()?;
        let table = self.table_name()?;
        self.expect_symbol("(")?;
        let mut body = Body::default();
        loop {
            self.table_item(&mut body)?;
            if !self.eat_symbol(",") {
                break;
            }
        }
        self.expect_symbol(")")?;
        if body.partition_key.is_empty() {
            return Err(self.error("table without a PRIMARY KEY"));
        }
        let options = self.with_options()?;
        let Body {
            columns,
            partition_key,
            clustering_key,
        } = body;
        Ok(CreateTable {
            table,
            if_not_exists,
            columns,
            partition_key,
            clustering_key,
            options,
        })
    }

    /// One column or the `PRIMARY KEY (...)` of a `CREATE TABLE`.
    fn table_item(&mut self, body: &mut Body) -> Result<()> {
        if self.is_word("PRIMARY") && self.is_word_at(1, "KEY") {
            self.position += 2;
            if !body.partition_key.is_empty() {
                return Err(self.error("second PRIMARY KEY"));
            }
            self.expect_symbol("(")?;
            body.partition_key = if self.is_symbol("(") {
                self.names("a partition key column")?
            } else {
                vec![self.name("a partition key column")?]
            };
            if self.eat_symbol(",") {
                body.clustering_key = self.list(|parser| parser.name("a clustering column"))?;
            }
            return self.expect_symbol(")");
        }
        let column = self.column_definition()?;
        if self.eat_words(&["PRIMARY", "KEY"]) {
            if !body.partition_key.is_empty() {
                return Err(self.error("second PRIMARY KEY"));
            }
            body.partition_key = vec![column.name.clone()];
        }
        body.columns.push(column);
        Ok(())
    }

    fn column_definition(&mut self) -> Result<ColumnDefinition> {
        let name = self.name("a column name")?;
        let type_name = self.type_name()?;
        let is_static = self.eat_word("STATIC");
        Ok(ColumnDefinition {
            name,
            type_name,
            is_static,
        })
    }

    fn type_name(&mut self) -> Result<TypeName> {
        // `set` is a keyword elsewhere.
        let name = if self.eat_word("SET") {
            "set".to_owned()
        } else {
            self.name("a type")?
        };
        if !self.eat_symbol("<") {
            return Ok(TypeName::Scalar(name));
        }
        let first = self.name("an element type")?;
        let type_name = match name.as_str() {
            "set" => TypeName::Set(first),
            "list" => TypeName::List(first),
            "map" => {
                self.expect_symbol(",")?;
                TypeName::Map(first, self.name("a value type")?)
            }
            _ => return Err(self.error(&format!("no type {name}<...>; use set, map or list"))),
        };
        self.expect_symbol(">")?;
        Ok(type_name)
    }

    /// `[WITH name = value AND ...]`.
    fn with_options(&mut self) -> Result<Vec<(String, OptionValue)>> {
        let mut options = Vec::new();
        if self.eat_word("WITH") {
            options.push(self.option()?);
            while self.eat_word("AND") {
                options.push(self.option()?);
            }
        }
        Ok(options)
    }

    fn option(&mut self) -> Result<(String, OptionValue)> {
        if self.eat_words(&["CLUSTERING", "ORDER", "BY"]) {
            self.expect_symbol("(")?;
            let order = self.list(Self::ordering)?;
            self.expect_symbol(")")?;
            return Ok(("clustering order".to_owned(), OptionValue::Order(order)));
        }
        let name = self.name("an option name")?;
        self.expect_symbol("=")?;
        let value = match self.peek() {
            TokenKind::Symbol("(") => OptionValue::Names(self.names("a column name")?),
            TokenKind::Symbol("{") => OptionValue::Map(self.option_map()?),
            _ => OptionValue::Literal(self.literal()?),
        };
        Ok((name, value))
    }

    fn option_map(&mut self) -> Result<Vec<(String, Literal)>> {
        self.expect_symbol("{")?;
        if self.eat_symbol("}") {
            return Ok(Vec::new());
        }
        let entries = self.list(|parser| {
            let TokenKind::Text(key) = parser.peek().clone() else {
                return Err(parser.expected("a key in single quotes"));
            };
            parser.position += 1;
            parser.expect_symbol(":")?;
            Ok((key, parser.literal()?))
        })?;
        self.expect_symbol("}")?;
        Ok(entries)
    }

    /// `column [ASC|DESC]`.
    pub(super) fn ordering(&mut self) -> Result<(String, Direction)> {
        let column = self.name("a clustering column")?;
        if self.eat_word("DESC") {
            return Ok((column, Direction::Descending));
        }
        self.eat_word("ASC");
        Ok((column, Direction::Ascending))
    }

    pub(super) fn alter(&mut self) -> Result<Statement> {
        self.expect_word("ALTER")?;
        if self.eat_word("KEYSPACE") {
            self.form = "ALTER KEYSPACE name WITH option = value";
            let name = self.name("a keyspace name")?;
            return Ok(Statement::AlterKeyspace {
                name,
                options: self.required_options()?,
            });
        }
        self.form = "ALTER TABLE name ADD column type | DROP column | WITH option = value";
        self.expect_word("TABLE")?;
        let table = self.table_name()?;
        let change = if self.eat_word("ADD") {
            TableChange::Add(self.parenthesized_list(Self::column_definition)?)
        } else if self.eat_word("DROP") {
            TableChange::Drop(self.parenthesized_list(|parser| parser.name("a column name"))?)
        } else if self.is_word("WITH") {
            TableChange::With(self.required_options()?)
        } else {
            return Err(self.expected("ADD, DROP or WITH"));
        };
        Ok(Statement::AlterTable(AlterTable { table, change }))
    }

    fn required_options(&mut self) -> Result<Vec<(String, OptionValue)>> {
        if self.is_word("WITH") {
            self.with_options()
        } else {
            Err(self.expected("WITH"))
        }
    }

    /// A list, with or without parentheses around it.
    fn parenthesized_list<T>(
        &mut self,
        item: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<Vec<T>> {
        let parenthesized = self.eat_symbol("(");
        let items = self.list(item)?;
        if parenthesized {
            self.expect_symbol(")")?;
        }
        Ok(items)
    }

    pub(super) fn drop(&mut self) -> Result<Statement> {
        self.form = "DROP KEYSPACE|TABLE [IF EXISTS] name";
        self.expect_word("DROP")?;
        if self.eat_word("KEYSPACE") {
            let if_exists = self.if_exists()?;
            return Ok(Statement::DropKeyspace {
                name: self.name("a keyspace name")?,
                if_exists,
            });
        }
        if self.eat_word("TABLE") {
            let if_exists = self.if_exists()?;
            return Ok(Statement::DropTable {
                table: self.table_name()?,
                if_exists,
            });
        }
        Err(self.expected("KEYSPACE or TABLE"))
    }

    pub(super) fn truncate(&mut self) -> Result<Statement> {
        self.form = "TRUNCATE [TABLE] name";
        self.expect_word("TRUNCATE")?;
        self.eat_word("TABLE");
        self.table_name().map(Statement::Truncate)
    }

    pub(super) fn use_keyspace(&mut self) -> Result<Statement> {
        self.form = "USE keyspace";
        self.expect_word("USE")?;
        self.name("a keyspace name").map(Statement::Use)
    }

    pub(super) fn describe(&mut self) -> Result<Statement> {
        self.form = "DESCRIBE KEYSPACES | KEYSPACE [name] | TABLES | TABLE name";
        self.position += 1;
        let describe = if self.eat_word("KEYSPACES") {
            Describe::Keyspaces
        } else if self.eat_word("TABLES") {
            Describe::Tables
        } else if self.eat_word("KEYSPACE") {
            let at_end = matches!(self.peek(), TokenKind::End | TokenKind::Symbol(";"));
            Describe::Keyspace(if at_end {
                None
            } else {
                Some(self.name("a keyspace name")?)
            })
        } else if self.eat_word("TABLE") {
            Describe::Table(self.table_name()?)
        } else {
            return Err(self.expected("KEYSPACES, KEYSPACE, TABLES or TABLE"));
        };
        Ok(Statement::Describe(describe))
    }

    /// `[IF NOT EXISTS]`.
    pub(super) fn if_not_exists(&mut self) -> Result<bool> {
        if !self.eat_word("IF") {
            return Ok(false);
        }
        self.expect_word("NOT")?;
        self.expect_word("EXISTS")?;
        Ok(true)
    }

    fn if_exists(&mut self) -> Result<bool> {
        if !self.eat_word("IF") {
            return Ok(false);
        }
        self.expect_word("EXISTS")?;
        Ok(true)
    }
}
