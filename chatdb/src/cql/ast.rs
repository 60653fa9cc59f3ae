//! Statements as they are written: names and literals, nothing looked up, nothing checked.
//!
//! Identifiers are stored as they count: an unquoted one in lower case, a quoted one as it is.
//! A [`Term`] is a literal or the number of a bind marker.

use bytes::Bytes;

/// A parsed statement.
#[derive(Clone, Debug, PartialEq)]
pub enum Statement {
    /// `CREATE KEYSPACE`.
    CreateKeyspace(KeyspaceDefinition),
    /// `ALTER KEYSPACE`.
    AlterKeyspace {
        /// Keyspace to change.
        name: String,
        /// Options to set.
        options: Vec<(String, OptionValue)>,
    },
    /// `DROP KEYSPACE`.
    DropKeyspace {
        /// Keyspace to drop.
        name: String,
        /// Whether a missing keyspace is fine.
        if_exists: bool,
    },
    /// `CREATE TABLE`.
    CreateTable(CreateTable),
    /// `ALTER TABLE`.
    AlterTable(AlterTable),
    /// `DROP TABLE`.
    DropTable {
        /// Table to drop.
        table: TableName,
        /// Whether a missing table is fine.
        if_exists: bool,
    },
    /// `TRUNCATE`.
    Truncate(TableName),
    /// `USE`.
    Use(String),
    /// `DESCRIBE`.
    Describe(Describe),
    /// `INSERT`.
    Insert(Insert),
    /// `UPDATE`.
    Update(Update),
    /// `DELETE`.
    Delete(Delete),
    /// `BEGIN BATCH`.
    Batch(Batch),
    /// `SELECT`.
    Select(Select),
}

/// A table, with its keyspace unless the session's is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableName {
    /// Keyspace, if named.
    pub keyspace: Option<String>,
    /// Table.
    pub table: String,
}

/// `CREATE KEYSPACE [IF NOT EXISTS] name [WITH ...]`.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyspaceDefinition {
    /// Name.
    pub name: String,
    /// Whether an existing keyspace is fine.
    pub if_not_exists: bool,
    /// `WITH` options in the order written.
    pub options: Vec<(String, OptionValue)>,
}

/// The value of a `WITH` option.
#[derive(Clone, Debug, PartialEq)]
pub enum OptionValue {
    /// A literal.
    Literal(Literal),
    /// `{'key': literal, ...}`.
    Map(Vec<(String, Literal)>),
    /// `(name, ...)`.
    Names(Vec<String>),
    /// `CLUSTERING ORDER BY (name ASC|DESC, ...)`.
    Order(Vec<(String, Direction)>),
}

/// Sort direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Smallest first.
    Ascending,
    /// Largest first.
    Descending,
}

/// The type of a column as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TypeName {
    /// `name`.
    Scalar(String),
    /// `set<name>`.
    Set(String),
    /// `map<name, name>`.
    Map(String, String),
    /// `list<name>`.
    List(String),
}

/// One column of `CREATE TABLE` or `ALTER TABLE ADD`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnDefinition {
    /// Name.
    pub name: String,
    /// Type.
    pub type_name: TypeName,
    /// Whether it is one value per partition.
    pub is_static: bool,
}

/// `CREATE TABLE`.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateTable {
    /// Name.
    pub table: TableName,
    /// Whether an existing table is fine.
    pub if_not_exists: bool,
    /// Columns in the order written.
    pub columns: Vec<ColumnDefinition>,
    /// Columns of the partition key.
    pub partition_key: Vec<String>,
    /// Columns of the clustering key.
    pub clustering_key: Vec<String>,
    /// `WITH` options in the order written.
    pub options: Vec<(String, OptionValue)>,
}

/// `ALTER TABLE`.
#[derive(Clone, Debug, PartialEq)]
pub struct AlterTable {
    /// Table to change.
    pub table: TableName,
    /// What to change.
    pub change: TableChange,
}

/// The change of an `ALTER TABLE`.
#[derive(Clone, Debug, PartialEq)]
pub enum TableChange {
    /// `ADD name type, ...`.
    Add(Vec<ColumnDefinition>),
    /// `DROP name, ...`.
    Drop(Vec<String>),
    /// `WITH ...`.
    With(Vec<(String, OptionValue)>),
}

/// `DESCRIBE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Describe {
    /// `DESCRIBE KEYSPACES`.
    Keyspaces,
    /// `DESCRIBE KEYSPACE [name]`.
    Keyspace(Option<String>),
    /// `DESCRIBE TABLES`.
    Tables,
    /// `DESCRIBE TABLE name`.
    Table(TableName),
}

/// A value in a statement: written out, or bound later.
#[derive(Clone, Debug, PartialEq)]
pub enum Term {
    /// Written out.
    Literal(Literal),
    /// Bound: the number of the marker from 0.
    Marker(u16),
}

/// A value written out.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// `NULL`.
    Null,
    /// Digits.
    Integer(i64),
    /// Digits with a point or an exponent, `NaN`, `Infinity`.
    Float(f64),
    /// `'text'`.
    Text(String),
    /// `0x...`.
    Blob(Bytes),
    /// `true` or `false`.
    Boolean(bool),
    /// A hyphenated UUID.
    Uuid([u8; 16]),
    /// `{a, b}`; also the empty map.
    Set(Vec<Term>),
    /// `{k: v}`.
    Map(Vec<(Term, Term)>),
    /// `[a, b]`.
    List(Vec<Term>),
}

