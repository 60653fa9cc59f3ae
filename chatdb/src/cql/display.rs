//! Statements back to text: one line of CQL that parses to the same statement.
//!
//! Names are quoted where they would not read as themselves. Bind marker `n` prints as `:mN`, so that
//! a marker used twice stays one marker.

use super::ast::{
    AlterTable, Assignment, Batch, ColumnCondition, ColumnDefinition, Comparison, Condition,
    ConditionTest, CreateTable, Delete, Describe, Direction, Insert, Literal, OptionValue,
    Relation, Select, SelectExpression, SelectItem, Selection, Statement, TableChange, TableName,
    Term, TypeName, Update, Using,
};
use super::parser::is_reserved;
use crate::value::Value;
use std::fmt::{self, Display, Formatter};

/// Words that are keywords in some places where a name may stand.
const AMBIGUOUS: [&str; 2] = ["distinct", "exists"];

/// A name as it must be written: bare when it reads as itself, else in double quotes.
pub(crate) fn quote_name(name: &str) -> String {
    let starts_well = name.starts_with(|first: char| first.is_ascii_lowercase() || first == '_');
    let is_bare = starts_well
        && name
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
        && !is_reserved(name)
        && !AMBIGUOUS.contains(&name);
    if is_bare {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

/// `a, b, c`.
fn join<T>(items: &[T], show: impl Fn(&T) -> String) -> String {
    items.iter().map(show).collect::<Vec<_>>().join(", ")
}

fn names(items: &[String]) -> String {
    join(items, |name| quote_name(name))
}

impl Display for TableName {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(keyspace) = &self.keyspace {
            write!(f, "{}.", quote_name(keyspace))?;
        }
        f.write_str(&quote_name(&self.table))
    }
}

impl Display for Term {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(literal) => literal.fmt(f),
            Self::Marker(number) => write!(f, ":m{number}"),
        }
    }
}

impl Display for Literal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("NULL"),
            Self::Integer(value) => write!(f, "{value}"),
            Self::Float(value) => Value::Double(*value).fmt(f),
            Self::Text(text) => write!(f, "'{}'", text.replace('\'', "''")),
            Self::Blob(bytes) => Value::Blob(bytes.clone()).fmt(f),
            Self::Boolean(value) => write!(f, "{value}"),
            Self::Uuid(uuid) => Value::Uuid(*uuid).fmt(f),
            Self::Set(terms) => write!(f, "{{{}}}", join(terms, Term::to_string)),
            Self::List(terms) => write!(f, "[{}]", join(terms, Term::to_string)),
            Self::Map(entries) => {
                write!(
                    f,
                    "{{{}}}",
                    join(entries, |(key, value)| format!("{key}: {value}"))
                )
            }
        }
    }
}

impl Display for Comparison {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        })
    }
}

impl Display for TypeName {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scalar(name) => f.write_str(&quote_name(name)),
            Self::Set(element) => write!(f, "set<{}>", quote_name(element)),
            Self::List(element) => write!(f, "list<{}>", quote_name(element)),
            Self::Map(key, value) => write!(f, "map<{}, {}>", quote_name(key), quote_name(value)),
        }
    }
}

impl Display for ColumnDefinition {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let kind = if self.is_static { " STATIC" } else { "" };
        write!(f, "{} {}{kind}", quote_name(&self.name), self.type_name)
    }
}

fn ordering((column, direction): &(String, Direction)) -> String {
    let word = match direction {
        Direction::Ascending => "ASC",
        Direction::Descending => "DESC",
    };
    format!("{} {word}", quote_name(column))
}

fn option((name, value): &(String, OptionValue)) -> String {
    let value = match value {
        OptionValue::Order(order) => {
            return format!("CLUSTERING ORDER BY ({})", join(order, ordering));
        }
        OptionValue::Literal(literal) => literal.to_string(),
        OptionValue::Names(columns) => format!("({})", names(columns)),
        OptionValue::Map(entries) => format!(
            "{{{}}}",
            join(entries, |(key, value)| format!(
                "'{}': {value}",
                key.replace('\'', "''")
            ))
        ),
    };
    format!("{} = {value}", quote_name(name))
}

fn write_options(f: &mut Formatter<'_>, options: &[(String, OptionValue)]) -> fmt::Result {
    for (position, written) in options.iter().enumerate() {
        let word = if position == 0 { "WITH" } else { "AND" };
        write!(f, " {word} {}", option(written))?;
    }
    Ok(())
}

