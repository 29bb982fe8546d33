//! A document as a tree whose every value, key and element knows where it stands.
//!
//! Built by `yaml` and `json` alone; both resolve scalars as the API server reads them, so that
//! what deserializes from a [`Node`] is what the API server would have seen. Keys of a mapping are
//! unique strings in the order written; depth is bounded by the readers.

use std::fmt;

use provost_model::{Path, Segment};
use serde::Serialize;
use serde::ser::{SerializeMap as _, SerializeSeq as _};

/// 1-based line and column; a column counts characters, not bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    pub line: u32,
    pub column: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub value: Value,
    /// Where the value begins; for an alias, where the alias stands.
    pub at: Position,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Int(i64),
    /// Above `i64::MAX` only.
    Uint(u64),
    /// Finite, and not a whole number that fits `Int`: the API server makes no difference.
    Float(f64),
    String(String),
    Sequence(Vec<Node>),
    Mapping(Vec<Entry>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub key: String,
    pub key_at: Position,
    pub value: Node,
}

impl Position {
    pub const START: Self = Self { line: 1, column: 1 };
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

impl Node {
    #[must_use]
    pub const fn new(value: Value, at: Position) -> Self {
        Self { value, at }
    }

    /// The value under `key`, where this is a mapping that has it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.entry(key).map(|entry| &entry.value)
    }

    #[must_use]
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// Empty for what is not a mapping.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Mapping(entries) => entries,
            _ => &[],
        }
    }

    /// Empty for what is not a sequence.
    #[must_use]
    pub fn elements(&self) -> &[Self] {
        match &self.value {
            Value::Sequence(elements) => elements,
            _ => &[],
        }
    }

    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    #[must_use]
    pub const fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    /// What people call the type of the value.
    #[must_use]
    pub const fn type_name(&self) -> &'static str {
        match self.value {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Int(_) | Value::Uint(_) | Value::Float(_) => "a number",
            Value::String(_) => "a string",
            Value::Sequence(_) => "a list",
            Value::Mapping(_) => "a mapping",
        }
    }

    /// Where `path` stands: a scalar at its value, a mapping, a list or a null at its key, an
    /// element at its own start. What does not exist has the position of its nearest existing
    /// ancestor.
    #[must_use]
    pub fn locate(&self, path: &Path) -> Position {
        let (mut node, mut at) = (self, self.at);
        for segment in &path.0 {
            let Some((next, position)) = node.step(segment) else { break };
            (node, at) = (next, position);
        }
        at
    }

    /// What stands at `path`.
    #[must_use]
    pub fn at_path(&self, path: &Path) -> Option<&Self> {
        path.0.iter().try_fold(self, |node, segment| node.step(segment).map(|(next, _)| next))
    }

    /// Whether it is neither mapping, list nor null.
    #[must_use]
    pub const fn is_scalar(&self) -> bool {
        !matches!(self.value, Value::Null | Value::Sequence(_) | Value::Mapping(_))
    }

    /// A pointer cannot say whether `0` is a key: digits in a mapping are one.
    fn step(&self, segment: &Segment) -> Option<(&Self, Position)> {
        match (&self.value, segment) {
            (Value::Sequence(elements), Segment::Index(index)) => {
                let node = elements.get(usize::try_from(*index).ok()?)?;
                Some((node, node.at))
            }
            (Value::Mapping(_), Segment::Key(key)) => self.entry(key).map(Entry::target),
            (Value::Mapping(_), Segment::Index(index)) => {
                self.entry(&index.to_string()).map(Entry::target)
            }
            _ => None,
        }
    }
}

impl Entry {
    fn target(&self) -> (&Node, Position) {
        let at = match self.value.value {
            Value::Null | Value::Sequence(_) | Value::Mapping(_) => self.key_at,
            _ => self.value.at,
        };
        (&self.value, at)
    }
}

impl Serialize for Node {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.value {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::Int(value) => serializer.serialize_i64(*value),
            Value::Uint(value) => serializer.serialize_u64(*value),
            Value::Float(value) => serializer.serialize_f64(*value),
            Value::String(value) => serializer.serialize_str(value),
            Value::Sequence(elements) => {
                let mut sequence = serializer.serialize_seq(Some(elements.len()))?;
                for element in elements {
                    sequence.serialize_element(element)?;
                }
                sequence.end()
            }
            Value::Mapping(entries) => {
                let mut mapping = serializer.serialize_map(Some(entries.len()))?;
                for entry in entries {
                    mapping.serialize_entry(&entry.key, &entry.value)?;
                }
                mapping.end()
            }
        }
    }
}