/// `USING ...` of a write.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Using {
    /// `TTL`, in seconds.
    pub ttl: Option<Term>,
    /// `TOPIC`, each one.
    pub topics: Vec<Term>,
}

/// `IF ...` of a write.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Condition {
    /// No condition.
    #[default]
    None,
    /// `IF EXISTS`.
    Exists,
    /// `IF NOT EXISTS`.
    NotExists,
    /// `IF column = value AND ...`.
    Columns(Vec<ColumnCondition>),
}

/// Comparison of `WHERE` and `IF`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `=`.
    Equal,
    /// `!=`, only in `IF`.
    NotEqual,
    /// `<`.
    Less,
    /// `<=`.
    LessOrEqual,
    /// `>`.
    Greater,
    /// `>=`.
    GreaterOrEqual,
}

/// One comparison of an `IF`.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnCondition {
    /// Column.
    pub column: String,
    /// Key of a map element, if one is compared.
    pub element: Option<Term>,
    /// What it is tested for.
    pub test: ConditionTest,
}

/// What a column is tested for.
#[derive(Clone, Debug, PartialEq)]
pub enum ConditionTest {
    /// Compares to one value.
    Compare(Comparison, Term),
    /// `IN (...)`.
    In(Vec<Term>),
}

/// `INSERT`.
#[derive(Clone, Debug, PartialEq)]
pub struct Insert {
    /// Table.
    pub table: TableName,
    /// Columns and their values, in the order written.
    pub values: Vec<(String, Term)>,
    /// `IF NOT EXISTS`.
    pub if_not_exists: bool,
    /// `USING`.
    pub using: Using,
}

/// One assignment of an `UPDATE`.
#[derive(Clone, Debug, PartialEq)]
pub enum Assignment {
    /// `column = value`.
    Set(String, Term),
    /// `column = column + value` or `column += value`.
    Append(String, Term),
    /// `column = value + column`.
    Prepend(String, Term),
    /// `column = column - value` or `column -= value`.
    Remove(String, Term),
    /// `column[key] = value`.
    Element(String, Term, Term),
}

/// `UPDATE`.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// Table.
    pub table: TableName,
    /// `USING`.
    pub using: Using,
    /// `SET`.
    pub assignments: Vec<Assignment>,
    /// `WHERE`.
    pub relations: Vec<Relation>,
    /// `IF`.
    pub condition: Condition,
}

/// What a `DELETE` names before `FROM`.
#[derive(Clone, Debug, PartialEq)]
pub struct DeleteTarget {
    /// Column.
    pub column: String,
    /// Key of the element, if one element is deleted.
    pub element: Option<Term>,
}

/// `DELETE`.
#[derive(Clone, Debug, PartialEq)]
pub struct Delete {
    /// Columns or elements; empty: rows, a range or the partition.
    pub targets: Vec<DeleteTarget>,
    /// Table.
    pub table: TableName,
    /// `USING` (topics alone; a deletion has no TTL).
    pub using: Using,
    /// `WHERE`.
    pub relations: Vec<Relation>,
    /// `IF`.
    pub condition: Condition,
}

/// `BEGIN BATCH ... APPLY BATCH`.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// `USING` of the whole batch.
    pub using: Using,
    /// Inserts, updates and deletes.
    pub statements: Vec<Statement>,
}

/// `SELECT`.
#[derive(Clone, Debug, PartialEq)]
pub struct Select {
    /// Whether each partition counts once.
    pub distinct: bool,
    /// What to return.
    pub selection: Selection,
    /// Table.
    pub table: TableName,
    /// `WHERE`.
    pub relations: Vec<Relation>,
    /// `ORDER BY`.
    pub order_by: Vec<(String, Direction)>,
    /// `PER PARTITION LIMIT`.
    pub per_partition_limit: Option<Term>,
    /// `LIMIT`.
    pub limit: Option<Term>,
}

/// What a `SELECT` returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// `*`.
    All,
    /// Expressions.
    Items(Vec<SelectItem>),
}

/// One expression with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectItem {
    /// What to compute.
    pub expression: SelectExpression,
    /// `AS name`.
    pub alias: Option<String>,
}

/// What a `SELECT` computes per row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SelectExpression {
    /// A column.
    Column(String),
    /// `COUNT(*)`.
    Count,
    /// `TTL(column)`.
    Ttl(String),
    /// `WRITETIME(column)`.
    WriteTime(String),
    /// `TOKEN(columns)`.
    Token(Vec<String>),
}

/// One condition of a `WHERE`.
#[derive(Clone, Debug, PartialEq)]
pub enum Relation {
    /// `column op value`.
    Compare(String, Comparison, Term),
    /// `column IN (values)`.
    In(String, Vec<Term>),
    /// `column IN ?`.
    InMarker(String, u16),
    /// `(a, b) op (x, y)`.
    Tuple(Vec<String>, Comparison, Vec<Term>),
    /// `TOKEN(columns) op value`.
    Token(Vec<String>, Comparison, Term),
}