impl Display for CreateTable {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let condition = if self.if_not_exists {
            "IF NOT EXISTS "
        } else {
            ""
        };
        write!(f, "CREATE TABLE {condition}{} (", self.table)?;
        for column in &self.columns {
            write!(f, "{column}, ")?;
        }
        write!(f, "PRIMARY KEY (({})", names(&self.partition_key))?;
        if !self.clustering_key.is_empty() {
            write!(f, ", {}", names(&self.clustering_key))?;
        }
        f.write_str("))")?;
        write_options(f, &self.options)
    }
}

impl Display for AlterTable {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "ALTER TABLE {}", self.table)?;
        match &self.change {
            TableChange::Add(columns) => write!(f, " ADD {}", join(columns, ToString::to_string)),
            TableChange::Drop(columns) => write!(f, " DROP {}", names(columns)),
            TableChange::With(options) => write_options(f, options),
        }
    }
}

impl Display for Describe {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keyspaces => f.write_str("DESCRIBE KEYSPACES"),
            Self::Keyspace(None) => f.write_str("DESCRIBE KEYSPACE"),
            Self::Keyspace(Some(name)) => write!(f, "DESCRIBE KEYSPACE {}", quote_name(name)),
            Self::Tables => f.write_str("DESCRIBE TABLES"),
            Self::Table(table) => write!(f, "DESCRIBE TABLE {table}"),
        }
    }
}

impl Display for Using {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let ttl = self.ttl.iter().map(|term| format!("TTL {term}"));
        let topics = self.topics.iter().map(|term| format!("TOPIC {term}"));
        for (position, part) in ttl.chain(topics).enumerate() {
            let word = if position == 0 { "USING" } else { "AND" };
            write!(f, " {word} {part}")?;
        }
        Ok(())
    }
}

impl Display for ColumnCondition {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&quote_name(&self.column))?;
        if let Some(element) = &self.element {
            write!(f, "[{element}]")?;
        }
        match &self.test {
            ConditionTest::Compare(comparison, term) => write!(f, " {comparison} {term}"),
            ConditionTest::In(terms) => write!(f, " IN ({})", join(terms, Term::to_string)),
        }
    }
}

impl Display for Condition {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::Exists => f.write_str(" IF EXISTS"),
            Self::NotExists => f.write_str(" IF NOT EXISTS"),
            Self::Columns(conditions) => {
                let tests: Vec<String> = conditions.iter().map(ToString::to_string).collect();
                write!(f, " IF {}", tests.join(" AND "))
            }
        }
    }
}

impl Display for Insert {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let columns = join(&self.values, |(name, _)| quote_name(name));
        let terms = join(&self.values, |(_, term)| term.to_string());
        write!(f, "INSERT INTO {} ({columns}) VALUES ({terms})", self.table)?;
        if self.if_not_exists {
            f.write_str(" IF NOT EXISTS")?;
        }
        self.using.fmt(f)
    }
}

impl Display for Assignment {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set(column, term) => write!(f, "{} = {term}", quote_name(column)),
            Self::Append(column, term) => write!(f, "{} += {term}", quote_name(column)),
            Self::Remove(column, term) => write!(f, "{} -= {term}", quote_name(column)),
            Self::Prepend(column, term) => {
                let name = quote_name(column);
                write!(f, "{name} = {term} + {name}")
            }
            Self::Element(column, key, term) => {
                write!(f, "{}[{key}] = {term}", quote_name(column))
            }
        }
    }
}

fn write_where(f: &mut Formatter<'_>, relations: &[Relation]) -> fmt::Result {
    for (position, relation) in relations.iter().enumerate() {
        let word = if position == 0 { "WHERE" } else { "AND" };
        write!(f, " {word} {relation}")?;
    }
    Ok(())
}

impl Display for Relation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compare(column, comparison, term) => {
                write!(f, "{} {comparison} {term}", quote_name(column))
            }
            Self::In(column, terms) => {
                write!(
                    f,
                    "{} IN ({})",
                    quote_name(column),
                    join(terms, Term::to_string)
                )
            }
            Self::InMarker(column, number) => {
                write!(f, "{} IN {}", quote_name(column), Term::Marker(*number))
            }
            Self::Tuple(columns, comparison, terms) => {
                let terms = join(terms, Term::to_string);
                write!(f, "({}) {comparison} ({terms})", names(columns))
            }
            Self::Token(columns, comparison, term) => {
                write!(f, "TOKEN({}) {comparison} {term}", names(columns))
            }
        }
    }
}

