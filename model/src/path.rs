//! Where in an object a finding points: JSON Pointer on the wire, `spec.containers[0].image` for people.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Steps from an object's root. Empty: the object itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Path(pub Vec<Segment>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Segment {
    Key(String),
    Index(u32),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a JSON Pointer: it must be empty or start with '/'")]
pub struct NotAPointer {
    pub text: String,
}

impl Path {
    #[must_use]
    pub fn to_pointer(&self) -> String {
        let mut pointer = String::new();
        for segment in &self.0 {
            pointer.push('/');
            match segment {
                Segment::Key(key) => pointer.push_str(&key.replace('~', "~0").replace('/', "~1")),
                Segment::Index(index) => pointer.push_str(&index.to_string()),
            }
        }
        pointer
    }

    /// A pointer does not say whether `0` is an index or a key; digits are read as an index.
    pub fn from_pointer(text: &str) -> Result<Self, NotAPointer> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let rest = text.strip_prefix('/').ok_or_else(|| NotAPointer { text: text.to_owned() })?;
        Ok(Self(rest.split('/').map(segment_from_token).collect()))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Index(index) => write!(f, "[{index}]")?,
                Segment::Key(key) if is_plain(key) && position == 0 => f.write_str(key)?,
                Segment::Key(key) if is_plain(key) => write!(f, ".{key}")?,
                Segment::Key(key) => write!(f, "[{key:?}]")?,
            }
        }
        Ok(())
    }
}

impl From<Path> for String {
    fn from(path: Path) -> Self {
        path.to_pointer()
    }
}

impl TryFrom<String> for Path {
    type Error = NotAPointer;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::from_pointer(&text)
    }
}

fn segment_from_token(token: &str) -> Segment {
    let canonical_number = token == "0" || !token.starts_with('0');
    match token.parse::<u32>() {
        Ok(index) if canonical_number && !token.starts_with('+') => Segment::Index(index),
        _ => Segment::Key(token.replace("~1", "/").replace("~0", "~")),
    }
}

fn is_plain(key: &str) -> bool {
    !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_escape_and_round_trip() {
        let path = Path(vec![
            Segment::Key("metadata".to_owned()),
            Segment::Key("annotations".to_owned()),
            Segment::Key("a/b~c".to_owned()),
            Segment::Index(3),
        ]);
        assert_eq!(path.to_pointer(), "/metadata/annotations/a~1b~0c/3");
        assert_eq!(Path::from_pointer(&path.to_pointer()), Ok(path.clone()));
        assert_eq!(path.to_string(), "metadata.annotations[\"a/b~c\"][3]");
        assert!(Path::from_pointer("a").is_err());
        assert_eq!(Path::from_pointer("/01"), Ok(Path(vec![Segment::Key("01".to_owned())])));
    }
}
