//! Strict JSON for signed objects: what two readers could take differently is refused.
//!
//! No name twice in an object, at any depth; no unknown field (each type says so itself); no list in
//! place of an object, which serde would fill by position; nothing after the end.

use std::collections::HashSet;
use std::fmt;

use provost_model::limits::MAX_SIGNED_PAYLOAD_BYTES;
use serde::de::{DeserializeOwned, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Error;
use crate::text;

pub(crate) fn from_json<T: DeserializeOwned + Serialize>(
    what: &'static str,
    bytes: &[u8],
) -> Result<T, Error> {
    let malformed = |error| malformed(what, &error);
    let read: T = from_secret_json(what, bytes)?;
    let given: Value = serde_json::from_slice(bytes).map_err(malformed)?;
    let meant = serde_json::to_value(&read).map_err(malformed)?;
    if !has_shape_of(&given, &meant) {
        let reason = "a list stands where an object is expected".to_owned();
        return Err(Error::Malformed { what, reason });
    }
    Ok(read)
}

/// As [`from_json`] but for the lists: it makes no copy of what it reads.
pub(crate) fn from_secret_json<T: DeserializeOwned>(
    what: &'static str,
    bytes: &[u8],
) -> Result<T, Error> {
    let malformed = |error| malformed(what, &error);
    serde_json::from_slice::<NoDuplicates>(bytes).map_err(malformed)?;
    serde_json::from_slice(bytes).map_err(malformed)
}

/// Whether there is an object wherever `meant` has one.
fn has_shape_of(given: &Value, meant: &Value) -> bool {
    match (given, meant) {
        (Value::Object(given), Value::Object(meant)) => meant
            .iter()
            .all(|(name, meant)| given.get(name).is_none_or(|given| has_shape_of(given, meant))),
        (Value::Array(given), Value::Array(meant)) => {
            given.iter().zip(meant).all(|(given, meant)| has_shape_of(given, meant))
        }
        (_, Value::Object(_)) => false,
        _ => true,
    }
}

/// The bytes to sign: indented, so that people can read what they sign.
pub(crate) fn to_json<T: Serialize>(what: &'static str, value: &T) -> Result<Vec<u8>, Error> {
    let mut bytes = serde_json::to_vec_pretty(value).map_err(|error| malformed(what, &error))?;
    bytes.push(b'\n');
    // What nobody would read is not signed either.
    let (size, limit) = (bytes.len() as u64, MAX_SIGNED_PAYLOAD_BYTES as u64);
    if size > limit {
        return Err(Error::TooLarge { what, size, limit });
    }
    Ok(bytes)
}

/// The reader's words quote the object, which nobody has verified.
fn malformed(what: &'static str, error: &serde_json::Error) -> Error {
    Error::Malformed { what, reason: text::plain(&error.to_string()).into_owned() }
}

/// Walks any JSON value and keeps nothing of it.
struct NoDuplicates;

impl<'de> Deserialize<'de> for NoDuplicates {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NoDuplicatesVisitor)
    }
}

struct NoDuplicatesVisitor;

impl<'de> Visitor<'de> for NoDuplicatesVisitor {
    type Value = NoDuplicates;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<NoDuplicates, A::Error> {
        let mut names = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if names.contains(&name) {
                return Err(A::Error::custom(format_args!("duplicate field {name:?}")));
            }
            names.insert(name);
            map.next_value::<NoDuplicates>()?;
        }
        Ok(NoDuplicates)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<NoDuplicates, A::Error> {
        while seq.next_element::<NoDuplicates>()?.is_some() {}
        Ok(NoDuplicates)
    }

    fn visit_bool<E>(self, _: bool) -> Result<NoDuplicates, E> {
        Ok(NoDuplicates)
    }

    fn visit_i64<E>(self, _: i64) -> Result<NoDuplicates, E> {
        Ok(NoDuplicates)
    }

    fn visit_u64<E>(self, _: u64) -> Result<NoDuplicates, E> {
        Ok(NoDuplicates)
    }

    fn visit_f64<E>(self, _: f64) -> Result<NoDuplicates, E> {
        Ok(NoDuplicates)
    }

    fn visit_str<E>(self, _: &str) -> Result<NoDuplicates, E> {
        Ok(NoDuplicates)
    }

    fn visit_unit<E>(self) -> Result<NoDuplicates, E> {
        Ok(NoDuplicates)
    }
}
