//! Column types: nine scalars, and set, map and list of scalars.
//!
//! Elements of collections are scalars, because a collection is stored as one cell per element and
//! the element's key is part of the cell's address. A nested collection would have to be a blob in
//! disguise.

use std::fmt;

/// The type of a single value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ScalarType {
    /// 64-bit signed integer.
    BigInt,
    /// 32-bit signed integer.
    Int,
    /// UTF-8 text.
    Text,
    /// Bytes.
    Blob,
    /// True or false.
    Boolean,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    Timestamp,
    /// IEEE 754 binary64.
    Double,
    /// 128-bit identifier.
    Uuid,
    /// 64-bit signed integer that is only added to; never a key or an element.
    Counter,
}

impl ScalarType {
    /// Every scalar type; its place here is its number in stored bytes.
    pub const ALL: [Self; 9] = [
        Self::BigInt,
        Self::Int,
        Self::Text,
        Self::Blob,
        Self::Boolean,
        Self::Timestamp,
        Self::Double,
        Self::Uuid,
        Self::Counter,
    ];

    /// The CQL name.
    pub fn name(self) -> &'static str {
        match self {
            Self::BigInt => "bigint",
            Self::Int => "int",
            Self::Text => "text",
            Self::Blob => "blob",
            Self::Boolean => "boolean",
            Self::Timestamp => "timestamp",
            Self::Double => "double",
            Self::Uuid => "uuid",
            Self::Counter => "counter",
        }
    }

    /// The type of this CQL name, in any case. `varchar` is `text`, `timeuuid` is not known.
    pub fn from_name(name: &str) -> Option<Self> {
        if name.eq_ignore_ascii_case("varchar") {
            return Some(Self::Text);
        }
        Self::ALL
            .into_iter()
            .find(|scalar| scalar.name().eq_ignore_ascii_case(name))
    }

    /// The number of the type in stored bytes.
    pub fn code(self) -> u8 {
        match self {
            Self::BigInt => 0,
            Self::Int => 1,
            Self::Text => 2,
            Self::Blob => 3,
            Self::Boolean => 4,
            Self::Timestamp => 5,
            Self::Double => 6,
            Self::Uuid => 7,
            Self::Counter => 8,
        }
    }

    /// The type of a stored number.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }
}

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DataType {
    /// One value.
    Scalar(ScalarType),
    /// Distinct values in order.
    Set(ScalarType),
    /// Values by distinct key, in key order.
    Map(ScalarType, ScalarType),
    /// Values in the order they were appended or prepended.
    List(ScalarType),
}

impl DataType {
    /// Whether values are stored as one cell per element.
    pub fn is_collection(self) -> bool {
        !matches!(self, Self::Scalar(_))
    }

    /// Whether the column is added to instead of written.
    pub fn is_counter(self) -> bool {
        self == Self::Scalar(ScalarType::Counter)
    }

    /// The scalar type, or `None` for a collection.
    pub fn scalar(self) -> Option<ScalarType> {
        match self {
            Self::Scalar(scalar) => Some(scalar),
            Self::Set(_) | Self::Map(..) | Self::List(_) => None,
        }
    }
}

impl From<ScalarType> for DataType {
    fn from(scalar: ScalarType) -> Self {
        Self::Scalar(scalar)
    }
}

impl fmt::Display for ScalarType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scalar(scalar) => scalar.fmt(f),
            Self::Set(element) => write!(f, "set<{element}>"),
            Self::Map(key, value) => write!(f, "map<{key}, {value}>"),
            Self::List(element) => write!(f, "list<{element}>"),
        }
    }
}