impl Display for Update {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let assignments = join(&self.assignments, Assignment::to_string);
        write!(f, "UPDATE {}{} SET {assignments}", self.table, self.using)?;
        write_where(f, &self.relations)?;
        self.condition.fmt(f)
    }
}

impl Display for Delete {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("DELETE ")?;
        for (position, target) in self.targets.iter().enumerate() {
            let separator = if position == 0 { "" } else { ", " };
            write!(f, "{separator}{}", quote_name(&target.column))?;
            if let Some(element) = &target.element {
                write!(f, "[{element}]")?;
            }
        }
        let space = if self.targets.is_empty() { "" } else { " " };
        write!(f, "{space}FROM {}{}", self.table, self.using)?;
        write_where(f, &self.relations)?;
        self.condition.fmt(f)
    }
}

impl Display for Batch {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "BEGIN BATCH{} ", self.using)?;
        for statement in &self.statements {
            write!(f, "{statement}; ")?;
        }
        f.write_str("APPLY BATCH")
    }
}

impl Display for SelectItem {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.expression.fmt(f)?;
        match &self.alias {
            Some(alias) => write!(f, " AS {}", quote_name(alias)),
            None => Ok(()),
        }
    }
}

impl Display for SelectExpression {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Column(name) => f.write_str(&quote_name(name)),
            Self::Count => f.write_str("COUNT(*)"),
            Self::Ttl(name) => write!(f, "TTL({})", quote_name(name)),
            Self::WriteTime(name) => write!(f, "WRITETIME({})", quote_name(name)),
            Self::Token(columns) => write!(f, "TOKEN({})", names(columns)),
        }
    }
}

impl Display for Select {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let distinct = if self.distinct { "DISTINCT " } else { "" };
        let selection = match &self.selection {
            Selection::All => "*".to_owned(),
            Selection::Items(items) => join(items, SelectItem::to_string),
        };
        write!(f, "SELECT {distinct}{selection} FROM {}", self.table)?;
        write_where(f, &self.relations)?;
        if !self.order_by.is_empty() {
            write!(f, " ORDER BY {}", join(&self.order_by, ordering))?;
        }
        if let Some(limit) = &self.per_partition_limit {
            write!(f, " PER PARTITION LIMIT {limit}")?;
        }
        match &self.limit {
            Some(limit) => write!(f, " LIMIT {limit}"),
            None => Ok(()),
        }
    }
}

impl Display for Statement {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let if_exists = |condition: bool| if condition { "IF EXISTS " } else { "" };
        match self {
            Self::CreateKeyspace(keyspace) => {
                let condition = if keyspace.if_not_exists {
                    "IF NOT EXISTS "
                } else {
                    ""
                };
                write!(
                    f,
                    "CREATE KEYSPACE {condition}{}",
                    quote_name(&keyspace.name)
                )?;
                write_options(f, &keyspace.options)
            }
            Self::AlterKeyspace { name, options } => {
                write!(f, "ALTER KEYSPACE {}", quote_name(name))?;
                write_options(f, options)
            }
            Self::DropKeyspace {
                name,
                if_exists: condition,
            } => {
                write!(
                    f,
                    "DROP KEYSPACE {}{}",
                    if_exists(*condition),
                    quote_name(name)
                )
            }
            Self::CreateTable(create) => create.fmt(f),
            Self::AlterTable(alter) => alter.fmt(f),
            Self::DropTable {
                table,
                if_exists: condition,
            } => {
                write!(f, "DROP TABLE {}{table}", if_exists(*condition))
            }
            Self::Truncate(table) => write!(f, "TRUNCATE {table}"),
            Self::Use(keyspace) => write!(f, "USE {}", quote_name(keyspace)),
            Self::Describe(describe) => describe.fmt(f),
            Self::Insert(insert) => insert.fmt(f),
            Self::Update(update) => update.fmt(f),
            Self::Delete(delete) => delete.fmt(f),
            Self::Batch(batch) => batch.fmt(f),
            Self::Select(select) => select.fmt(f),
        }
    }
}
